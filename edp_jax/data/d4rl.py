"""D4RL's HDF5 layout, read and written with h5py alone (Fu et al. 2020, arXiv 2004.07219)."""

import dataclasses
import os

import h5py

from edp_jax.data.raw import RawDataset, find_names, from_arrays
from edp_jax.data.storage import MEMORY, Storage
from edp_jax.files import replacing
from edp_jax.types import InputError


def read_hdf5(
    path: str | os.PathLike, *, max_episode_steps: int | None = None, storage: Storage = MEMORY
) -> RawDataset:
    """Reads and checks one file, block by block; `from_arrays` says what is checked and converted, `storage` where it lies then.

    Raises:
      InputError: the file is missing, truncated or no HDF5, a key is missing, or its content is not usable.
    """
    path = os.fspath(path)
    source = f"data file {path!r}"
    check_readable(path)
    size = os.path.getsize(path)
    if not h5py.is_hdf5(path):
        raise InputError(
            f"{source}: not an HDF5 file ({size} bytes); delete it and copy or download it again"
        )
    try:
        with h5py.File(path, "r") as file:
            arrays = {
                key: _array(source, name, file[name])
                for key, name in find_names(source, file).items()
            }
            return from_arrays(source, arrays, max_episode_steps=max_episode_steps, storage=storage)
    except (OSError, RuntimeError, KeyError) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"{source}: truncated or damaged at {size} bytes ({reason}); delete it and copy or download it again"
        ) from error


def write_hdf5(path: str | os.PathLike, raw: RawDataset, *, attributes: dict) -> None:
    """Writes `raw` in D4RL's layout; `attributes` (str, numbers) become attributes of the file.

    The bytes go to a temporary file in the same folder, which replaces `path` only when it is complete.
    """
    path = os.fspath(path)
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    with replacing(path) as temporary, h5py.File(temporary, "w") as file:
        for field in dataclasses.fields(raw):
            value = getattr(raw, field.name)
            if value is not None:
                file.create_dataset(field.name, data=value)
        for key, value in attributes.items():
            file.attrs[key] = value


def check_readable(path: str) -> None:
    """Raises InputError where `path` is no file that can be read."""
    if not os.path.isfile(path):
        raise InputError(
            f"data file {path!r}: there is no such file; check the path, or put the file there"
        )
    if not os.access(path, os.R_OK):
        raise InputError(
            f"data file {path!r}: no permission to read it; give yourself read access to the file"
        )


def _array(source: str, name: str, item: h5py.Dataset | h5py.Group) -> h5py.Dataset:
    if not isinstance(item, h5py.Dataset) or item.shape is None:
        kind = "an empty dataset" if isinstance(item, h5py.Dataset) else "a group"
        raise InputError(
            f"{source}: key {name!r} is {kind}, not an array; store one array under {name!r}"
        )
    return item
