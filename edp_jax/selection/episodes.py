"""Divides recorded data by episode: to fit on, and to judge on."""

from typing import NamedTuple

import numpy as np

from edp_jax.types import InputError

MAX_ROWS = 20_000  # of the data that policies are judged by, where no other number is asked for


class Split(NamedTuple):
    """Rows of a dataset, in their order."""

    fit: np.ndarray  # [N] rows to fit on
    held_out: np.ndarray  # [N] rows of other episodes
    starts: np.ndarray  # [E] the first row of each held-out episode


def split(
    episode: np.ndarray, rng: np.random.Generator, *, share: float = 0.2, max_rows: int = 0
) -> Split:
    """Draws the episodes that are held out, and those that are fitted on.

    Rows of one episode resemble each other, so an episode is never divided.

    Args:
      episode: [N] of each row, whose rows follow each other.
      rng: what is drawn depends on it alone.
      share: of the rows, in held-out episodes; at least two episodes, and one to fit on.
      max_rows: episodes are taken until they have so many rows, the last one included; 0: all.

    Raises:
      InputError: there are fewer than three episodes.
    """
    names, starts, lengths = np.unique(episode, return_index=True, return_counts=True)
    if len(names) < 3:
        raise InputError(
            f"dataset: {len(names)} episodes, too few to hold some out: policies are fitted on "
            "some and judged on others; record at least 3, better 20"
        )
    order = rng.permutation(len(names))
    if max_rows:
        rows = np.cumsum(lengths[order])
        order = order[: max(3, int(np.searchsorted(rows, max_rows)) + 1)]
    rows = np.cumsum(lengths[order])
    number = int(np.searchsorted(rows, share * rows[-1])) + 1
    number = min(max(2, number), len(order) - 1)
    held_out, fit = order[:number], order[number:]
    return Split(
        np.flatnonzero(np.isin(episode, names[fit])),
        np.flatnonzero(np.isin(episode, names[held_out])),
        np.sort(starts[held_out]),
    )


def followed(episode: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Those of `rows` [N] that the next row of their episode follows, so that its action is known.

    Args:
      episode: [N] of every row of the dataset.
      rows: of the dataset.
    """
    inside = rows[rows + 1 < len(episode)]
    return inside[episode[inside + 1] == episode[inside]]


def discounted_returns(
    reward: np.ndarray, episode: np.ndarray, starts: np.ndarray, discount: float
) -> np.ndarray:
    """What was recorded from the start of each episode to its end, discounted.

    Args:
      reward: [N] of the rows.
      episode: [N] of the rows.
      starts: [E] first rows of episodes.
      discount: per step.

    Returns:
      [E].
    """
    returns = []
    for start in starts:
        own = reward[start : start + int((episode == episode[start]).sum())].astype(np.float64)
        returns.append(own @ discount ** np.arange(len(own)))
    return np.array(returns)
