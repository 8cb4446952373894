"""Episodes of the policies of several seeds at once."""

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import chex
import numpy as np

from edp_jax import stepping
from edp_jax.evaluation import envs
from edp_jax.evaluation.guarded import Guarded
from edp_jax.evaluation.patience import Patience
from edp_jax.types import EnvSpec

MAX_ENVS = 100  # simulators at a time
# (observation [S, E, O] float32, number of the call) -> action [S, E, A], or plan [S, E, H, A]
Act = Callable[[np.ndarray, int], np.ndarray]


class Fault(NamedTuple):
    """An episode in which the environment failed, or gave or got NaN or infinite numbers."""

    policy: int  # of S
    episode: int  # of E
    step: int  # from 1; 0 is the reset
    what: str  # "observation", "reward" or "action"
    error: str = ""  # that the environment raised, see `Guarded`


@dataclasses.dataclass(frozen=True)
class Episodes:
    """What was run: E episodes of each of S policies.

    An episode with a fault has the return NaN and the length -1.
    """

    returns: np.ndarray  # [S, E] float64, undiscounted
    lengths: np.ndarray  # [S, E] int, steps
    faults: tuple[Fault, ...] = ()  # the first of each episode


def rollout(
    act: Act,
    environment: EnvSpec,
    *,
    seeds: np.ndarray,
    max_envs: int = MAX_ENVS,
    seconds: float = float("inf"),
    check_stop: Callable[[], None] = lambda: None,
    guard: bool = False,
) -> Episodes:
    """Runs E episodes of each of S policies, each episode in an environment of its own.

    Where there are fewer environments than episodes, the episodes run in waves of equal size.

    Args:
      act: (observation [S, E', O], call) -> action [S, E', A], in the units of the environment; or
        [S, E', H, A], which are taken one after the other. It is called once for all E' episodes of
        a wave, those that have ended included: their observation stays the last one. `call` counts
        the calls, so that each can draw its own random numbers. Actions are clipped to the
        environment's box.
      environment: what to run in.
      seeds: [S, E] int, the seed of the environment for each episode.
      max_envs: simulators at a time; at least one per policy is made.
      seconds: that one step of all of them may take, and a reset of all.
      check_stop: called while it waits for them, and before every step; it may raise to end all.
      guard: whether an error of an environment is a fault of its episode, and not an error here.

    Raises:
      InputError: see `edp_jax.evaluation.envs.make`.
      TimeoutError: a step or reset takes too long.
    """
    chex.assert_rank(seeds, 2)
    num_seeds, num_episodes = seeds.shape
    most = max(1, max_envs // num_seeds)
    num_waves = -(-num_episodes // most)
    per_wave = -(-num_episodes // num_waves)
    environments = envs.make(environment, num_seeds * per_wave)
    if guard:
        environments = [Guarded(each) for each in environments]

    def act_unless_stopped(observation: np.ndarray, call: int) -> np.ndarray:
        check_stop()
        return act(observation, call)

    with Patience(seconds, check_stop) as call:
        return run_episodes(act_unless_stopped, environments, seeds, call)


def run_episodes(
    act: Act,
    environments: Sequence[Any],
    seeds: np.ndarray,
    call: Callable[[Callable[[], list]], list] = lambda function: function(),
) -> Episodes:
    """Does what `rollout` does in given gymnasium environments, at least S of them."""
    num_seeds, num_episodes = seeds.shape
    per_wave, calls = len(environments) // num_seeds, itertools.count()
    returns, lengths = np.zeros(seeds.shape), np.zeros(seeds.shape, int)
    faults: list[Fault] = []
    for start in range(0, num_episodes, per_wave):
        wave = (slice(None), slice(start, start + per_wave))
        returns[wave], lengths[wave], found = _run_wave(act, environments, seeds[wave], calls, call)
        for index, (step, what, error) in sorted(found.items()):
            policy, episode = divmod(index, seeds[wave].shape[1])
            faults.append(Fault(policy, start + episode, step, what, error))
    return Episodes(returns, lengths, tuple(faults))


def _run_wave(
    act: Act,
    environments: Sequence[Any],
    seeds: np.ndarray,
    calls: "itertools.count[int]",
    call: Callable[[Callable[[], list]], list],
) -> tuple[np.ndarray, np.ndarray, dict[int, tuple[int, str, str]]]:
    """Runs one episode per entry of `seeds` [S, E'].

    Returns:
      Returns and lengths [S, E'], and by the index of its entry step, kind and error of a fault.
    """

    def act_flat(observation: np.ndarray) -> np.ndarray:
        action = np.asarray(act(observation.reshape(*seeds.shape, -1), next(calls)))
        chex.assert_tree_shape_prefix(action, seeds.shape)
        return action.reshape(seeds.size, *action.shape[2:])

    used = environments[: seeds.size]
    returns, lengths = np.zeros(seeds.size), np.zeros(seeds.size, int)
    faults: dict[int, tuple[int, str, str]] = {}

    def note(broken: np.ndarray, what: str) -> None:
        for index in np.flatnonzero(broken).tolist():
            error = used[index].error if isinstance(used[index], Guarded) else ""
            faults.setdefault(index, (int(lengths[index]), what, error))

    for step in stepping.run(used, act_flat, seeds.ravel().tolist(), restart=False, call=call):
        note(_broken_rows(step.observation), "observation")
        returns += step.reward
        lengths += step.stepped
        note(_broken_rows(step.next_observation), "observation")
        note(step.stepped & ~np.isfinite(step.reward), "reward")
        note(~step.stepped & np.isnan(step.reward), "action")
    broken = list(faults)
    returns[broken], lengths[broken] = np.nan, -1
    return returns.reshape(seeds.shape), lengths.reshape(seeds.shape), faults


def _broken_rows(values: np.ndarray) -> np.ndarray:
    """Which rows [N] of values [N, C] have an entry that is NaN or infinite."""
    return np.asarray(~np.isfinite(values).all(axis=-1))
