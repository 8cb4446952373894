"""Diffusion-QL (2208.06193): EDP-TD3 with the whole, differentiable sampling chain in place of the action approximation."""

from functools import partial

import chex
import jax

from edp_jax.algorithms import td3
from edp_jax.policy import DiffusionPolicy, Prediction
from edp_jax.types import Transition


def full_chain_action(
    policy: DiffusionPolicy, batch: Transition, prediction: Prediction, key: chex.PRNGKey
) -> chex.Array:
    """Actions [B, A] sampled by the chain: as many network passes away from the parameters as it has calls (Eq. 3)."""
    noise_key, chain_key = jax.random.split(key)
    x_T = jax.random.normal(noise_key, batch.action.shape)
    return policy.sample(prediction.params, batch.observation, x_T, chain_key)


make = partial(td3.make, guided_action=full_chain_action)
