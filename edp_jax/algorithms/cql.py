"""EDP with CQL (2006.04779): EDP-TD3 whose critics are kept low on actions that the dataset does not have."""

from functools import partial

import chex
import jax
import jax.numpy as jnp

from edp_jax import losses, networks
from edp_jax.algorithms import td3
from edp_jax.algorithms.base import AlgorithmConfig, Hypers
from edp_jax.policy import ACTION_BOUND, Prediction
from edp_jax.types import TaskSpec, Transition


def make_penalty(
    critics: networks.Network,
    batch: Transition,
    prediction: Prediction,
    hypers: Hypers,
    key: chex.PRNGKey,
    *,
    num_actions: int,
) -> td3.Regularizer:
    """CQL(H)'s penalty over `num_actions` uniform actions and the policy's a0_hat, which its own loss needs anyway.

    Every action has its own copy of the observation: a larger product in the first layer is faster than a sum in its gradient.
    """
    uniform = jax.random.uniform(
        key, (num_actions, *batch.action.shape), minval=-ACTION_BOUND, maxval=ACTION_BOUND
    )
    actions = jnp.concatenate([uniform, prediction.action[None]])
    observations = jnp.broadcast_to(batch.observation, (len(actions), *batch.observation.shape))

    def penalty(params, q):
        excess = losses.cql_excess(critics.apply(params, observations, actions), q)
        return hypers.cql_alpha * losses.cql_penalty(excess, hypers.cql_threshold), {
            "cql_excess": jnp.mean(excess)
        }

    return penalty


def make(config: AlgorithmConfig, spec: TaskSpec):
    """EDP-CQL."""
    return td3.make(
        config, spec, make_regularizer=partial(make_penalty, num_actions=config.num_cql_actions)
    )
