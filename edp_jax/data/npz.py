"""A user's own .npz file: arrays under the names of `RawDataset`, or their synonyms."""

import os
import zipfile
import zlib
from typing import Any

import numpy as np

from edp_jax.data.names import find_names
from edp_jax.data.raw import RawDataset, called, check_readable, from_arrays
from edp_jax.data.reader import Reader, Request
from edp_jax.data.storage import MEMORY, Storage
from edp_jax.errors import one_line
from edp_jax.tasks import Task
from edp_jax.types import InputError


def read_npz(path: str | os.PathLike, *, storage: Storage = MEMORY) -> RawDataset:
    """Reads and checks one file. Python objects in it are refused, never unpickled.

    Args:
      path: a file that fits into memory.
      storage: where the arrays lie that are made of its arrays.

    Raises:
      InputError: the file is missing, damaged, not an .npz file or holds Python objects, or see
        `from_arrays`.
    """
    path = os.fspath(path)
    source = called(path)
    check_readable(path)
    if not zipfile.is_zipfile(path):
        size, remedy = os.path.getsize(path), "write it with numpy.savez, or copy it again"
        raise InputError(f"{source}: not a complete .npz file ({size} bytes); {remedy}")
    try:
        with np.load(path, allow_pickle=False) as file:
            names = find_names(source, file.files)
            arrays = {key: _read_array(source, file, name) for key, name in names.items()}
    except InputError:
        raise
    except (NotImplementedError, RuntimeError, MemoryError) as error:
        raise InputError(
            f"{source}: cannot be read here ({one_line(error)}); store it with numpy.savez, or, "
            "where it is too large for the memory, as an .hdf5 file"
        ) from error
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        if isinstance(error, OSError) and error.errno:
            raise InputError(
                f"{source}: cannot be read now ({one_line(error)}); try again"
            ) from error
        raise InputError(
            f"{source}: damaged ({one_line(error)}); write or copy it again"
        ) from error
    return from_arrays(source, arrays, storage=storage)


def find(name: str) -> Task | None:
    """The task of a user's own file."""
    if not name.endswith(".npz"):
        return None
    return Task(name, "custom", "npz", file_name=os.path.expanduser(name))


def read(request: Request) -> tuple[RawDataset, str | None]:
    """Reads a user's own file."""
    path = request.task.file_name or request.task.name
    return read_npz(path, storage=request.storage), path


READER = Reader("npz", "the path of an .npz file", find, read)


def _read_array(source: str, file: Any, name: str) -> np.ndarray:
    try:
        return file[name]
    except ValueError as error:
        if "allow_pickle" not in str(error):
            raise
        raise InputError(
            f"{source}: key {name!r} holds Python objects, which are never unpickled; store numbers"
        ) from error
