"""OGBench's single-task datasets (arXiv 2410.20092, github.com/seohongpark/ogbench), by name.

Its files hold trajectories without rewards: `terminals` marks the last row of each, which is only
an observation. The package ogbench says what a row earns in a task: the reward of its state, not of
the next one, and `masks` 0 where the task is done.
"""

import dataclasses
import os
import re

import numpy as np

from edp_jax import ogbench_package
from edp_jax.data import download, npz
from edp_jax.data.compact import from_compact
from edp_jax.data.download import Remote
from edp_jax.data.ends import as_flags
from edp_jax.data.raw import RawDataset, called
from edp_jax.data.reader import Reader, Request
from edp_jax.tasks import Task
from edp_jax.types import InputError

PREFIX = "ogbench:"
URL = "https://rail.eecs.berkeley.edu/datasets/ogbench/"
_FOLDERS = ("{data_dir}", "{data_dir}/ogbench", "~/.ogbench/data")  # the last is the package's
_SINGLE_TASK = re.compile(r"([a-z0-9]+(?:-[a-z0-9]+)+)-singletask(?:-task[1-5])?-v0")
_BUTTONS = "button_states"  # of some environments; their rewards depend on them


def find(name: str) -> Task | None:
    """The task of a name with the prefix ogbench:."""
    if not name.startswith(PREFIX):
        return None
    dataset = name.removeprefix(PREFIX)
    if "visual" in dataset or "powderworld" in dataset:
        raise InputError(f"task {name!r}: images are not read; use a dataset of states")
    match = _SINGLE_TASK.fullmatch(dataset)
    if match is None:
        example = "cube-single-play-singletask-v0, or ...-singletask-task1-v0 to task5"
        raise InputError(
            f"task {name!r}: without 'singletask' a dataset has goals and no rewards; write "
            f"{PREFIX}{example}"
        )
    return Task(
        name,
        "ogbench",
        "ogbench",
        environment=name,
        file_name=f"{match[1]}-v0.npz",
        reference_scores=(0.0, 1.0),  # of `evaluation.ogbench`: a return is 1 for a success
    )


def locate(task: Task, data_dir: str) -> str | None:
    """The file of a task where it is on disk, also where OGBench's package keeps it, else None."""
    folders = (os.path.expanduser(folder.format(data_dir=data_dir)) for folder in _FOLDERS)
    paths = (os.path.join(folder, task.file_name or "") for folder in folders)
    return next((path for path in paths if os.path.isfile(path)), None)


def read(request: Request) -> tuple[RawDataset, str | None]:
    """Reads the file of a task, which is downloaded first where it is not on disk."""
    task = request.task
    env = ogbench_package.make_env(task.name.removeprefix(PREFIX))
    path = locate(task, request.data_dir) or _download(request)
    with npz.opened(path) as content:
        names = ["observations", "actions", "terminals", "qpos"]
        names += [_BUTTONS] if _BUTTONS in content.names() else []
        arrays = {name: content.array(name) for name in names}
    is_last = as_flags(called(path), "terminals", arrays["terminals"])
    states = {name: arrays.pop(name) for name in names[3:]}
    arrays |= ogbench_package.rewards(called(path), env, states)
    arrays |= {"valids": ~is_last, "terminals": is_last | np.append(is_last[1:], True)}
    raw = from_compact(called(path), arrays, storage=request.storage)
    told = f"format: OGBench, rewards of {env.spec.id}, 'masks' end the task, others are cuts"
    return dataclasses.replace(raw, understood=(told,)), path


def check(task: Task, data_dir: str) -> None:
    """Refuses a dataset of OGBench without its package, which the rewards are computed with."""
    del data_dir
    ogbench_package.package(task.name.removeprefix(PREFIX))


READER = Reader("ogbench", "ogbench:<dataset>-singletask-v0", find, read, locate, check=check)


def _download(request: Request) -> str:
    task, file_name = request.task, request.task.file_name or ""
    path = os.path.join(request.data_dir, "ogbench", file_name)
    request.progress(f"{task.name}: not in {request.data_dir}, downloading {URL}{file_name}")
    try:
        download.fetch(Remote(URL + file_name), path, request.progress)
    except InputError as error:
        raise InputError(f"task {task.name!r}: {error}") from error
    return path
