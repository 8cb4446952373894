"""The names under which files hold the arrays of a dataset."""

import re
from collections.abc import Iterable

from edp_jax.types import InputError

NAMES = {
    "observations": ("observations", "obs"),
    "actions": ("actions", "action"),
    "rewards": ("rewards", "reward"),
    "terminals": ("terminals", "terminated", "terminations", "terminal"),
    "done": ("done", "dones"),
    "masks": ("masks", "not_done", "not_dones"),
    "ends": ("dones_float",),
    "timeouts": ("timeouts", "truncated", "truncations", "timeout"),
    "next_observations": ("next_observations", "next_obs"),
    "action_low": ("action_low",),
    "action_high": ("action_high",),
    "reference_scores": ("reference_scores",),
}
_REQUIRED = ("observations", "actions", "rewards", "terminals")
# arrays of other conventions, which would change the meaning of those that are read
_NOT_READ = {
    "is_first": "RLDS marks episodes so",
    "is_last": "RLDS marks episodes so",
    "is_terminal": "RLDS marks episodes so",
    "discount": "dm_env marks where to bootstrap so",
    "discounts": "dm_env marks where to bootstrap so",
    "mask": "it may mean 'masks', or rows that are valid",
}
_LISTED = 80  # characters of a list of names in an error


def find_names(source: str, present: Iterable[str]) -> dict[str, str]:
    """Finds the arrays of a dataset among those of a file.

    Args:
      source: what error messages call the file.
      present: the names of all its arrays.

    Returns:
      For each key of `NAMES` that is there the name of its array.

    Raises:
      InputError: a required array is missing, is there under two names, or the file holds an array
        that says in another way where episodes end.
    """
    present = list(present)
    names = {}
    for key, known in NAMES.items():
        found = [name for name in known if name in present]
        if len(found) > 1:
            raise InputError(
                f"{source}: {found[0]!r} and {found[1]!r} mean the same; keep one of them"
            )
        if found:
            names[key] = found[0]
    missing = [key for key in _REQUIRED if key not in names]
    if "terminals" in missing and names.keys() & {"done", "masks"}:
        missing.remove("terminals")
    if missing:
        raise InputError(
            f"{source}: no key {', '.join(map(repr, missing))} "
            f"(found: {listed(present) or 'no keys'}); {_remedy(present)}"
        )
    for name in present:
        if name in _NOT_READ:
            raise InputError(
                f"{source}: key {name!r} is not read ({_NOT_READ[name]}); mark ends by 'terminals' "
                f"and cuts by 'timeouts', and leave {name!r} out"
            )
    marks = [names[key] for key in ("terminals", "done", "ends") if key in names]
    if len(marks) > 1:
        raise InputError(
            f"{source}: {marks[0]!r} and {marks[1]!r} both mark ends of episodes; keep the one "
            "that is not set at time limits, and mark these by 'timeouts'"
        )
    if "ends" in names and "masks" not in names:
        raise InputError(
            f"{source}: {names['ends']!r} does not tell an end of the task from a time limit; "
            "store 'masks' beside it: 1 where to bootstrap, 0 where the task ended"
        )
    return names


def natural(name: str) -> list:
    """A key to sort names by: demo_10 comes after demo_9."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)]


def listed(names: list[str]) -> str:
    """Some of the names, and how many others there are."""
    names = [" ".join(name.split())[: _LISTED // 2] for name in names]  # no breaks of lines
    text = ", ".join(names)
    if len(text) <= _LISTED:
        return text
    cut = text[:_LISTED].rpartition(", ")[0]
    return f"{cut} and {len(names) - cut.count(', ') - 1:,} more"


def _remedy(present: list[str]) -> str:
    if any(re.fullmatch(r"episode_\d+", name) for name in present):
        return "this is Minari's layout: name the dataset as minari:<dataset id>"
    if {"qpos", "terminals"} <= set(present):
        return (
            "OGBench's files have no rewards: put it in the data folder, and use "
            "ogbench:<dataset>-singletask-v0"
        )
    return f"store arrays named {', '.join(_REQUIRED)}"
