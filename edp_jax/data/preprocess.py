"""From the steps of a file to packed transitions: episode ends, pairs, statistics."""

from typing import Any

import numpy as np

from edp_jax.data.columns import constant_columns, moments
from edp_jax.data.raw import RawDataset
from edp_jax.data.storage import MEMORY, Storage, map_rows, row_blocks
from edp_jax.types import InputError, TaskSpec, unpack

_LEAST_SHARE = 0.02  # of a column that lasts; smaller estimates are errors of few rows
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


def lasting_share(
    observation: np.ndarray, next_observation: np.ndarray, follows: np.ndarray
) -> np.ndarray:
    """How much of each column lasts from one step to the next, against the other columns.

    Noise that a sensor adds is drawn anew in every step, while a state changes little by little.
    Of a column with variance v that changes by d per step, the share rho = 1 - E d^2 / (2 v) lasts,
    its autocorrelation over one step: about 1 for a state, 0 for noise, and for a state with noise
    on top the factor by which a Wiener filter multiplies it. E d^2 / v is von Neumann's ratio
    (1941, Annals of Mathematical Statistics 12).

    Args:
      observation: [N, O].
      next_observation: [N, O].
      follows: [N] bool, whether the next observation of a row is one: not after the end of a task.

    Returns:
      [O] float32, rho divided by the largest rho of a column, at least 0.02. It is 1 for a constant
      column, and for all where no row follows another or nothing lasts.
    """
    _, std = moments(observation)
    square, count = np.zeros(observation.shape[1]), max(int(follows.sum()), 1)
    for rows in row_blocks(observation, next_observation):
        change = (next_observation[rows] - observation[rows])[follows[rows]].astype(np.float64)
        square += np.square(change).sum(axis=0)
    constant = constant_columns(observation)
    share = 1.0 - square / (2.0 * count * np.where(constant, 1.0, std) ** 2)
    share = np.where(constant, 1.0, share)
    largest = share[~constant].max(initial=0.0)
    if largest < _LEAST_SHARE:
        return np.ones(len(share), np.float32)
    return np.where(constant, 1.0, np.clip(share / largest, _LEAST_SHARE, 1.0)).astype(np.float32)
