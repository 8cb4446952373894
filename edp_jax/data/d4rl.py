"""D4RL's datasets (arXiv 2004.07219) by name: found on disk, or downloaded.

One that is on disk is found under D4RL's own path below the data folder, under its base name alone,
and in a folder named after the task.
"""

import dataclasses
import os
from collections.abc import Iterator

from edp_jax.data import antmaze, download, hdf5
from edp_jax.data.download import Remote
from edp_jax.data.raw import RawDataset
from edp_jax.data.reader import Reader, Request
from edp_jax.files import sha256_of
from edp_jax.tasks import TASKS, Task
from edp_jax.types import InputError

NAME = "d4rl"
URL = "https://rail.eecs.berkeley.edu/datasets/offline_rl/"
# bytes and sha256 of those of D4RL's files that were at hand
_KNOWN: dict[str, tuple[int, str]] = {
    "gym_mujoco_v2/hopper_medium-v2.hdf5": (
        152_756_557,
        "5bdf1bc4a713c82941de44633df669b36c89850b652a25985166796d25cf71a0",
    ),
    "gym_mujoco_v2/hopper_medium_replay-v2.hdf5": (
        75_854_457,
        "e121c5f7c9857a307baa9edc6a2c3b48e85fedb9ac316ecddd0f48ca7ef4e39b",
    ),
    "hand_dapg/door-v0_demos_clipped.hdf5": (
        3_118_318,
        "9df6345e28fcec8f44c0af4d6dacc6ef996958b39b568f53df85cf41dd03412b",
    ),
    "hand_dapg_v1/door-human-v1.hdf5": (
        3_121_206,
        "f9691288c3ddf2b4e7b31bdae0d8444b80ba035515495f8a902d60c43ee09370",
    ),
    "hand_dapg_v1/pen-human-v1.hdf5": (
        2_040_573,
        "209e345b2150b633f30a11612612c60f49e941f127ce6c4dc0cd790501c46f9f",
    ),
    "kitchen/mini_kitchen_microwave_kettle_light_slider-v0.hdf5": (
        556_544,
        "cd797c38cd52dfbe3f960cef73935cc724847abd189e47a703a7a2315ed60a81",
    ),
}


def find(name: str) -> Task | None:
    """The task of D4RL with that name."""
    task = TASKS.get(name)
    return task if task is not None and task.reader == NAME else None


def locate(task: Task, data_dir: str) -> str | None:
    """The file of a task where it is on disk, else None."""
    base = os.path.basename(task.file_name or "")
    places = (task.file_name or "", base, os.path.join(task.name, base))
    paths = [os.path.join(data_dir, place) for place in places]
    return next((path for path in paths if os.path.isfile(path)), None)


def read(request: Request) -> tuple[RawDataset, str | None]:
    """Reads the file of a task, which is downloaded first where it is not on disk."""
    task = request.task
    path = locate(task, request.data_dir) or _download(request)
    steps = task.max_episode_steps
    raw = hdf5.read_hdf5(path, max_episode_steps=steps, storage=request.storage)
    raw = repaired(task, raw)
    return dataclasses.replace(raw, notes=(*_unlike_d4rl(task, path), *raw.notes)), path


def _unlike_d4rl(task: Task, path: str) -> Iterator[str]:
    """A line where a file has not the sha256 that D4RL's is known to have."""
    size, sha256 = _KNOWN.get(task.file_name or "", (None, None))
    if sha256 is not None and (os.path.getsize(path) != size or sha256_of(path) != sha256):
        yield (
            f"{os.path.basename(path)} is not D4RL's file, or it is damaged: its sha256 is not "
            f"{sha256[:12]}...; results do not compare with those on D4RL's"
        )


def repaired(task: Task, raw: RawDataset) -> RawDataset:
    """What D4RL stored, with the ends of episodes that its AntMaze files miss."""
    return antmaze.cut_at_resets(raw) if task.domain == "antmaze" else raw


def _download(request: Request) -> str:
    task, file_name = request.task, request.task.file_name or ""
    remote = Remote(URL + file_name, *_KNOWN.get(file_name, (None, None)))
    path = os.path.join(request.data_dir, file_name)
    request.progress(f"{task.name}: not in {request.data_dir}, downloading {remote.url}")
    try:
        download.fetch(remote, path, request.progress)
    except InputError as error:
        raise InputError(f"task {task.name!r}: {error}") from error
    return path


READER = Reader(NAME, "another name of D4RL", find, read, locate)
