"""Where episodes end and where learners bootstrap, out of the flags that files store.

| arrays | convention | a task ended | a recording was cut |
| --- | --- | --- | --- |
| `terminals`, `timeouts` | D4RL, gymnasium | `terminals` | `timeouts` |
| `done`, `timeouts` | gym: done = ended or cut | `done` without `timeouts` | `timeouts` |
| `masks`, and `terminals`, `done` or `ends` | OGBench, FQL, JAXRL | `masks` is 0 | the other ends |
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from edp_jax.data.storage import count_where
from edp_jax.types import InputError

FLAGS = ("terminals", "done", "masks", "ends", "timeouts")  # [N]


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
    flags = {key: as_flags(source, key, arrays[key]) for key in FLAGS if key in arrays}
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


def bounded(ends: Ends, last: np.ndarray) -> Ends:
    """Adds the ends of episodes that a source itself keeps apart.

    Args:
      ends: what the flags say.
      last: [N] bool, whether a step is the last of its episode. Those that end no task are cuts.
    """
    inside = int((ends.terminals & ~last).sum())
    timeouts = (last if ends.timeouts is None else last | ends.timeouts) & ~ends.terminals
    notes = ends.notes
    if inside:
        notes += (f"{inside:,} steps end the task inside an episode, which is divided there",)
    return Ends(ends.terminals, timeouts, ends.whole and not inside, notes)


def timeouts_by_length(terminals: np.ndarray, max_episode_steps: int) -> np.ndarray:
    """[N] bool: every `max_episode_steps`-th step of an episode, unless it is a terminal."""
    timeouts = np.zeros_like(terminals)
    start = 0
    for end in np.append(np.flatnonzero(terminals), len(terminals)):
        timeouts[start + max_episode_steps - 1 : end : max_episode_steps] = True
        start = end + 1
    return timeouts


def last_by_cuts(source: str, key: str, cuts: np.ndarray, steps: int) -> np.ndarray:
    """[steps] bool: the last step of each episode.

    Args:
      source: what error messages begin with.
      key: the name of the array `cuts`.
      cuts: the steps at which all episodes but the first begin.
      steps: of all episodes.

    Raises:
      InputError: they are no growing numbers of steps.
    """
    if cuts.dtype.kind not in "iuf" or (cuts != np.round(cuts)).any():
        raise InputError(f"{source}: key {key!r} holds no row numbers; store where episodes begin")
    bounds = np.concatenate([[0], cuts.reshape(-1), [steps]])
    wrong = np.flatnonzero(np.diff(bounds) <= 0)
    if len(wrong):
        before, after = bounds[wrong[0]], bounds[wrong[0] + 1]
        raise InputError(
            f"{source}: by key {key!r} an episode goes from row {before:.10g} to {after:.10g} "
            f"of {steps}; store growing row numbers"
        )
    last = np.zeros(steps, bool)
    last[bounds[1:].astype(int) - 1] = True
    return last


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


def as_flags(source: str, key: str, values: np.ndarray) -> np.ndarray:
    """Numbers [N] or [N, 1] as bool [N].

    Raises:
      InputError: the shape is another one, or a number is neither 0 nor 1.
    """
    if values.dtype.kind not in "buif":
        raise InputError(f"{source}: key {key!r} has dtype {values.dtype}; store flags")
    if values.shape[:1] != (values.size,):
        shape = list(values.shape)
        raise InputError(f"{source}: key {key!r} has shape {shape}; store one flag per row")
    values = values.reshape(-1)
    bad, first = count_where(lambda rows: (rows != 0) & (rows != 1), values)
    if first is not None:
        raise InputError(
            f"{source}: key {key!r} holds {bad} values that are neither 0 nor 1, the first "
            f"{values[first]} in row {first[0]}; store flags"
        )
    return values != 0
