"""Finding and reading the data of a task."""

import hashlib
import os
from collections.abc import Callable

import numpy as np

from edp_jax.data import antmaze, builtin, d4rl, download, minari, npz, preprocess
from edp_jax.data.download import Remote
from edp_jax.data.raw import RawDataset, find_names, from_arrays
from edp_jax.data.storage import MEMORY, Storage
from edp_jax.data.tasks import BUILTIN, LEGACY, MINARI, Task
from edp_jax.types import InputError

D4RL_URL = "https://rail.eecs.berkeley.edu/datasets/offline_rl/"
_KNOWN = {  # bytes and sha256 of D4RL's files, of those that were at hand
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


def load(
    task: Task, data_dir: str, progress: Callable[[str], None] = print, storage: Storage = MEMORY
) -> tuple[RawDataset, dict]:
    """Reads the dataset of `task`; one that is not there is made (built-in) or downloaded (D4RL, Minari) first.

    The arrays of a file lie in `storage`; an HDF5 file may be larger than the memory.

    Returns:
      The dataset, and a dict of its `name`, `path` and `size_bytes` (None where it is not one file), `sha256` (of the file, else
      of the arrays) and `summary` (see `preprocess.summarize`).

    Raises:
      InputError: the data cannot be had (the message says where to get a file and where to put it) or used.
    """
    if task.name.startswith(MINARI):
        return _without_file(task, minari.read_minari(task.name.removeprefix(MINARI), progress))
    if task.name.startswith(LEGACY):
        from edp_jax import legacy

        found = legacy.load(task.name.removeprefix(LEGACY))
        arrays = {key: found[name] for key, name in find_names(task.name, found).items()}
        raw = from_arrays(task.name, arrays, max_episode_steps=found.get("max_episode_steps"))
        return _without_file(task, _repaired(task, raw))
    path = _path(task, os.path.abspath(os.path.expanduser(data_dir)), progress)
    if path.endswith(".npz"):
        raw = npz.read_npz(path, storage=storage)
    else:
        raw = d4rl.read_hdf5(path, max_episode_steps=task.max_episode_steps, storage=storage)
    raw = _repaired(task, raw)
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return raw, _info(task, raw, digest, os.path.abspath(path), os.path.getsize(path))


def find_file(task: Task, data_dir: str) -> str | None:
    """Returns the file of a built-in or D4RL task where it is on disk, else None.

    One of D4RL's is looked for under D4RL's own name, its base name alone, and in a folder named after the task.
    """
    if task.name.startswith(BUILTIN):
        candidates = [builtin.path_of(task.name.removeprefix(BUILTIN), data_dir)]
    else:
        base = os.path.basename(task.file_name)
        candidates = [
            os.path.join(data_dir, name)
            for name in (task.file_name, base, os.path.join(task.name, base))
        ]
    return next((path for path in candidates if os.path.isfile(path)), None)


def _path(task: Task, data_dir: str, progress: Callable[[str], None]) -> str:
    if task.domain == "custom":
        return task.file_name
    if task.name.startswith(BUILTIN):
        return builtin.ensure(task.name.removeprefix(BUILTIN), data_dir, progress)
    path = find_file(task, data_dir)
    if path is None:
        remote = Remote(D4RL_URL + task.file_name, *_KNOWN.get(task.file_name, ()))
        path = os.path.join(data_dir, task.file_name)
        progress(f"{task.name}: not in {data_dir}, downloading {remote.url}")
        try:
            download.fetch(remote, path, progress)
        except InputError as error:
            raise InputError(f"task {task.name!r}: {error}") from error
    return path


def _repaired(task: Task, raw: RawDataset) -> RawDataset:
    return antmaze.cut_at_resets(raw) if task.domain == "antmaze" else raw


def _without_file(task: Task, raw: RawDataset) -> tuple[RawDataset, dict]:
    digest = hashlib.sha256()
    for array in (raw.observations, raw.actions, raw.rewards, raw.terminals, raw.timeouts):
        digest.update(np.ascontiguousarray(array))
    return raw, _info(task, raw, digest.hexdigest(), None, None)


def _info(
    task: Task, raw: RawDataset, sha256: str, path: str | None, size_bytes: int | None
) -> dict:
    summary = preprocess.summarize(raw)
    return {
        "name": task.name,
        "path": path,
        "sha256": sha256,
        "size_bytes": size_bytes,
        "summary": summary,
    }
