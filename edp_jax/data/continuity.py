"""Compares the ends of episodes that a file marks with its observations.

Inside an episode, the observation of each row is what was seen after the step of the row before.
Where it is not, an end is missing, or the rows are not in the order they were made in.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from edp_jax.data.columns import moments
from edp_jax.data.ends import Ends
from edp_jax.data.storage import map_rows, row_blocks
from edp_jax.types import InputError

_SLACK = 1e-2  # of a column's standard deviation: the most that counts as rounding
_TYPICAL = 10.0  # times the usual difference of a column: what still counts as rounding
_SAMPLE = 10_000  # rows that tell the usual difference
_BITS = 1e-6  # of a number, and of a standard deviation: rounding to float32
_HALF_SLACK = 2.0**-10  # of a number that was stored as float16
_SHUFFLED = 0.1  # rows are shuffled where a smaller part of them continues the row before
_LONG = 10  # steps from which on episodes of equal length look like a time limit
_FEW = 100  # steps below which nothing is said of how observations change
_FEW_ENDS = 3  # ends below which nothing is said of their place
_JUMP = 10.0  # times the squared change of another row
_UNRELATED = 0.8  # of the variance: what rows that follow each other by chance differ by is 1


def compare_rows(
    source: str, ends: Ends, observations: np.ndarray, following: np.ndarray
) -> tuple[Ends, np.ndarray | None]:
    """Checks flags by the rows: within an episode the next row begins where a step ended.

    Args:
      source: what error messages begin with.
      ends: what the flags say. Without timeouts every step that the next row does not continue was
        cut. With them only those in the middle of an episode are added.
      observations: [N, O].
      following: the stored next observations [N, O].

    Returns:
      The corrected ends, with timeouts, and the next observations. These are None where those after
      a cut are the first of the next episode (an environment that resets itself) or those before
      it: then they hold nothing that the rows do not, and what followed a cut is not known.

    Raises:
      InputError: the next observations are the observations themselves.
    """
    same, vary = True, False
    for rows in row_blocks(observations, following):
        same = same and np.array_equal(observations[rows], following[rows])
        vary = vary or bool((observations[rows] != observations[0]).any())
    if same and vary:
        raise InputError(
            f"{source}: next_observations are the observations themselves; store what was seen "
            "after each step, or leave next_observations out and store timeouts"
        )
    goes_on = _continues(observations, following)
    terminals, notes, whole = ends.terminals, list(ends.notes), ends.whole
    stored = np.zeros_like(terminals) if ends.timeouts is None else ends.timeouts
    inside = ~_last(ends)[:-1]
    breaks = inside & ~goes_on
    continued, steps = int((inside & goes_on).sum()), int(inside.sum())
    shuffled = steps > 0 and continued < _SHUFFLED * steps
    timeouts = stored
    if shuffled:
        timeouts = ~terminals  # every row stands for itself
    elif ends.timeouts is None:
        timeouts = np.append(breaks, True) & ~terminals
    elif breaks.any():
        timeouts = stored | np.append(breaks, False)
        notes.append(
            f"{breaks.sum():,} steps inside episodes are not followed by their next observation: "
            "episodes are cut there"
        )
    if shuffled:
        whole = False
        notes.append(
            f"only {continued:,} of {steps:,} steps are followed by their next observation: the "
            "rows are shuffled, or next_observations are others; each row counts as an episode"
        )
    cut = (stored & ~terminals)[:-1]
    resets = (following[:-1][cut] == observations[1:][cut]).all()
    if not shuffled and cut.any() and resets and vary:
        notes.append(
            f"next_observations after all {cut.sum():,} cuts are the first of the next episode (an "
            "environment that resets itself?): what followed is unknown, these steps are left out"
        )
        return Ends(terminals, timeouts, whole, tuple(notes)), None
    if cut.sum() > 1 and (following[:-1][cut] == observations[:-1][cut]).all():
        notes.append(
            f"next_observations after all {cut.sum():,} cuts are those before them: what followed "
            "is unknown, these steps are left out"
        )
        return Ends(terminals, timeouts, whole, tuple(notes)), None
    return Ends(terminals, timeouts, whole, tuple(notes)), following


def unrelated_rows(ends: Ends, observations: np.ndarray) -> tuple[str, ...]:
    """A line where rows seem to be shuffled, and only their order says what followed.

    The mean squared difference of rows that follow each other is twice the variance if the order is
    by chance (von Neumann's ratio, halved, is 1), and far less along a trajectory.

    Args:
      ends: what the flags say.
      observations: [N, O].
    """
    inside = ~_last(ends)[:-1]
    std, steps = moments(observations)[1], int(inside.sum())
    if steps < _FEW or not (std > 0).any():
        return ()
    changes, before, after = np.zeros_like(std), observations[:-1], observations[1:]
    for rows in row_blocks(before, after):
        change = after[rows].astype(np.float64) - before[rows]
        changes += np.square(change[inside[rows]]).sum(axis=0)
    ratios = changes[std > 0] / steps / (2 * np.square(std[std > 0]))
    if ratios.min() < _UNRELATED:
        return ()
    return (
        "observations of rows that follow each other differ as much as those of any two: if the "
        "rows are shuffled, what followed each is not known; store next_observations",
    )


def misplaced_ends(ends: Ends, observations: np.ndarray) -> tuple[str, ...]:
    """A line where the jumps between episodes lie one row beside the marked ends.

    Args:
      ends: what the flags say.
      observations: [N, O].
    """
    last = _last(ends)
    marked = np.flatnonzero(last[1:-2]) + 1
    std = moments(observations)[1]
    if len(marked) < _FEW_ENDS or not (std > 0).any():
        return ()
    scaled = [observations[marked + shift][:, std > 0] / std[std > 0] for shift in (-1, 0, 1, 2)]
    before, at, after = np.median(np.square(np.diff(scaled, axis=0)).sum(axis=2), axis=1)
    side, jump, other = ("before", before, after) if before > after else ("after", after, before)
    if jump <= _JUMP * max(at, other):
        return ()
    return (
        f"observations jump one row {side} the marked ends, and not at them: mark the last step "
        "of each episode",
    )


def check_resets(
    source: str, ends: Ends, observations: np.ndarray, following: np.ndarray, rewards: np.ndarray
) -> None:
    """Refuses rows that are no steps: the resets of a vector environment (gymnasium's NEXT_STEP).

    Such a row comes after each end. It begins where the episode ended, its action was ignored and
    its reward is 0.

    Args:
      source: what error messages begin with.
      ends: what the flags say.
      observations, following: [N, O], those of the rows and the stored next ones.
      rewards: [N].

    Raises:
      InputError: there are such rows.
    """
    stored = _last(ends)
    after = np.flatnonzero(stored[:-1]) + 1
    if len(after) < 2 or rewards[after].any() or (rewards != 0).mean() < 0.5:
        return
    if (following[after - 1] == observations[after]).all():
        raise InputError(
            f"{source}: the {len(after):,} rows after the ends of episodes, the first is row "
            f"{after[0]}, are resets of a vector environment and no steps (reward 0, from the last "
            "observation on); leave these rows out"
        )


def hidden_limit(ends: Ends) -> tuple[str, ...]:
    """A line where terminals look like a time limit: the longest episodes are equally long."""
    last = np.flatnonzero(_last(ends))
    lengths = np.diff(last, prepend=-1)
    longest = lengths.max(initial=0)
    count = int((ends.terminals[last] & (lengths == longest)).sum())
    if count < 2 or longest < _LONG:
        return ()
    return (
        f"{count:,} episodes end the task after exactly {longest:,} steps, the longest of all: if "
        "that is a time limit, mark it by 'timeouts', so that learners bootstrap",
    )


def unmarked(stored: Ends, found: Ends) -> tuple[str, ...]:
    """A line where nothing tells where episodes end, so that all steps count as one.

    A file whose only mark is on its last step may hold one long episode, so it gets no line.

    Args:
      stored: what the flags of the file say.
      found: with the ends that were found by other means.
    """
    steps = len(found.terminals)
    if steps < _FEW or _last(stored).any() or _last(found)[:-1].any():
        return ()
    return (
        f"no end is marked: all {steps:,} steps count as one episode; if they are several, mark "
        "the last step of each by 'timeouts' (cut) or 'terminals' (the task ended)",
    )


def _last(ends: Ends) -> np.ndarray:
    """[N] bool: True for the steps after which an episode ended or its recording was cut."""
    return ends.terminals if ends.timeouts is None else ends.terminals | ends.timeouts


def _continues(observations: np.ndarray, following: np.ndarray) -> np.ndarray:
    """[N - 1] bool: whether the next row begins where a step ended, but for rounding.

    Where most rows do to the last bits, the others must as well. Else the numbers were rounded on
    their way into the file: to a decimal place, to float16, or by as much as they usually differ.
    """
    stored, std = (observations, following), moments(observations)[1]
    exact = _near(observations, following, _BITS * std, _BITS)
    if 2 * exact.sum() >= len(exact):
        return exact
    if place := max(map(_decimal, stored)):
        return _near(observations, following, place / 2, _BITS)
    if any(map(_is_half, stored)):
        return _near(observations, following, _SLACK * std, _HALF_SLACK)
    sample = np.unique(np.linspace(0, len(exact) - 1, _SAMPLE).astype(int))
    usual = np.median(np.abs(following[sample] - observations[sample + 1]), axis=0)
    return _near(observations, following, np.minimum(_SLACK * std, _TYPICAL * usual), _BITS)


def _near(
    observations: np.ndarray, following: np.ndarray, slack: float | np.ndarray, relative: float
) -> np.ndarray:
    """[N - 1] bool: whether the next row is the next observation, but for `slack` [O]."""

    def near(before: Any, after: Any) -> np.ndarray:
        return (np.abs(before - after) <= slack + relative * np.abs(after)).all(axis=1)

    return map_rows(
        near, following[:-1], observations[1:], out=np.empty(len(observations) - 1, bool)
    )


def _is_half(values: np.ndarray) -> bool:
    """Whether all numbers [N, O] are float16's."""
    with np.errstate(over="ignore"):
        return _all_rows(lambda rows: rows == rows.astype(np.float16), values)


def _decimal(values: np.ndarray) -> float:
    """The place that all numbers [N, O] were rounded to: 1, 0.1, 0.01, or 0 where they were not."""
    for places in range(3):
        if _all_rows(lambda rows, places=places: rows == np.round(rows, places), values):
            return 10.0**-places
    return 0.0


def _all_rows(predicate: Callable[[np.ndarray], np.ndarray], values: np.ndarray) -> bool:
    return all(predicate(values[rows]).all() for rows in row_blocks(values))
