"""Episodes of the policies of several seeds at once."""

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import chex
import numpy as np

from edp_jax import stepping
from edp_jax.evaluation import envs
from edp_jax.types import EnvSpec

MAX_ENVS = 100  # simulators at a time
# (observation [S, E, O] float32, number of the call) -> action [S, E, A]
Act = Callable[[np.ndarray, int], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Episodes:
    """What was run: E episodes of each of S policies."""

    returns: np.ndarray  # [S, E] float64, undiscounted; NaN where an action was NaN or infinite
    lengths: np.ndarray  # [S, E] int, steps


def rollout(
    act: Act, environment: EnvSpec, *, seeds: np.ndarray, max_envs: int = MAX_ENVS
) -> Episodes:
    """Runs E episodes of each of S policies, each episode in an environment of its own.

    Where there are fewer environments than episodes, the episodes run in waves of equal size.

    Args:
      act: (observation [S, E', O], step) -> action [S, E', A], in the units of the environment. It
        is called once per step for all E' episodes of a wave, those that have ended included: their
        observation stays the last one. `step` counts all calls, so that each can draw its own
        random numbers. Actions are clipped to the environment's box.
      environment: what to run in.
      seeds: [S, E] int, the seed of the environment for each episode.
      max_envs: simulators at a time; at least one per policy is made.

    Raises:
      InputError: see `edp_jax.evaluation.envs.make`.
    """
    chex.assert_rank(seeds, 2)
    num_seeds, num_episodes = seeds.shape
    most = max(1, max_envs // num_seeds)
    num_waves = -(-num_episodes // most)
    per_wave = -(-num_episodes // num_waves)
    return run_episodes(act, envs.make(environment, num_seeds * per_wave), seeds)


def run_episodes(act: Act, environments: Sequence[Any], seeds: np.ndarray) -> Episodes:
    """Does what `rollout` does in given gymnasium environments, at least S of them."""
    num_seeds, num_episodes = seeds.shape
    per_wave, calls = len(environments) // num_seeds, itertools.count()
    returns, lengths = np.zeros(seeds.shape), np.zeros(seeds.shape, int)
    for start in range(0, num_episodes, per_wave):
        wave = (slice(None), slice(start, start + per_wave))
        returns[wave], lengths[wave] = _run_wave(act, environments, seeds[wave], calls)
    return Episodes(returns, lengths)


def _run_wave(
    act: Act, environments: Sequence[Any], seeds: np.ndarray, calls: "itertools.count[int]"
) -> tuple[np.ndarray, np.ndarray]:
    """Runs one episode per entry of `seeds` [S, E']; returns and lengths [S, E']."""

    def act_flat(observation: np.ndarray) -> np.ndarray:
        action = np.asarray(act(observation.reshape(*seeds.shape, -1), next(calls)))
        chex.assert_shape(action, (*seeds.shape, None))
        return action.reshape(seeds.size, -1)

    returns, lengths = np.zeros(seeds.size), np.zeros(seeds.size, int)
    used = environments[: seeds.size]
    for step in stepping.run(used, act_flat, seeds.ravel().tolist(), restart=False):
        returns += step.reward
        lengths += step.stepped
    return returns.reshape(seeds.shape), lengths.reshape(seeds.shape)
