"""OGBench's compact layout (arXiv 2410.20092).

Each trajectory has one row more than it has steps. That last row only holds the observation after
the last step.

| array | steps of a trajectory | its last row |
| --- | --- | --- |
| `observations` | what was seen before the step | what was seen after the last step |
| `valids` | 1 | 0 |
| `terminals` | 0, and 1 in the last step | 1 |
| `masks` | 1: learners bootstrap, 0: the task is done | any |
"""

import dataclasses
from collections.abc import Mapping

import numpy as np

from edp_jax.data.ends import as_flags
from edp_jax.data.format import Content, Format, Reading
from edp_jax.data.names import find_names
from edp_jax.data.raw import RawDataset, from_arrays
from edp_jax.data.storage import MEMORY, Storage
from edp_jax.types import InputError

_WANTED, _REFUSED = {"terminals", "masks"}, {"done", "ends", "timeouts", "next_observations"}
_ROWS = ("observations", "actions", "rewards", "masks")


def from_compact(
    source: str, arrays: Mapping[str, np.ndarray], *, storage: Storage = MEMORY
) -> RawDataset:
    """Takes the last rows out: they are the next observations of the steps before them.

    Args:
      source: what error messages begin with.
      arrays: those of the table above, actions and rewards; and others that `from_arrays` takes.
      storage: where the new arrays lie.

    Raises:
      InputError: arrays are of other lengths, trajectories do not end so, or see `from_arrays`.
    """
    lengths = {key: len(np.atleast_1d(arrays[key])) for key in (*_ROWS, "terminals", "valids")}
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{key} {length}" for key, length in lengths.items())
        raise InputError(f"{source}: arrays of unequal length ({listed}); store a row in each")
    is_step, ends = (as_flags(source, key, arrays[key]) for key in ("valids", "terminals"))
    last = is_step & np.append(~is_step[1:], False)
    wrong = (is_step & (ends != last)) | (~is_step & ~np.append(False, last[:-1]))
    wrong[-1:] |= is_step[-1:]  # nothing says what was seen after it
    if wrong.any():
        raise InputError(
            f"{source}: row {int(np.argmax(wrong))} is not as in OGBench's layout: one row for the "
            "last observation follows the steps of a trajectory, terminals are 1 in the last two; "
            "correct terminals or valids"
        )
    steps = np.flatnonzero(is_step)
    others = {key: arrays[key] for key in arrays.keys() - lengths.keys()}
    kept = {key: arrays[key][steps] for key in _ROWS}
    kept["next_observations"] = arrays["observations"][steps + 1]
    return from_arrays(source, kept | others, apart=True, last=last[steps], storage=storage)


def read(content: Content, reading: Reading) -> RawDataset:
    """Reads a file with an array `valids`."""
    names = find_names(content.source, content.names())
    if not _WANTED <= names.keys() or _REFUSED & names.keys():
        raise InputError(
            f"{content.source}: 'valids' belongs to OGBench's compact layout: store 'terminals' "
            "and 'masks' (1: bootstrap, 0: the task is done) beside it, and no other ends or next "
            "observations"
        )
    arrays = {key: np.asarray(content.array(name)) for key, name in names.items()}
    arrays["valids"] = np.asarray(content.array("valids"))
    raw = from_compact(content.source, arrays, storage=reading.storage)
    told = "format: OGBench's compact layout, 'masks' end the task, trajectories by 'valids'"
    return dataclasses.replace(raw, understood=(told,))


FORMAT = Format("OGBench's compact layout", lambda names: "valids" in names, read)
