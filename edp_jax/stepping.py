"""The one loop that steps environments: for evaluation, for recording, for online data."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import chex
import numpy as np


class Step(NamedTuple):
    """What happened when E environments took a step together."""

    observation: np.ndarray  # [E, O] float32, which the actions were chosen at
    action: np.ndarray  # [E, A] as the environments got them, in their box
    reward: np.ndarray  # [E] float64; NaN where the policy gave a NaN or infinite action
    terminated: np.ndarray  # [E] bool: the task ended
    truncated: np.ndarray  # [E] bool: the episode was cut off, as by a time limit
    next_observation: np.ndarray  # [E, O] float32, the last one of its episode where that ended
    stepped: np.ndarray  # [E] bool; the others stood still: reward 0, the same observation


def run(
    environments: Sequence[Any],
    act: Callable[[np.ndarray], np.ndarray],
    seeds: Sequence[int],
    *,
    restart: bool,
    call: Callable[[Callable[[], list]], list] = lambda function: function(),
) -> Iterator[Step]:
    """Resets gymnasium environments and steps them together.

    The policy is called once for all of them, whenever one has no action left to take: before every
    step, or, if it plans several, before one that begins an episode or follows the end of a plan.
    The others keep the plans that they have.

    Args:
      environments: E of them, of one kind: observations [O], actions [A] in a box.
      act: observations [E, O] float32 -> actions [E, A], or [E, H, A] that are taken one after the
        other. They are clipped to the box.
      seeds: E seeds of the first episodes.
      restart: whether an environment begins the next episode, from its own random numbers, when one
        has ended. Without it every environment runs one episode and then stands still.
      call: calls the functions that reset and step, as `evaluation.patience.Patience` does.

    Raises:
      ValueError: an observation has another shape than the first one, or a reward is no number.

    Yields:
      One `Step` after another, in new arrays, until all environments stand still. One whose action
      is NaN or infinite stands still from then on.
    """
    box, num_envs = environments[0].action_space, len(environments)
    pairs = list(zip(environments, seeds, strict=True))
    first = call(lambda: [np.asarray(env.reset(seed=int(seed))[0]) for env, seed in pairs])
    current = np.stack([_observation(each, first[0].shape) for each in first])
    running = np.ones(num_envs, bool)
    plan, taken = np.empty((num_envs, 0, box.shape[0])), np.zeros(num_envs, int)  # of the H
    while running.any():
        due = taken >= plan.shape[1]
        if (due & running).any():
            plan = _renewed(plan, np.asarray(act(current.copy())), due)
            taken = np.where(due, 0, taken)
        action = plan[np.arange(num_envs), np.minimum(taken, plan.shape[1] - 1)]
        taken = taken + 1
        finite = np.isfinite(action).all(axis=-1)
        reward = np.where(running & ~finite, np.nan, 0.0)
        running = running & finite
        action, following = np.clip(action, box.low, box.high), current.copy()
        terminated, truncated = np.zeros(num_envs, bool), np.zeros(num_envs, bool)
        going = np.flatnonzero(running)
        outcomes = call(
            lambda going=going, action=action: [_step(environments[e], action[e]) for e in going]
        )
        for e, outcome in zip(going, outcomes, strict=True):
            following[e] = _observation(outcome[0], current.shape[1:])
            reward[e], terminated[e], truncated[e] = outcome[1:]
        yield Step(current, action, reward, terminated, truncated, following, running)
        ended = terminated | truncated
        if restart:
            current = following.copy()
            taken[ended] = plan.shape[1]
            over = np.flatnonzero(ended)
            begun = call(lambda over=over: [environments[e].reset()[0] for e in over])
            for e, observation in zip(over, begun, strict=True):
                current[e] = _observation(observation, current.shape[1:])
        else:
            current, running = following, running & ~ended


def _step(env: Any, action: np.ndarray) -> tuple[Any, float, bool, bool]:
    """What a step returns, without its info."""
    observation, reward, terminated, truncated, _ = env.step(action)
    return observation, float(reward), bool(terminated), bool(truncated)


def _observation(values: Any, shape: tuple[int, ...]) -> np.ndarray:
    values = np.asarray(values, np.float32)
    if values.shape != shape:
        raise ValueError(f"an observation of shape {values.shape}, not {shape}")
    return values


def _renewed(plan: np.ndarray, actions: np.ndarray, due: np.ndarray) -> np.ndarray:
    """The plans [E, H, A], where `due` [E] replaced by actions [E, A] or [E, H, A]."""
    actions = actions[:, None] if actions.ndim == 2 else actions
    num_envs, length, action_dim = plan.shape
    chex.assert_shape(actions, (num_envs, length or None, action_dim))
    return np.where(due[:, None, None], actions, plan if length else actions)
