"""Recording the steps that policies take in gymnasium environments."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from edp_jax import stepping
from edp_jax.data.boxes import has_bounds
from edp_jax.data.raw import RawDataset
from edp_jax.types import InputError

# (observations [E, O] float32, generator) -> actions [E, A] or plans [E, H, A]; without a generator
# those of the mean
Act = Callable[[np.ndarray, np.random.Generator | None], np.ndarray]


class Recording(NamedTuple):
    """What was recorded, and what ended it early."""

    steps: RawDataset | None  # None where there is not a single one
    error: Exception | None = None  # None: the recording is complete

    def complete(self) -> RawDataset:
        """The steps of a complete recording; of another one the error is raised."""
        if self.error is not None:
            raise self.error
        assert self.steps is not None
        return self.steps


def uniform(action_dim: int) -> Act:
    """A policy of uniformly random actions in [-1, 1]; it needs a generator."""

    def act(observations: np.ndarray, rng: np.random.Generator | None) -> np.ndarray:
        if rng is None:
            raise ValueError("random actions need a generator")
        return rng.uniform(-1, 1, (len(observations), action_dim)).astype(np.float32)

    return act


def in_box(act: Act, low: np.ndarray, high: np.ndarray) -> Act:
    """Maps the actions of a policy from [-1, 1] to a box.

    Args:
      act: a policy with actions in [-1, 1].
      low, high: [A], the box.

    Raises:
      InputError: the box has no bounds.
    """
    if not has_bounds(low, high):
        raise InputError(
            f"action box from {low} to {high}: random and behaviour policies need bounds; "
            "bound it by a wrapper"
        )
    centre, half = (low + high) / 2, (high - low) / 2
    return lambda observations, rng: centre + half * act(observations, rng)


def record(
    environments: Sequence[Any],
    act: Act,
    num_transitions: int,
    *,
    seed: int,
    title: str,
    progress: Callable[[str], None] = print,
    check_stop: Callable[[], None] = lambda: None,
) -> Recording:
    """Records steps of environments that advance together; every call records the same numbers.

    Args:
      environments: E gymnasium environments of one kind, with observations [O]. Environment e is
        seeded with E * seed + e.
      act: chooses the actions, which are clipped to the box of the environments.
      num_transitions: N, the steps of all environments together.
      seed: of the environments and of the actions.
      title: what progress lines and errors call the recording.
      progress: takes these lines.
      check_stop: called before every step; what it raises ends the recording.

    Returns:
      N steps; those of an environment follow each other and come before those of the next one. The
      last one of each is a timeout where its episode goes on. Where the policy, an environment or
      `check_stop` fails, or gives a number that is NaN or infinite, the steps before are all.
    """
    num_envs, num_steps = len(environments), -(-num_transitions // len(environments))
    observation_dim = environments[0].observation_space.shape[0]
    action_dim = environments[0].action_space.shape[0]
    rng = np.random.default_rng(seed)
    observations = np.zeros((num_envs, num_steps, observation_dim), np.float32)
    next_observations = np.zeros_like(observations)
    actions = np.zeros((num_envs, num_steps, action_dim), np.float32)
    rewards = np.zeros((num_envs, num_steps), np.float32)
    terminals = np.zeros((num_envs, num_steps), bool)
    timeouts = np.zeros_like(terminals)

    def choose(observation: np.ndarray) -> np.ndarray:
        check_stop()
        return act(observation, rng)

    seeds, done, error = range(num_envs * seed, num_envs * (seed + 1)), 0, None
    steps = stepping.run(environments, choose, seeds, restart=True)
    indices = _with_progress(num_steps, f"{title}: {num_transitions} transitions", progress)
    try:
        for index, step in zip(indices, steps, strict=False):
            _check_finite(step)
            observations[:, index] = step.observation
            next_observations[:, index] = step.next_observation
            actions[:, index], rewards[:, index] = step.action, step.reward
            terminals[:, index] = step.terminated
            timeouts[:, index] = ~step.terminated & step.truncated
            done = index + 1
    except Exception as raised:  # simulators raise what they like
        error = raised
    if not done:
        return Recording(None, error)
    timeouts[:, done - 1] = ~terminals[:, done - 1]

    def flat(array: np.ndarray) -> np.ndarray:
        rows = array[:, :done]
        return rows.reshape(num_envs * done, *array.shape[2:])[:num_transitions]

    raw = RawDataset(
        observations=flat(observations),
        actions=flat(actions),
        rewards=flat(rewards),
        terminals=flat(terminals),
        timeouts=flat(timeouts),
        next_observations=flat(next_observations),
    )
    raw.timeouts[-1] = not raw.terminals[-1]
    return Recording(raw, error)


def _check_finite(step: stepping.Step) -> None:
    """Refuses numbers of a step that nobody could learn from.

    Raises:
      InputError: an action, observation or reward is NaN or infinite; the line says where.
    """
    if not step.stepped.all():
        raise InputError("a NaN or infinite action; use another policy")
    with np.errstate(over="ignore"):
        rewards = step.reward.astype(np.float32)
    for what, values in (
        ("observation", step.observation),
        ("observation", step.next_observation),
        ("reward", rewards[:, None]),
    ):
        broken = np.flatnonzero(~np.isfinite(values).all(axis=1))
        if len(broken):
            raise InputError(
                f"a NaN or infinite {what} in environment {broken[0]}; correct the environment"
            )


def concatenate(parts: Sequence[RawDataset]) -> RawDataset:
    """The steps of several recordings, one after the other."""
    stored = [part.arrays() for part in parts]
    joined: dict[str, Any] = {
        key: np.concatenate([arrays[key] for arrays in stored]) for key in stored[0]
    }
    return RawDataset(**joined)


def _with_progress(steps: int, title: str, progress: Callable[[str], None]) -> Iterator[int]:
    """Yields 0 .. steps - 1 and tells at every tenth, at most once a second, and at the end."""
    start, every = time.monotonic(), max(1, steps // 10)
    told = start
    for step in range(steps):
        yield step
        done, now = step + 1, time.monotonic()
        if done == steps or (done % every == 0 and now - told >= 1):
            told = now
            left = (now - start) * (steps - done) / done
            progress(f"  {title}, {100 * done // steps:3d} %, {left:.0f} s left")
