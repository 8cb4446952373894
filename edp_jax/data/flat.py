"""One array per quantity and one row per step, as in D4RL (arXiv 2004.07219)."""

import dataclasses
import re

from edp_jax.data.format import Content, Format, Reading
from edp_jax.data.names import find_names, listed
from edp_jax.data.raw import RawDataset, from_arrays
from edp_jax.types import InputError

_EPISODES = re.compile(
    r"(episode|ep|trajectory|traj)s?(_(starts?|ends?|ids?|index|indices|idxs?|lengths?|lens?))?"
    r"|trajectories|starts|lengths|index|indices"
)
_MARKS = ("terminals", "done", "masks", "ends", "timeouts", "next_observations")


def read(content: Content, reading: Reading) -> RawDataset:
    """Reads arrays under the names of `RawDataset`, or their synonyms.

    Raises:
      InputError: see `find_names`, or an array tells episodes apart, which flags alone do here.
    """
    there = content.names()
    names = find_names(content.source, there)
    others = [name for name in there if name not in names.values()]
    for name in filter(_EPISODES.fullmatch, others):
        raise InputError(
            f"{content.source}: key {name[:40]!r} is not read, and may tell episodes apart; mark "
            "the last step of each that is no terminal by 'timeouts', and leave that key out"
        )
    raw = from_arrays(
        content.source,
        {key: content.array(name) for key, name in names.items()},
        max_episode_steps=reading.max_episode_steps,
        storage=reading.storage,
    )
    marks = ", ".join(repr(names[key]) for key in _MARKS if key in names)
    left_out = f"; left out: {listed(others)}" if others else ""
    told = f"format: one row per step, ends by {marks}{left_out}"
    return dataclasses.replace(raw, understood=(told,))


FORMAT = Format("one array per quantity", lambda names: True, read)
