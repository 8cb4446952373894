"""Steps that policies take in gymnasium environments, recorded as a dataset."""

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from edp_jax.data.raw import RawDataset
from edp_jax.types import InputError

# (observations [E, O] float32, generator) -> actions [E, A]; without a generator those of the policy's mean
Act = Callable[[np.ndarray, np.random.Generator | None], np.ndarray]


def uniform(action_dim: int) -> Act:
    """Uniformly random actions in [-1, 1]; needs a generator."""

    def act(observations: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return rng.uniform(-1, 1, (len(observations), action_dim)).astype(np.float32)

    return act


def in_box(act: Act, low: np.ndarray, high: np.ndarray) -> Act:
    """`act`, whose actions are in [-1, 1], with actions in the box from `low` to `high` [A].

    Raises:
      InputError: the box has no bounds.
    """
    if not np.isfinite([low, high]).all():
        raise InputError(
            f"action box from {low} to {high}: random and behaviour policies need bounds; bound it by a wrapper"
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
) -> RawDataset:
    """Records N steps of E environments (observations [O]) that advance together; the same numbers on every run.

    Environment e is seeded with E * seed + e. Its steps come before those of environment e + 1; where they are cut off, the
    last one is a timeout. Actions are clipped to the environments' box.
    """
    num_envs, steps = len(environments), -(-num_transitions // len(environments))
    box = environments[0].action_space
    observation_dim, action_dim = environments[0].observation_space.shape[0], box.shape[0]
    rng = np.random.default_rng(seed)
    observations = np.zeros((num_envs, steps, observation_dim), np.float32)
    next_observations = np.zeros_like(observations)
    actions = np.zeros((num_envs, steps, action_dim), np.float32)
    rewards = np.zeros((num_envs, steps), np.float32)
    terminals, timeouts = np.zeros((num_envs, steps), bool), np.zeros((num_envs, steps), bool)

    current = np.zeros((num_envs, observation_dim), np.float32)
    for index, env in enumerate(environments):
        current[index] = env.reset(seed=num_envs * seed + index)[0]
    for step in _with_progress(steps, f"{title}: {num_transitions} transitions", progress):
        observations[:, step] = current
        actions[:, step] = np.clip(act(current.copy(), rng), box.low, box.high)
        for index, env in enumerate(environments):
            observation, rewards[index, step], terminated, truncated, _ = env.step(
                actions[index, step]
            )
            next_observations[index, step] = observation
            terminals[index, step] = terminated
            timeouts[index, step] = not terminated and (truncated or step == steps - 1)
            current[index] = env.reset()[0] if terminated or truncated else observation

    def flat(array: np.ndarray) -> np.ndarray:
        return array.reshape(num_envs * steps, *array.shape[2:])[:num_transitions]

    raw = RawDataset(
        *map(flat, (observations, actions, rewards, terminals, timeouts, next_observations))
    )
    raw.timeouts[-1] = not raw.terminals[-1]
    return raw


def concatenate(parts: Sequence[RawDataset]) -> RawDataset:
    """The steps of all `parts`, which `record` made, one part after the other."""
    fields = [
        field.name
        for field in dataclasses.fields(RawDataset)
        if getattr(parts[0], field.name) is not None
    ]
    return RawDataset(
        **{field: np.concatenate([getattr(part, field) for part in parts]) for field in fields}
    )


def _with_progress(steps: int, title: str, progress: Callable[[str], None]) -> Iterator[int]:
    """Yields 0 .. steps - 1 and reports tenths of them with the time left: the last, and others a second apart at least."""
    start, every = time.monotonic(), max(1, steps // 10)
    said = start
    for step in range(steps):
        yield step
        done, now = step + 1, time.monotonic()
        if done == steps or (done % every == 0 and now - said >= 1):
            said = now
            progress(
                f"  {title}, {100 * done // steps:3d} %, {(now - start) * (steps - done) / done:.0f} s left"
            )
