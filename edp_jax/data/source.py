"""Finding and reading the data file of a task."""

import hashlib
import os
from collections.abc import Callable

from edp_jax.data import builtin, d4rl, preprocess
from edp_jax.data.d4rl import RawDataset
from edp_jax.data.tasks import Task
from edp_jax.types import InputError

D4RL_URL = "http://rail.eecs.berkeley.edu/datasets/offline_rl/"
_BUILTIN = "builtin/"


def load(task: Task, data_dir: str, progress: Callable[[str], None] = print) -> tuple[RawDataset, dict]:
    """Reads the dataset of `task` from the data folder; a built-in one is made there on first use.

    Returns:
      The dataset, and a dict of its `name`, `path`, `sha256`, `size_bytes` and `summary` (see `preprocess.summarize`).

    Raises:
      InputError: the file is missing (the message says where to get it and where to put it) or not usable.
    """
    data_dir = os.path.expanduser(data_dir)
    if task.name.startswith(_BUILTIN):
        path = builtin.ensure(task.name.removeprefix(_BUILTIN), data_dir, progress)
    elif task.domain == "custom":
        path = task.file_name
    else:
        path = _locate(task, data_dir)
    raw = d4rl.read_hdf5(path, max_episode_steps=task.max_episode_steps)
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return raw, {
        "name": task.name,
        "path": os.path.abspath(path),
        "sha256": digest,
        "size_bytes": os.path.getsize(path),
        "summary": preprocess.summarize(raw),
    }


def _locate(task: Task, data_dir: str) -> str:
    """Returns the file of a D4RL task: under D4RL's own name, its base name alone, or in a folder named after the task."""
    base = os.path.basename(task.file_name)
    candidates = [os.path.join(data_dir, name) for name in (task.file_name, base, os.path.join(task.name, base))]
    for path in candidates:
        if os.path.isfile(path):
            return path
    raise InputError(
        f"task {task.name!r}: its data file is not in {data_dir!r}; download {D4RL_URL}{task.file_name} to {candidates[0]}"
    )
