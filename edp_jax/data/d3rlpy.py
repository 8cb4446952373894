"""Files that d3rlpy's `ReplayBuffer.dump` and, before version 2, `MDPDataset.dump` write (HDF5).

Version 2 keeps an array per episode and quantity, `observations_0`, `actions_0`, `rewards_0`, and
`terminated_0`, a flag of the episode. Version 1 keeps an array per quantity; `episode_terminals`
mark the last step of each episode, `terminals` those that ended the task.
"""

import dataclasses
import re
from typing import Any

import numpy as np

from edp_jax.data.ends import as_flags
from edp_jax.data.format import Content, Format, Reading
from edp_jax.data.names import find_names
from edp_jax.data.raw import RawDataset, from_arrays
from edp_jax.data.stacked import Stacked, check_lengths
from edp_jax.types import InputError


def read(content: Content, reading: Reading) -> RawDataset:
    """Reads a file of version 2. Observations that are tuples are put side by side."""
    source, names = content.source, content.names()
    count = _count(content, names)

    def table(key: str) -> Stacked:
        parts = _parts(source, names, key)
        return Stacked(
            source,
            [
                {name: content.array(name) for name in (f"{key}_{index}{part}" for part in parts)}
                for index in range(count)
            ],
        )

    observations, actions, rewards = map(table, ("observations", "actions", "rewards"))
    check_lengths(actions, observations, rewards)
    _check_continuous(source, actions.dtype)
    last = actions.last
    terminals = np.zeros(len(last), bool)
    terminals[last] = [_flag(content, f"terminated_{index}") for index in range(count)]
    raw = from_arrays(
        source,
        {
            "observations": observations,
            "actions": actions,
            "rewards": rewards.column(),
            "terminals": terminals,
        },
        last=last,
        storage=reading.storage,
    )
    told = "episodes with 'terminated' end the task, others are cut"
    return dataclasses.replace(raw, understood=(f"format: d3rlpy 2, {told}",))


def read_1(content: Content, reading: Reading) -> RawDataset:
    """Reads a file of version 1."""
    source, there = content.source, content.names()
    arrays = {key: content.array(name) for key, name in find_names(source, there).items()}
    if "discrete_action" not in there:
        _check_continuous(source, arrays["actions"].dtype)
    elif _flag(content, "discrete_action"):
        raise _discrete(source)
    last = np.asarray(content.array("episode_terminals")).reshape(-1)
    if len(last) != arrays["rewards"].size:
        raise InputError(
            f"{source}: 'episode_terminals' has {len(last)} rows and 'rewards' has "
            f"{arrays['rewards'].size}; store one row per step"
        )
    last = as_flags(source, "episode_terminals", last)
    last[-1:] = True
    raw = from_arrays(source, arrays, last=last, storage=reading.storage)
    told = "'terminals' end the task, other 'episode_terminals' are cuts"
    return dataclasses.replace(raw, understood=(f"format: d3rlpy 1, {told}",))


def _count(content: Content, names: list[str]) -> int:
    """How many episodes there are, from the first to the last without a gap."""
    found = {int(match[1]) for name in names if (match := re.fullmatch(r"actions_(\d+)", name))}
    count = max(found) + 1
    if "num_episodes" in names:
        told = np.asarray(content.array("num_episodes"))
        if told.size != 1 or told.dtype.kind not in "iu" or told.item() < len(found):
            raise InputError(
                f"{content.source}: 'num_episodes' is {str(told)[:30]!r}, but there are actions of "
                f"{len(found):,} episodes; dump or copy the file again"
            )
        count = max(count, told.item())
    if count != len(found):
        lost = next(index for index in range(count) if index not in found)
        raise InputError(
            f"{content.source}: 'actions_{lost}' is missing, {count:,} episodes are told of; dump "
            "or copy the file again"
        )
    return count


def _flag(content: Content, name: str) -> bool:
    values = np.asarray(content.array(name)).reshape(-1)
    if len(values) != 1:
        raise InputError(f"{content.source}: {name!r} holds {len(values)} flags; store one")
    return bool(as_flags(content.source, name, values)[0])


def _parts(source: str, names: list[str], key: str) -> list[str]:
    """What stands behind the number of an episode: "" or, of a tuple, "_0", "_1" and so on."""
    if f"{key}_0" in names:
        return [""]
    parts = [name.removeprefix(f"{key}_0") for name in names if name.startswith(f"{key}_0_")]
    if not parts:
        raise InputError(f"{source}: no key '{key}_0'; dump the file again")
    return [f"_{index}" for index in range(len(parts))]


def _check_continuous(source: str, dtype: Any) -> None:
    if dtype.kind in "iu":  # so d3rlpy tells them from continuous ones
        raise _discrete(source)


def _discrete(source: str) -> InputError:
    return InputError(
        f"{source}: actions are discrete, and learners here need continuous ones; use a dataset of "
        "a task with a box of actions"
    )


FORMAT = Format("d3rlpy 2", lambda names: {"actions_0", "terminated_0"} <= set(names), read)
FORMAT_1 = Format("d3rlpy 1", lambda names: "episode_terminals" in names, read_1)
