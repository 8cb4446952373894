"""One array per quantity and one row per step, as in D4RL (arXiv 2004.07219)."""

import dataclasses

from edp_jax.data.format import Content, Format, Reading
from edp_jax.data.names import find_names
from edp_jax.data.raw import RawDataset, from_arrays

_MARKS = ("terminals", "done", "masks", "ends", "timeouts", "next_observations")


def read(content: Content, reading: Reading) -> RawDataset:
    """Reads arrays under the names of `RawDataset`, or their synonyms."""
    names = find_names(content.source, content.names())
    raw = from_arrays(
        content.source,
        {key: content.array(name) for key, name in names.items()},
        max_episode_steps=reading.max_episode_steps,
        storage=reading.storage,
    )
    marks = ", ".join(repr(names[key]) for key in _MARKS if key in names)
    return dataclasses.replace(raw, understood=(f"format: one row per step, ends by {marks}",))


FORMAT = Format("one array per quantity", lambda names: True, read)
