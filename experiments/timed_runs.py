"""What benchmark.json holds of part time_to_score: runs that were timed, also at other times."""

import os
from collections.abc import Mapping
from typing import Any

from edp_jax import InputError
from edp_jax.files import read_json

PART = "time_to_score"  # its name, and that of its entry in benchmark.json


def read(path: str) -> dict[str, Any]:
    """What a benchmark.json holds; of this part nothing where there is no such file.

    Raises:
      InputError: the file is something else.
    """
    if not os.path.isfile(path):
        return {PART: {}}
    try:
        results = read_json(path)
        return results | {PART: dict(results.get(PART, {}))}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise InputError(
            f"{path}: not the result of a benchmark; remove it, or give another --output"
        ) from error


def merge(
    before: Mapping[str, Mapping[str, Any]], measured: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, Any]]:
    """What was measured, together with other runs that had been measured before.

    A run that failed does not replace one that did not.
    """
    tasks = dict.fromkeys((*before, *measured))
    merged = {task: dict(before.get(task, {})) for task in tasks}
    for task, entries in measured.items():
        for name, entry in entries.items():
            sound = name in merged[task] and not has_failed(merged[task][name])
            if not (has_failed(entry) and sound):
                merged[task][name] = entry
    for task in tasks:
        if len(merged[task]) > 1:
            merged[task].pop("skipped", None)
    return merged


def has_failed(entry: Any) -> bool:
    """Whether an entry is that of a run that failed."""
    return isinstance(entry, Mapping) and "error" in entry


def describe(results: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """A row for each run, for a table."""
    return [
        f"| {task} | {name} | {entry if name == 'skipped' else describe_entry(entry)} |"
        for task, entries in results.items()
        for name, entry in entries.items()
    ]


def describe_entry(entry: Mapping[str, Any]) -> str:
    """What `measure` says of a run, in words."""
    if "error" in entry:
        return entry["error"]
    if entry["reached"]:
        outcome = f"{entry['goal']:g} reached ({entry['score']:.1f}) after"
    else:
        outcome = f"{entry['goal']:g} not reached (best {entry['score']:.1f}) in"
    return (
        f"{outcome} {entry['updates']:,} updates, {entry['seconds']:.0f} s, "
        f"{entry['evaluating_seconds']:.0f} of them evaluating; {entry['warm_seconds']:.0f} s with "
        f"compiled programs; {entry['processor_seconds']:.0f} s of processors"
    )
