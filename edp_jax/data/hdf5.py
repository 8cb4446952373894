"""HDF5 files in D4RL's layout (arXiv 2004.07219), read and written with h5py alone."""

import os
from typing import Any

import h5py

from edp_jax.data.names import find_names
from edp_jax.data.raw import RawDataset, check_readable, from_arrays
from edp_jax.data.reader import Reader, Request
from edp_jax.data.storage import MEMORY, Storage
from edp_jax.errors import one_line
from edp_jax.files import replacing
from edp_jax.tasks import Task
from edp_jax.types import InputError


def read_hdf5(
    path: str | os.PathLike, *, max_episode_steps: int | None = None, storage: Storage = MEMORY
) -> RawDataset:
    """Reads and checks one file, block by block.

    Args:
      path: a file with one array per quantity, under the names of `RawDataset` or their synonyms.
      max_episode_steps: the time limit, for files that do not store `timeouts`.
      storage: where the arrays lie that are read.

    Raises:
      InputError: the file is missing, truncated or not HDF5, or see `from_arrays`.
    """
    path = os.fspath(path)
    source = f"data file {path!r}"
    check_readable(path)
    size = os.path.getsize(path)
    if not h5py.is_hdf5(path):
        remedy = "delete it and copy or download it again"
        raise InputError(f"{source}: not an HDF5 file ({size} bytes); {remedy}")
    try:
        with h5py.File(path, "r") as file:
            arrays = {
                key: _array(source, name, file[name])
                for key, name in find_names(source, file).items()
            }
            return from_arrays(source, arrays, max_episode_steps=max_episode_steps, storage=storage)
    except (OSError, RuntimeError, KeyError) as error:
        raise InputError(
            f"{source}: truncated or damaged at {size} bytes ({one_line(error)}); "
            "delete it and copy or download it again"
        ) from error


def write_hdf5(path: str | os.PathLike, raw: RawDataset, *, attributes: dict) -> None:
    """Writes a file, complete or not at all; its folder is made where it is not there.

    Args:
      path: the file to make or replace.
      raw: one array per quantity is written; those that are None are left out.
      attributes: texts and numbers that become attributes of the file.
    """
    path = os.fspath(path)
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    with replacing(path) as temporary, h5py.File(temporary, "w") as file:
        for name, value in raw.arrays().items():
            file.create_dataset(name, data=value)
        for key, value in attributes.items():
            file.attrs[key] = value


def _array(source: str, name: str, item: Any) -> h5py.Dataset:
    if not isinstance(item, h5py.Dataset) or item.shape is None:
        kind = "an empty dataset" if isinstance(item, h5py.Dataset) else "a group"
        raise InputError(
            f"{source}: key {name!r} is {kind}, not an array; store one array under {name!r}"
        )
    return item


def find(name: str) -> Task | None:
    """The task of a user's own file."""
    if not name.endswith(".hdf5"):
        return None
    return Task(name, "custom", "hdf5", file_name=os.path.expanduser(name))


def read(request: Request) -> tuple[RawDataset, str | None]:
    """Reads a user's own file."""
    path = request.task.file_name or request.task.name
    steps = request.task.max_episode_steps
    return read_hdf5(path, max_episode_steps=steps, storage=request.storage), path


READER = Reader("hdf5", "the path of an .hdf5 file", find, read)
