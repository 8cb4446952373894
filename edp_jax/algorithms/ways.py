"""Ways of acting: what a trained learner does with its networks at an observation."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import jax
import jax.numpy as jnp

from edp_jax import acting, networks
from edp_jax.acting import Acting
from edp_jax.algorithms import groups
from edp_jax.policy import DiffusionPolicy, is_noise, select_by_energy, take_candidate
from edp_jax.types import Array, TaskSpec


class Sampled(Protocol):
    """What acting reads of a policy: see `DiffusionPolicy`."""

    @property
    def num_noisy_calls(self) -> int: ...

    def sample(self, params: Any, observation: Array, x_T: Array, steps: Any) -> Array: ...


def acting_policy(settings: groups.Diffusion, policy: DiffusionPolicy) -> DiffusionPolicy:
    """The policy as it acts: from less noise than in targets, where that is set."""
    return policy.with_noise_scale(settings.starting_noise)


def by_mean(network: networks.Network) -> Acting:
    """Acts with what a feed-forward network gives for the observation, without randomness."""
    return Acting(lambda params, observation, numbers: network.apply(params, observation), {})


def by_sample(policy: DiffusionPolicy, spec: TaskSpec) -> Acting:
    """Acts with one sample of the averaged actor."""
    return _sampling(policy, 1, spec)


# (policy_params, observation [..., O], q [C, M, ...] of M candidates, Gumbel noise [M, ...] or
# None) -> index [...] of one
Choose = Callable[[Any, Array, Array, Array | None], Array]


def by_choice(
    settings: groups.Selection, policy: Sampled, critics: networks.Network, spec: TaskSpec
) -> Acting:
    """Acts on {"actor", "critic"} by energy-based action selection (EDP Eq. 13).

    Of M = `num_candidates` samples, one is drawn with probability softmax(min_i Q_i / temperature).
    """

    def choose(params: Any, observation: Array, q: Array, noise: Array | None) -> Array:
        del params, observation
        return select_by_energy(jnp.min(q, axis=0), settings.selection_temperature, noise)

    at_random = settings.selection_temperature > 0
    return by_critics(choose, settings.num_candidates, policy, critics, spec, at_random=at_random)


def by_critics(
    choose: Choose,
    num_candidates: int,
    policy: Sampled,
    critics: networks.Network,
    spec: TaskSpec,
    *,
    at_random: bool,
) -> Acting:
    """Acts on {"actor", "critic", ...} with one of M samples, chosen by what critics say.

    `at_random` says whether the choice reads Gumbel noise.
    """
    sample = _sampling(policy, num_candidates, spec)
    chooses = num_candidates > 1
    choice = {acting.CHOICE_NOISE: (num_candidates,)} if chooses and at_random else {}

    def run(params: Mapping[str, Any], observation: Array, numbers: acting.Numbers) -> Array:
        actions = sample.run(params["actor"], observation, numbers)
        if not chooses:
            return actions
        q = critics.apply(params["critic"], observation, actions)
        noise = jnp.moveaxis(numbers[acting.CHOICE_NOISE], -1, 0) if choice else None
        return take_candidate(actions, choose(params, observation, q, noise))

    return Acting(run, {**sample.shapes, **choice})


def _sampling(policy: Sampled, count: int, spec: TaskSpec) -> Acting:
    """Gives M = `count` samples [M, ..., A] of the averaged actor; a single one as [..., A]."""
    shapes: dict[str, tuple[int, ...]] = {acting.NOISE: (count, spec.action_dim)}
    if policy.num_noisy_calls:
        shapes[acting.STEP_NOISE] = (policy.num_noisy_calls, count, spec.action_dim)

    def first(candidates: Array) -> Array:
        """[..., M, A] -> [M, ..., A]."""
        return jnp.squeeze(candidates, -2) if count == 1 else jnp.moveaxis(candidates, -2, 0)

    def run(params: networks.Params, observation: Array, numbers: acting.Numbers) -> Array:
        x_T, steps = first(numbers[acting.NOISE]), numbers.get(acting.STEP_NOISE)
        if steps is not None and is_noise(steps):
            steps = jax.vmap(first)(jnp.moveaxis(steps, -3, 0))
        return policy.sample(params, observation, x_T, steps)

    return Acting(run, shapes)
