"""Where episodes end and where learners bootstrap, out of the flags that files store.

| arrays | convention | a task ended | a recording was cut |
| --- | --- | --- | --- |
| `terminals`, `timeouts` | D4RL, gymnasium | `terminals` | `timeouts` |
| `done`, `timeouts` | gym: done = ended or cut | `done` without `timeouts` | `timeouts` |
| `masks`, and `terminals`, `done` or `ends` | OGBench, FQL, JAXRL | `masks` is 0 | the other ends |
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from edp_jax.data.columns import moments
from edp_jax.data.storage import count_where, map_rows, row_blocks
from edp_jax.types import InputError

FLAGS = ("terminals", "done", "masks", "ends", "timeouts")  # [N]
_SLACK = 1e-2  # of a column's standard deviation: what counts as rounding
_HALF_SLACK = 2.0**-10  # of a number that was stored as float16
_SHUFFLED = 0.1  # rows are shuffled where a smaller part of them continues the row before
_LONG = 10  # steps from which on episodes of equal length look like a time limit


class Ends(NamedTuple):
    """How the flags of a file were understood."""

    terminals: np.ndarray  # [N] bool: the task ended after this step
    timeouts: np.ndarray | None  # [N] bool: the recording was cut; None where no flag says so
    whole: bool = True  # whether episodes lie in the file from their first step to their last
    notes: tuple[str, ...] = ()  # lines for the user


def read_flags(source: str, arrays: Mapping[str, np.ndarray]) -> Ends:
    """Tells ends from cuts, see the table above.

    Args:
      source: what error messages begin with.
      arrays: those of `FLAGS` that are there, [N] float32.

    Raises:
      InputError: a flag is neither 0 nor 1.
    """
    flags = {key: _flag(source, key, arrays[key]) for key in FLAGS if key in arrays}
    timeouts = flags.get("timeouts")
    if "masks" in flags:
        return _by_masks(flags)
    if "done" in flags:
        done = flags["done"]
        if timeouts is None:
            return Ends(done, None)
        both = int((done & timeouts).sum())
        note = f"{both:,} steps are both done and truncated: they count as cut, learners bootstrap"
        return Ends(done & ~timeouts, timeouts, notes=(note,) if both else ())
    terminals = flags["terminals"]
    notes = ()
    if timeouts is not None and timeouts.any() and (terminals | ~timeouts).all():
        notes = (
            f"all {timeouts.sum():,} timeouts are terminals as well and count as ended: learners "
            "do not bootstrap there; where terminals mark every end, store them as 'done'",
        )
    return Ends(terminals, timeouts, notes=notes)


def compare_rows(
    ends: Ends, observations: np.ndarray, following: np.ndarray
) -> tuple[Ends, np.ndarray | None]:
    """Checks flags by the rows: within an episode the next row begins where a step ended.

    Args:
      ends: what the flags say. Without timeouts every step that the next row does not continue was
        cut. With them only those in the middle of an episode are added.
      observations: [N, O].
      following: the stored next observations [N, O].

    Returns:
      The corrected ends, with timeouts, and the next observations. These are None where those after
      a cut are the first of the next episode (an environment that resets itself): then they hold
      nothing that the rows do not, and what followed a cut is not known.
    """
    goes_on = _continues(observations, following)
    terminals, notes, whole = ends.terminals, list(ends.notes), ends.whole
    stored = np.zeros_like(terminals) if ends.timeouts is None else ends.timeouts
    inside = ~(terminals | stored)[:-1]
    breaks = inside & ~goes_on
    continued, steps = int((inside & goes_on).sum()), int(inside.sum())
    shuffled = steps > 0 and continued < _SHUFFLED * steps
    timeouts = stored
    if ends.timeouts is None:
        timeouts = np.append(breaks, True) & ~terminals
    elif breaks.any() and not shuffled:
        timeouts = stored | np.append(breaks, False)
        notes.append(
            f"{breaks.sum():,} steps inside episodes are not followed by their next observation: "
            "episodes are cut there"
        )
    if shuffled:
        whole = False
        notes.append(
            f"only {continued:,} of {steps:,} steps are followed by their next observation: the "
            "rows are shuffled, or next_observations are others; returns of episodes mean nothing"
        )
    cut = (stored & ~terminals)[:-1]
    if (
        not shuffled
        and cut.any()
        and goes_on[cut].all()
        and (observations != observations[0]).any()
    ):
        notes.append(
            f"next_observations after all {cut.sum():,} cuts are the first of the next episode (an "
            "environment that resets itself?): what followed is unknown, these steps are left out"
        )
        return Ends(terminals, timeouts, whole, tuple(notes)), None
    return Ends(terminals, timeouts, whole, tuple(notes)), following


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
    stored = ends.terminals if ends.timeouts is None else ends.terminals | ends.timeouts
    after = np.flatnonzero(stored[:-1]) + 1
    if len(after) < 2 or rewards[after].any() or (rewards != 0).mean() < 0.5:
        return
    if _continues(observations, following)[after - 1].all():
        raise InputError(
            f"{source}: the {len(after):,} rows after the ends of episodes, the first is row "
            f"{after[0]}, are resets of a vector environment and no steps (reward 0, from the last "
            "observation on); leave these rows out"
        )


def timeouts_by_length(terminals: np.ndarray, max_episode_steps: int) -> np.ndarray:
    """[N] bool: every `max_episode_steps`-th step of an episode, unless it is a terminal."""
    timeouts = np.zeros_like(terminals)
    start = 0
    for end in np.append(np.flatnonzero(terminals), len(terminals)):
        timeouts[start + max_episode_steps - 1 : end : max_episode_steps] = True
        start = end + 1
    return timeouts


def hidden_limit(ends: Ends) -> tuple[str, ...]:
    """A line where terminals look like a time limit: the longest episodes are equally long."""
    last = np.flatnonzero(ends.terminals | (False if ends.timeouts is None else ends.timeouts))
    lengths = np.diff(last, prepend=-1)
    longest = lengths.max(initial=0)
    count = int((ends.terminals[last] & (lengths == longest)).sum())
    if count < 2 or longest < _LONG:
        return ()
    return (
        f"{count:,} episodes end the task after exactly {longest:,} steps, the longest of all: if "
        "that is a time limit, mark it by 'timeouts', so that learners bootstrap",
    )


def _by_masks(flags: Mapping[str, np.ndarray]) -> Ends:
    terminals, timeouts = ~flags["masks"], flags.get("timeouts")
    marked = [flags[key] for key in ("terminals", "done", "ends", "timeouts") if key in flags]
    if not marked:
        return Ends(terminals, None)
    last = np.logical_or.reduce(marked)
    cuts, inside = last & ~terminals, int((terminals & ~last).sum())
    if timeouts is None and not cuts.any():  # the same flag twice, or there were no cuts
        return Ends(terminals, None)
    notes = [
        f"masks tell where to bootstrap: of {last.sum():,} marked ends, "
        f"{(last & terminals).sum():,} end the task and {cuts.sum():,} are cuts"
    ]
    if inside:
        notes.append(f"{inside:,} steps end the task inside an episode, which is divided there")
    return Ends(terminals, cuts, whole=not inside, notes=tuple(notes))


def _flag(source: str, key: str, values: np.ndarray) -> np.ndarray:
    bad, first = count_where(lambda rows: (rows != 0) & (rows != 1), values)
    if first is not None:
        raise InputError(
            f"{source}: key {key!r} holds {bad} values that are neither 0 nor 1, the first "
            f"{values[first]} in row {first[0]}; store flags"
        )
    return values != 0


def _continues(observations: np.ndarray, following: np.ndarray) -> np.ndarray:
    """[N - 1] bool: whether the next row begins where a step ended, but for rounding."""
    stored = observations, following
    place = max(map(_decimal, stored))
    slack = place / 2 if place else _SLACK * moments(observations)[1]
    relative = _HALF_SLACK if any(map(_is_half, stored)) and not place else 1e-6

    def near(before: Any, after: Any) -> np.ndarray:
        return (np.abs(before - after) <= slack + relative * np.abs(after)).all(axis=1)

    goes_on = np.empty(len(observations) - 1, bool)
    return map_rows(near, following[:-1], observations[1:], out=goes_on)


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
