"""Which folders hold runs, and which the plan of a sweep."""

import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from edp_jax.files import read_json
from edp_jax.types import InputError

PLAN = "suite.json"  # in the folder of a sweep, which has those of its runs inside
_CONFIG, _STATUS = "config.json", "status.json"
_OF_TRAINING = frozenset({_CONFIG, "summary.json", "metrics.csv"})
_OF_A_RUN = _OF_TRAINING | {_STATUS}
_LISTED = " or ".join(sorted(_OF_A_RUN))


class Found(NamedTuple):
    """Folders, each list sorted and each folder once."""

    runs: list[str]  # with a config.json
    without_config: list[str]  # with other files of a run
    sweeps: list[str]  # with a plan: those that were searched, and the parents of runs


class Unreadable(NamedTuple):
    """What should be a run, or a plan, and cannot be read."""

    workdir: str
    reason: str
    state: str = "unreadable"


def search(patterns: Sequence[str]) -> Found:
    """Finds the folders of runs and of sweeps.

    Args:
      patterns: paths with * ? [] and **. A folder that is no run is searched.

    Raises:
      InputError: a pattern finds no run.
    """
    runs, without_config, sweeps = set(), set(), set()
    for pattern in patterns:
        path = os.path.expanduser(pattern)
        matches = [path] if os.path.isdir(path) else glob.glob(path, recursive=True)
        walked = dict(each for match in matches for each in _walk(match))
        own = {here for here, files in walked.items() if not _OF_A_RUN.isdisjoint(files)}
        if not own:
            raise InputError(
                f"--runs={pattern}: no run there (a folder with {_LISTED}); name folders of runs, "
                "as in --runs='runs/*'"
            )
        with_config = {here for here in own if _CONFIG in walked[here]}
        runs |= with_config
        without_config |= own - with_config
        sweeps |= {here for here, files in walked.items() if PLAN in files}
        sweeps |= {above for above in map(_above, own) if os.path.isfile(os.path.join(above, PLAN))}
    return Found(sorted(runs), sorted(without_config), sorted(sweeps))


def find_runs(patterns: Sequence[str]) -> list[str]:
    """Finds the folders of runs that have a config.json, see `search`."""
    found = search(patterns)
    if not found.runs:
        raise InputError(f"--runs: {describe(found.without_config[0]).reason[:200]}")
    return found.runs


def is_run(folder: str) -> bool:
    """Whether something of a run is there."""
    return _has_any(folder, _OF_A_RUN)


def describe(workdir: str) -> Unreadable:
    """What is known of a run without a config.json."""
    if (reason := failure(workdir)) is not None:
        return Unreadable(workdir, f"failed, and there is no config.json: {reason}", "failed")
    remedy = "restore it, or train again in a new folder"
    if not _has_any(workdir, _OF_TRAINING):
        remedy = "it is just beginning, or was stopped then; the command of the sweep goes on"
    return Unreadable(workdir, f"{workdir} has no config.json; {remedy}")


def failure(workdir: str) -> str | None:
    """Why a run of a sweep has failed, as its status.json tells; None where it tells no failure."""
    try:
        status = read_json(os.path.join(workdir, _STATUS))
    except (OSError, ValueError):
        return None
    if not isinstance(status, dict) or status.get("state") != "failed":
        return None
    return " ".join(str(status.get("reason") or "it left no reason").split())


def _walk(folder: str) -> Iterator[tuple[str, list[str]]]:
    """The folders below one, and itself, with the names of their files; none inside a run."""
    for here, folders, files in os.walk(folder):
        if not _OF_A_RUN.isdisjoint(files):
            folders.clear()  # what is inside a run is part of it
        yield os.path.normpath(here), files


def _has_any(folder: str, names: Iterable[str]) -> bool:
    return any(os.path.isfile(os.path.join(folder, name)) for name in names)


def _above(folder: str) -> str:
    return os.path.normpath(os.path.join(folder, os.pardir))
