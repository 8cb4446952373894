"""From the steps of a file to packed transitions: episode ends, pairs, statistics."""

from typing import Any

import numpy as np

from edp_jax.data.columns import constant_columns, moments
from edp_jax.data.raw import RawDataset
from edp_jax.data.storage import MEMORY, Storage, map_rows, row_blocks
from edp_jax.types import InputError, TaskSpec, unpack

_FAR = 1e3  # up to here a constant column is rounded by less than 0.001


def episode_ends(raw: RawDataset) -> np.ndarray:
    """[N] bool: whether a step is the last of its episode; that of the file always is."""
    ends = raw.terminals | raw.timeouts
    ends[-1] = True
    return ends


def usable_rows(raw: RawDataset) -> np.ndarray:
    """[N] bool: whether it is known what followed a step.

    Without `next_observations` it is not known where an episode was cut off.
    """
    if raw.next_observations is not None:
        return np.ones(len(raw.rewards), dtype=bool)
    return raw.terminals | ~episode_ends(raw)


def episode_numbers(raw: RawDataset) -> np.ndarray:
    """[N] int: the episode of each step, counted from 0."""
    return np.append(0, np.cumsum(episode_ends(raw))[:-1])


def episodes_of_rows(raw: RawDataset) -> np.ndarray:
    """[N] int: the episode of each transition that `to_rows` makes."""
    return episode_numbers(raw)[usable_rows(raw)]


def held_out(episode: np.ndarray, share: float) -> np.ndarray | None:
    """Draws whole episodes that values are not learned from, the same ones each time.

    Args:
      episode: [N] int, the episode of each transition.
      share: of the episodes, at most 0.5.

    Returns:
      [N] bool; None where the share is at most half an episode.
    """
    numbers = np.unique(episode)
    count = round(share * len(numbers))
    if not count:
        return None
    return np.isin(episode, np.random.default_rng(0).permutation(numbers)[:count])


def episode_returns(raw: RawDataset) -> np.ndarray:
    """[episodes] float64: the undiscounted return of each; a last one that was cut off counts."""
    starts = np.append(0, np.flatnonzero(episode_ends(raw))[:-1] + 1)
    return np.add.reduceat(raw.rewards.astype(np.float64), starts)


def to_rows(raw: RawDataset, spec: TaskSpec, storage: Storage = MEMORY) -> np.ndarray:
    """Pairs each step with its next observation.

    A terminal step has discount 0. Nothing follows it, so its next observation is its own. A
    timeout has discount 1: learners bootstrap through it. A step that is both counts as terminal.
    Steps of which it is not known what followed are left out, see `usable_rows`.

    Args:
      raw: N' steps.
      spec: of the rows. What it has besides the steps, as the later actions of a chunk, is not
        filled in.
      storage: where the rows lie.

    Returns:
      Packed transitions [N, D], see `edp_jax.types.pack`.

    Raises:
      InputError: no transition is left.
    """
    steps = np.flatnonzero(usable_rows(raw))
    if not len(steps):
        raise InputError(
            "dataset: no transition has a next observation, every row ends an episode; "
            "add next_observations"
        )
    terminals = raw.terminals[steps]
    followed, following = raw.next_observations, steps
    if followed is None:
        followed, following = raw.observations, np.where(terminals, steps, steps + 1)
    rows = storage.empty((len(steps), spec.row_width))
    parts: Any = unpack(rows, spec)
    map_rows(lambda index: raw.observations[index], steps, out=parts.observation)
    map_rows(lambda index: raw.actions[index], steps, out=parts.action[:, : spec.action_dim])
    map_rows(lambda index: followed[index], following, out=parts.next_observation)
    parts.reward[:] = raw.rewards[steps]
    parts.discount[:] = ~terminals
    return rows


def normalization(observations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean [O] and standard deviation [O] of each column of observations [N, O], float32.

    A constant column gets the standard deviation 1, so that normalisation makes it 0. Far from 0,
    where rounding would leave more of it, it gets its magnitude.
    """
    mean, std = moments(observations)
    far = np.abs(mean) > _FAR
    std = np.where(constant_columns(observations), np.where(far, np.abs(mean), 1.0), std)
    return mean.astype(np.float32), std.astype(np.float32)


def lasting_columns(
    observation: np.ndarray, next_observation: np.ndarray, follows: np.ndarray
) -> np.ndarray:
    """Which columns tell of a state rather than of noise.

    Noise that a sensor adds is drawn anew in every step, while a state changes little by little. A
    column with variance v that changes by d per step has von Neumann's ratio E d^2 / v (1941,
    Annals of Mathematical Statistics 12). It is 2 for noise and near 0 for a slow state; 1 - ratio
    / 2 is the autocorrelation over one step.

    Args:
      observation: [N, O].
      next_observation: [N, O].
      follows: [N] bool, whether the next observation of a row is one: not after the end of a task.

    Returns:
      [O] bool, whether the ratio is below 1. False for a constant column, and for all where no row
      is followed by another.
    """
    _, std = moments(observation)
    square, count = np.zeros(observation.shape[1]), int(follows.sum())
    for rows in row_blocks(observation, next_observation):
        change = (next_observation[rows] - observation[rows])[follows[rows]].astype(np.float64)
        square += np.square(change).sum(axis=0)
    return (square < count * np.square(std)) & ~constant_columns(observation)


def at_least_typical(std: np.ndarray, lasting: np.ndarray) -> np.ndarray:
    """Standard deviations [O], none of them smaller than the median of those of lasting columns.

    With them no column is made larger by normalising than a typical one is, so a small column stays
    small: most often it is noise. Where no column lasts they stay as they are.
    """
    return np.maximum(std, np.median(std[lasting])) if lasting.any() else std
