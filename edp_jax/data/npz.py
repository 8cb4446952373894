"""numpy's .npz files, read in any of `edp_jax.data.formats`."""

import collections
import contextlib
import os
import zipfile
from collections.abc import Iterator
from typing import Any

import numpy as np

from edp_jax.data import formats
from edp_jax.data.format import Content, Reading
from edp_jax.data.layout import AS_STORED, Layout
from edp_jax.data.raw import RawDataset, called, check_readable
from edp_jax.data.reader import Reader, Request, check_file
from edp_jax.data.storage import MEMORY, Storage, free_memory
from edp_jax.errors import one_line
from edp_jax.files import read_array
from edp_jax.tasks import Task
from edp_jax.types import InputError


def read_npz(
    path: str | os.PathLike, *, storage: Storage = MEMORY, layout: Layout = AS_STORED
) -> RawDataset:
    """Reads and checks one file. Python objects in it are refused, never unpickled.

    Args:
      path: a file that fits into memory, in one of `edp_jax.data.formats`.
      storage: where the arrays lie that are made of its arrays.
      layout: what the user says of the data.

    Raises:
      InputError: the file is missing, damaged, not an .npz file or holds Python objects, or is not
        as its format wants it.
    """
    with opened(path) as content:
        return formats.read(content, Reading(layout, storage=storage))


@contextlib.contextmanager
def opened(path: str | os.PathLike) -> Iterator[Content]:
    """Opens a file for a block.

    Raises:
      InputError: the file is missing, damaged, not an .npz file or holds Python objects.
    """
    path = os.fspath(path)
    source = called(path)
    check_readable(path)
    if not zipfile.is_zipfile(path):
        size, remedy = os.path.getsize(path), "write it with numpy.savez, or copy it again"
        raise InputError(f"{source}: not a complete .npz file ({size} bytes); {remedy}")
    with _reasons(source):
        archive = np.load(path, allow_pickle=False)
    with archive as file:
        yield _Open(source, file)


def find(name: str) -> Task | None:
    """The task of a user's own file."""
    if not name.lower().endswith(".npz"):
        return None
    return Task(name, "custom", "npz", file_name=os.path.expanduser(name))


def read(request: Request) -> tuple[RawDataset, str | None]:
    """Reads a user's own file."""
    path = request.task.file_name or request.task.name
    return read_npz(path, storage=request.storage, layout=request.layout), path


READER = Reader(
    "npz", "the path of an .npz file", find, read, layout=formats.LAYOUT, check=check_file
)


class _Open:
    """An open file, see `edp_jax.data.format.Content`: it has no groups and no attributes."""

    def __init__(self, source: str, file: Any):
        self.source = source
        self._file = file
        self._members = {name.removesuffix(".npy"): name for name in file.zip.namelist()}
        if len(self._members) < len(file.files):
            counts = collections.Counter(file.files)
            raise InputError(
                f"{source}: two arrays are named {counts.most_common(1)[0][0][:60]!r}; store each "
                "under its own name"
            )

    def names(self, group: str = "") -> list[str]:
        return [] if group else list(self._members)

    def array(self, name: str) -> np.ndarray:
        if name not in self._members:
            raise InputError(f"{self.source}: no key {name!r}; store an array under that name")
        with _reasons(self.source, name):
            size = self._file.zip.getinfo(self._members[name]).file_size
            if size > (free := free_memory()):
                raise MemoryError(f"{size / 1e9:.3g} GB, and {free / 1e9:.3g} are free")
            return read_array(self._file, name)

    def attribute(self, group: str, name: str) -> None:
        return None


@contextlib.contextmanager
def _reasons(source: str, name: str = "") -> Iterator[None]:
    """Tells in one line why a file, or the array of that name in it, cannot be read."""
    try:
        yield
    except (NotImplementedError, RuntimeError, MemoryError) as error:
        raise InputError(
            f"{source}: cannot be read here ({one_line(error)}); store it with numpy.savez, or, "
            "where it is too large for the memory, as an .hdf5 file"
        ) from error
    except Exception as error:  # what damaged headers and archives raise is of many kinds
        if "allow_pickle" in str(error):
            raise InputError(
                f"{source}: key {name!r} holds Python objects, which are never unpickled; store "
                "numbers, as in numpy.asarray(values, 'float32')"
            ) from error
        if isinstance(error, OSError) and error.errno:
            raise InputError(
                f"{source}: cannot be read now ({one_line(error)}); try again"
            ) from error
        raise InputError(
            f"{source}: damaged ({one_line(error)[:80]}); write or copy it again"
        ) from error
