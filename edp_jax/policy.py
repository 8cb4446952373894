"""Acting with a diffusion policy: sampling actions and choosing among candidates."""

from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from edp_jax import diffusion
from edp_jax.networks import Network, Params

ACTION_BOUND = 1.0  # every learner works in the box [-1, 1]^A

Act = Callable[[Any, chex.Array, chex.PRNGKey], chex.Array]  # (parameters, observation [..., O], key) -> action [..., A]


class DiffusionPolicy(NamedTuple):
    """What turns noise-network parameters into a policy; static."""

    network: Network
    schedule: diffusion.NoiseSchedule
    sampler: diffusion.Sampler

    def sample(self, params: Params, observation: chex.Array, x_T: chex.Array, key: chex.PRNGKey) -> chex.Array:
        """Actions [..., A] for observation [..., O], denoised from x_T [..., A] by the sampler's chain."""
        denoise = lambda x, t: self.network.apply(params, observation, x, t)  # noqa: E731
        return diffusion.sample(self.sampler, denoise, x_T, key, clip=ACTION_BOUND, unroll=min(self.sampler.num_calls, 16))


def select_by_energy(q: chex.Array, temperature: float, key: chex.PRNGKey) -> chex.Array:
    """Energy-based action selection (EDP Eq. 13; SfBC, 2209.14548): indices [...] drawn from softmax(q / temperature).

    q [N, ...] holds the value of each of N candidates; every row of the batch makes its own choice.
    """
    return jax.random.categorical(key, q / temperature, axis=0)


def take_candidate(actions: chex.Array, index: chex.Array) -> chex.Array:
    """actions [N, ..., A], index [...] -> the chosen actions [..., A]."""
    return jnp.take_along_axis(actions, index[None, ..., None], axis=0)[0]


def in_dataset_units(
    act: Act, observation_mean: chex.Array, observation_std: chex.Array, action_low: chex.Array, action_high: chex.Array
) -> Act:
    """`act` between the units of the data: observations [..., O] before normalisation, actions [..., A] in their own box."""
    centre, half = (action_low + action_high) / 2, (action_high - action_low) / 2

    def scaled(params: Any, observation: chex.Array, key: chex.PRNGKey) -> chex.Array:
        return centre + half * act(params, (observation - observation_mean) / observation_std, key)

    return scaled
