"""Files of NeoRL (arXiv 2102.00714) and NeoRL-2 (npz): one row per step, `index` for trajectories.

`done` ends the task, as the done functions of its environments have it; other ends of trajectories
are cuts. `index` holds the first rows of trajectories, as `get_dataset` gives them, or their ends,
as the files have them.
"""

import dataclasses

import numpy as np

from edp_jax.data.ends import last_by_cuts
from edp_jax.data.format import Content, Format, Reading
from edp_jax.data.names import find_names
from edp_jax.data.raw import RawDataset, from_arrays
from edp_jax.types import InputError


def read(content: Content, reading: Reading) -> RawDataset:
    """Reads a file with an array `index`."""
    source = content.source
    names = find_names(source, content.names())
    arrays = {key: content.array(name) for key, name in names.items()}
    steps = arrays["rewards"].size
    index = np.asarray(content.array("index")).reshape(-1)
    numbers = len(index) and index.dtype.kind in "iuf"
    if not numbers or (index[0] != 0 and index[-1] != steps):
        told = f"goes from {index[0]:.10g} to {index[-1]:.10g}" if numbers else "has no numbers"
        raise InputError(
            f"{source}: key 'index' {told}; store the first rows of all trajectories, from 0 on, "
            f"or their ends, up to {steps}"
        )
    if len(index) >= steps > 1:
        raise InputError(
            f"{source}: key 'index' names every row; store the first rows of trajectories, or "
            "leave it out"
        )
    cuts = index[int(index[0] == 0) : len(index) - int(index[-1] == steps)]
    last = last_by_cuts(source, "index", cuts, steps)
    raw = from_arrays(source, arrays, last=last, storage=reading.storage)
    told = f"{last.sum():,} trajectories by 'index', those without an end of the task are cut"
    return dataclasses.replace(raw, understood=(f"format: NeoRL, {told}",))


FORMAT = Format("NeoRL", lambda names: {"obs", "action", "index"} <= set(names), read)
