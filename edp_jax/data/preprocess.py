"""From the steps of a file to packed transitions: episode ends, pairs, statistics."""

from typing import Any

import numpy as np

from edp_jax.data.columns import constant_columns, moments
from edp_jax.data.raw import RawDataset
from edp_jax.data.storage import MEMORY, Storage, map_rows
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


def episode_returns(raw: RawDataset) -> np.ndarray:
    """[episodes] float64: the undiscounted return of each; a last one that was cut off counts."""
    starts = np.append(0, np.flatnonzero(episode_ends(raw))[:-1] + 1)
    return np.add.reduceat(raw.rewards.astype(np.float64), starts)


def to_rows(raw: RawDataset, storage: Storage = MEMORY, horizon: int = 1) -> np.ndarray:
    """Pairs each step with its next observation.

    A terminal step has discount 0. Nothing follows it, so its next observation is its own. A
    timeout has discount 1: learners bootstrap through it. A step that is both counts as terminal.
    Steps of which it is not known what followed are left out, see `usable_rows`.

    Args:
      raw: N' steps.
      storage: where the rows lie.
      horizon: H; of each chunk of more than one action only the first is filled in.

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
    spec = TaskSpec(raw.observation_dim, raw.action_dim, horizon)
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
