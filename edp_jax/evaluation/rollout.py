"""Closed-loop episodes of several seeds' policies at once."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from edp_jax.evaluation import envs
from edp_jax.types import EnvSpec

MAX_ENVS = 100  # simulators at a time
Act = Callable[
    [np.ndarray, int], np.ndarray
]  # (observation [S, E', O] float32, step) -> action [S, E', A] in its units


@dataclasses.dataclass(frozen=True)
class Episodes:
    """What was run: undiscounted returns (NaN where the policy gave a NaN or infinite action) and lengths in steps."""

    returns: np.ndarray  # [S, E] float64
    lengths: np.ndarray  # [S, E] int


def rollout(
    act: Act, environment: EnvSpec, *, seeds: np.ndarray, max_envs: int = MAX_ENVS
) -> Episodes:
    """Runs episode e of training seed s from the environment seed `seeds[s, e]`, one episode per environment.

    Args:
        act: called once per environment step for all seeds and all E' episodes of a wave; `step` counts its calls, so
            that it can draw new random numbers every time. Episodes that have ended keep their last observation. Its actions
            are clipped to the environment's own box.
        environment: see `envs.make`.
        seeds: [S, E] int.
        max_envs: simulators at a time; more episodes than fit run in waves.
    """
    num_seeds, num_episodes = seeds.shape
    most = max(1, max_envs // num_seeds)
    num_waves = -(-num_episodes // most)
    per_wave = -(-num_episodes // num_waves)  # waves of equal size
    environments = envs.make(environment, num_seeds * per_wave)
    return run_episodes(act, environments, seeds)


def run_episodes(act: Act, environments: Sequence[Any], seeds: np.ndarray) -> Episodes:
    """`rollout` in given gymnasium environments, at least one per training seed."""
    num_seeds, num_episodes = seeds.shape
    per_wave = len(environments) // num_seeds
    returns, lengths, step = np.zeros(seeds.shape), np.zeros(seeds.shape, int), 0
    for start in range(0, num_episodes, per_wave):
        wave = (slice(None), slice(start, start + per_wave))
        returns[wave], lengths[wave], step = _run_wave(act, environments, seeds[wave], step)
    return Episodes(returns, lengths)


def _run_wave(
    act: Act, environments: Sequence[Any], seeds: np.ndarray, step: int
) -> tuple[np.ndarray, np.ndarray, int]:
    """One episode per entry of `seeds` [S, E']; returns [S, E'], lengths [S, E'] and the next value of `step`.

    An environment is left alone once its episode has ended, so that short episodes are not counted more often than long ones.
    """
    slots = list(np.ndindex(seeds.shape))
    env_of = dict(zip(slots, environments, strict=False))
    first = [env_of[slot].reset(seed=int(seeds[slot]))[0] for slot in slots]
    observations = np.asarray(first, np.float32).reshape(*seeds.shape, -1)
    returns, lengths, running = (
        np.zeros(seeds.shape),
        np.zeros(seeds.shape, int),
        np.ones(seeds.shape, bool),
    )
    while running.any():
        actions = np.asarray(act(observations.copy(), step))
        step += 1
        broken = running & ~np.isfinite(actions).all(axis=-1)
        returns[broken] = np.nan
        running &= ~broken
        for slot in zip(*np.nonzero(running), strict=True):
            env = env_of[slot]
            action = np.clip(actions[slot], env.action_space.low, env.action_space.high)
            observations[slot], reward, terminated, truncated, _ = env.step(action)
            returns[slot] += reward
            lengths[slot] += 1
            running[slot] = not (terminated or truncated)
    return returns, lengths, step
