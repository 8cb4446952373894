"""A user's own .npz file: the arrays of D4RL's layout, or their synonyms (README, "Your own data")."""

import os
import zipfile
import zlib

import numpy as np

from edp_jax.data.d4rl import check_readable
from edp_jax.data.raw import RawDataset, find_names, from_arrays
from edp_jax.data.storage import MEMORY, Storage
from edp_jax.types import InputError


def read_npz(path: str | os.PathLike, *, storage: Storage = MEMORY) -> RawDataset:
    """Reads and checks one file, which must fit into memory; Python objects in it are refused, never unpickled.

    Raises:
      InputError: the file is missing, damaged, no .npz, or holds Python objects, a key is missing, or its content is not
        usable; see `from_arrays`.
    """
    path = os.fspath(path)
    source = f"data file {path!r}"
    check_readable(path)
    if not zipfile.is_zipfile(path):
        size = os.path.getsize(path)
        raise InputError(
            f"{source}: not a complete .npz file ({size} bytes); write it with numpy.savez, or copy it again"
        )
    try:
        with np.load(path, allow_pickle=False) as file:
            names = find_names(source, file.files)
            arrays = {key: _read_array(source, file, name) for key, name in names.items()}
    except InputError:
        raise
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(
            f"{source}: damaged ({' '.join(str(error).split())}); write or copy it again"
        ) from error
    return from_arrays(source, arrays, storage=storage)


def _read_array(source: str, file: np.lib.npyio.NpzFile, name: str) -> np.ndarray:
    try:
        return file[name]
    except ValueError as error:
        if "allow_pickle" not in str(error):
            raise
        raise InputError(
            f"{source}: key {name!r} holds Python objects, which are never unpickled; store numbers"
        ) from error
