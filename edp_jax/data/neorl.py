"""Files of NeoRL (arXiv 2102.00714) and NeoRL-2 (npz): one row per step, `index` for trajectories.

`done` ends the task, as the done functions of its environments have it; other ends of trajectories
are cuts. `index` holds the first rows of trajectories, as `get_dataset` gives them, or their ends,
as the files have them.
"""

import dataclasses

import numpy as np

from edp_jax.data.format import Content, Format, Reading
from edp_jax.data.names import find_names
from edp_jax.data.raw import RawDataset, from_arrays
from edp_jax.types import InputError


def read(content: Content, reading: Reading) -> RawDataset:
    """Reads a file with an array `index`."""
    source = content.source
    names = find_names(source, content.names())
    arrays = {key: content.array(name) for key, name in names.items()}
    last = _last(source, np.asarray(content.array("index")), len(arrays["rewards"]))
    raw = from_arrays(source, arrays, last=last, storage=reading.storage)
    told = (
        f"{last.sum():,} trajectories by 'index', {names.get('done', 'terminals')!r} ends the task"
    )
    return dataclasses.replace(raw, understood=(f"format: NeoRL, {told}, others are cut",))


def _last(source: str, index: np.ndarray, steps: int) -> np.ndarray:
    """[steps] bool: the last row of each trajectory, by the first rows or by the ends of all."""
    starts = index.reshape(-1)
    if starts.dtype.kind not in "iuf" or not len(starts) or (starts != np.round(starts)).any():
        raise InputError(f"{source}: 'index' holds no row numbers; store the first rows")
    if starts[0] != 0 and starts[-1] != steps:
        raise InputError(
            f"{source}: 'index' goes from {starts[0]} to {starts[-1]}; store the first rows of all "
            f"trajectories, from 0 on, or their ends, up to {steps}"
        )
    bounds = np.concatenate([[0] * (starts[0] != 0), starts, [steps] * (starts[-1] != steps)])
    if (np.diff(bounds) <= 0).any():
        row = int(np.argmax(np.diff(bounds) <= 0))
        raise InputError(
            f"{source}: 'index' goes from {bounds[row]:.0f} to {bounds[row + 1]:.0f} of {steps} "
            "rows; store growing row numbers"
        )
    last = np.zeros(steps, bool)
    last[bounds[1:].astype(int) - 1] = True
    return last


FORMAT = Format("NeoRL", lambda names: {"obs", "action", "index"} <= set(names), read)
