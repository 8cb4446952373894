"""Datasets that D4RL's own packages load, by the name legacy:<D4RL name>."""

import dataclasses
import re

from edp_jax import legacy
from edp_jax.data import d4rl
from edp_jax.data.names import find_names
from edp_jax.data.raw import RawDataset, from_arrays
from edp_jax.data.reader import Reader, Request
from edp_jax.tasks import TASKS, Task
from edp_jax.types import InputError

PREFIX = "legacy:"
_NAME = re.compile(r"[-\w]+-v\d+", re.ASCII)


def find(name: str) -> Task | None:
    """The task of a name with the prefix: a task of the table where that has the rest of it."""
    if not name.startswith(PREFIX):
        return None
    plain = name.removeprefix(PREFIX)
    if not _NAME.fullmatch(plain):
        remedy = "write for example legacy:hopper-medium-v2"
        raise InputError(f"task {name!r}: no name of a D4RL environment; {remedy}")
    known = TASKS.get(plain, Task(name, "legacy", "legacy"))
    return dataclasses.replace(known, name=name, reader="legacy", environment=name, file_name=None)


def read(request: Request) -> tuple[RawDataset, str | None]:
    """Reads a dataset by D4RL's own packages."""
    task = request.task
    found = legacy.load(task.name.removeprefix(PREFIX))
    arrays = {key: found[name] for key, name in find_names(task.name, found).items()}
    limit = found.get("max_episode_steps")
    steps = None if limit is None else int(limit)
    return d4rl.repaired(task, from_arrays(task.name, arrays, max_episode_steps=steps)), None


def check(task: Task, data_dir: str) -> None:
    """Refuses a dataset of D4RL's packages without them."""
    del data_dir
    legacy.packages(task.name.removeprefix(PREFIX))


READER = Reader("legacy", "legacy:<D4RL name>", find, read, check=check)
