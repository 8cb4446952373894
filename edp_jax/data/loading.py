"""Reading a dataset, and making it ready for training in one call."""

import dataclasses
import hashlib
import os
from typing import Any

import numpy as np

from edp_jax import settings
from edp_jax.data.folder import data_folder
from edp_jax.data.layout import AS_STORED, Layout, check_read
from edp_jax.data.prepare import Dataset, Preprocessing, prepare
from edp_jax.data.raw import RawDataset, called
from edp_jax.data.reader import Progress, Reader, Request
from edp_jax.data.readers import READERS, find_task
from edp_jax.data.storage import MEMORY, Storage
from edp_jax.data.summary import describe, summarize
from edp_jax.files import sha256_of
from edp_jax.tasks import Task


def check_there(task: Task, data_dir: str, layout: Layout = AS_STORED) -> None:
    """Refuses a dataset that `load` would, as far as that is known at once, without reading it.

    What can be made or downloaded counts as there.

    Args:
      task: what `find_task` gives.
      data_dir: the folder that downloaded and made files are kept in.
      layout: what the user says of the data.

    Raises:
      InputError: a file of the user is not there, a package is not installed, or the format does
        not read a setting of the layout.
    """
    _reader(task, layout).check(task, os.path.abspath(os.path.expanduser(data_dir)))


def load(
    task: Task,
    data_dir: str,
    progress: Progress = print,
    storage: Storage = MEMORY,
    layout: Layout = AS_STORED,
) -> tuple[RawDataset, dict]:
    """Reads the dataset of a task.

    One that is not on this machine is made (built-in datasets) or downloaded (D4RL, Minari) first.

    Args:
      task: what `find_task` gives.
      data_dir: the folder that downloaded and made files are kept in.
      progress: takes lines that tell of waiting.
      storage: where the arrays of a file lie; an HDF5 file may be larger than the memory.
      layout: what the user says of the data.

    Returns:
      The steps, and a dict that JSON can hold: `name`, `path` and `size_bytes` (None where the
      dataset is not one file), `sha256` (of the file, else of the arrays), `observation_names` and
      `action_names` (empty where columns have none), `details` (what else the source says, such as
      the arguments of its environment), and `summary`, see `edp_jax.data.summary`.

    Raises:
      InputError: the data cannot be had or used, or their format does not read a setting of the
        layout. The message of a failed download says where to get the file and where to put it.
    """
    folder = os.path.abspath(os.path.expanduser(data_dir))
    raw, path = _reader(task, layout).read(Request(task, folder, progress, storage, layout))
    info = {"name": task.name, "path": None, "sha256": _sha256(raw, path), "size_bytes": None}
    if path is not None:
        info |= {"path": os.path.abspath(path), "size_bytes": os.path.getsize(path)}
    for kind in ("observation_names", "action_names"):
        info[kind] = list(getattr(raw, kind))
    return raw, info | {"details": dict(raw.details), "summary": summarize(raw)}


def load_dataset(
    name: str,
    *,
    data_dir: str | None = None,
    progress: Progress = print,
    storage: Storage = MEMORY,
    action_box: tuple | None = None,
    environment_box: tuple | None = None,
    discount: float = Preprocessing.discount,
    **options: Any,
) -> Dataset:
    """Finds, reads and prepares a dataset: all that comes before training, in one call.

    Args:
      name: a task of `list_tasks`, such as "builtin/hopper-medium-expert" or "hopper-medium-v2",
        minari:<dataset id>, or the path of a file: docs/formats.md lists the formats.
      data_dir: the folder that downloaded and made files are kept in; None: see `data_folder`.
      progress: takes lines that tell of waiting, of what is in the data and what looks odd, and of
        the box of the actions.
      storage: where large arrays lie; `storage_near` gives one for data larger than the memory.
      action_box: low and high of the stored actions. None: those that the dataset declares.
      environment_box: low and high to use where the dataset declares none. None: [-1, 1].
      discount: the setting of that name of the learner that the data are for. Rewards over several
        steps (`n_step`, `horizon`) and `reward_transform="unit_return"` are computed with it.
      **options: settings of `Layout` and of `Preprocessing`, such as `normalize_observations=True`.

    Raises:
      InputError: there is no such task, the data cannot be had or used, or a setting is of no use.
    """
    names = {entry.name for entry in settings.describe(Layout)}
    layout = settings.make(Layout, {key: options.pop(key) for key in names & options.keys()})
    preprocessing = settings.make(Preprocessing, options)
    task, folder = find_task(name), data_folder() if data_dir is None else data_dir
    raw, info = load(task, folder, progress, storage, layout)
    progress(f"{task.name}:\n{describe(info['summary'])}")
    return prepare(
        task,
        raw,
        info,
        dataclasses.replace(preprocessing, discount=discount),
        action_box=action_box,
        environment_box=environment_box,
        progress=progress,
        storage=storage,
    )


def _reader(task: Task, layout: Layout) -> Reader:
    """The reader of a task; refuses settings of the layout that it does not read."""
    reader = READERS[task.reader]
    check_read(layout, reader.layout, f"the format of {called(task.name)}")
    return reader


def _sha256(raw: RawDataset, path: str | None) -> str:
    """Of the file, else of all arrays with their names, shapes and types."""
    if path is not None:
        return sha256_of(path)
    digest = hashlib.sha256()
    for name, array in sorted(raw.arrays().items()):
        digest.update(f"{name} {array.dtype} {array.shape} ".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
