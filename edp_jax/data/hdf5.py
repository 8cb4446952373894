"""HDF5 files, read in any of `edp_jax.data.formats`, and written as D4RL's (arXiv 2004.07219)."""

import contextlib
import importlib
import math
import os
from typing import Any

import h5py

from edp_jax.data import formats
from edp_jax.data.format import Reading
from edp_jax.data.layout import AS_STORED, Layout
from edp_jax.data.raw import RawDataset, called, check_readable
from edp_jax.data.reader import Reader, Request, check_file
from edp_jax.data.storage import MEMORY, Storage
from edp_jax.errors import one_line
from edp_jax.files import GZIP_RATIO, replacing
from edp_jax.tasks import Task
from edp_jax.types import InputError

SUFFIXES = (".hdf5", ".h5")
_NEVER_SMALLER = {h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32}


def read_hdf5(
    path: str | os.PathLike,
    *,
    max_episode_steps: int | None = None,
    storage: Storage = MEMORY,
    layout: Layout = AS_STORED,
) -> RawDataset:
    """Reads and checks one file, block by block.

    Args:
      path: a file in one of `edp_jax.data.formats`.
      max_episode_steps: the time limit, for files that do not store `timeouts`.
      storage: where the arrays lie that are read.
      layout: what the user says of the data.

    Raises:
      InputError: the file is missing, truncated or not HDF5, or not as its format wants it.
    """
    path = os.fspath(path)
    source = called(path)
    check_readable(path)
    size = os.path.getsize(path)
    with contextlib.suppress(ImportError):
        importlib.import_module("hdf5plugin")  # registers more filters
    try:
        if not h5py.is_hdf5(path):
            remedy = "copy or download it again"
            raise InputError(f"{source}: not an HDF5 file ({size} bytes); {remedy}")
        with h5py.File(path, "r") as file:
            return formats.read(_Open(source, file), Reading(layout, max_episode_steps, storage))
    except (OSError, RuntimeError, KeyError) as error:
        raise InputError(f"{source}: {_reason(error, size)}") from error


def check_contained(source: str, path: str | os.PathLike) -> list[str]:
    """Refuses a file of which a part lies in other files.

    Args:
      source: what error messages begin with.
      path: a file that another package is to read.

    Returns:
      The names of all arrays and groups at its top.

    Raises:
      InputError: see above.
      OSError, RuntimeError, KeyError: the file is damaged.
    """
    with h5py.File(path, "r") as file:
        groups, seen = [file["/"]], set()
        while groups:
            group: Any = groups.pop()
            for name in group:
                link = group.get(name, getlink=True)
                item = group[name] if isinstance(link, h5py.HardLink) else None
                if isinstance(link, h5py.ExternalLink) or _reaches_out(item):
                    raise InputError(_elsewhere(source, f"{group.name}/{name}"))
                if isinstance(item, h5py.Group) and item not in seen:
                    groups.append(item)
                    seen.add(item)
        return list(file)


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


class _Open:
    """An open file, see `edp_jax.data.format.Content`."""

    def __init__(self, source: str, file: h5py.File):
        self.source = source
        self._groups: dict[str, Any] = {"": file}  # what has such a name

    def names(self, group: str = "") -> list[str]:
        item = self._group(group)
        names = item if isinstance(item, h5py.Group) else ()
        return [name if isinstance(name, str) else repr(name) for name in names]  # damaged: bytes

    def array(self, name: str) -> h5py.Dataset:
        item = self._find(name)
        if item is None:
            raise InputError(f"{self.source}: no key {name!r}; store an array under that name")
        return _checked(self.source, name, item)

    def attribute(self, group: str, name: str) -> Any:
        return self._group(group).attrs.get(name)

    def _group(self, name: str) -> Any:
        if name not in self._groups:
            self._groups[name] = None  # for a link that leads back to itself
            self._groups[name] = self._find(name)
        return self._groups[name]

    def _find(self, name: str) -> Any:
        """What has a name, with the groups it is in; None where there is nothing.

        Links are followed here, step by step, since HDF5 would follow them into other files.
        """
        parent, _, part = name.rpartition("/")
        group = self._group(parent)
        link = group.get(part, getlink=True) if isinstance(group, h5py.Group) else None
        if isinstance(link, h5py.ExternalLink):
            raise InputError(_elsewhere(self.source, name))
        if isinstance(link, h5py.SoftLink):
            path = link.path if link.path.startswith("/") else f"{parent}/{link.path}"
            found = self._group("/".join(step for step in path.split("/") if step not in ("", ".")))
            if found is None:
                raise InputError(
                    f"{self.source}: key {name[:60]!r} is a link to {link.path[:60]!r}, which is "
                    "not there; store the array itself"
                )
            return found
        return None if link is None else group[part]


def _elsewhere(source: str, name: str) -> str:
    return f"{source}: the rows of key {name[:80]!r} lie in other files; store them in this one"


def _reaches_out(item: Any) -> bool:
    """Whether it is an array whose rows lie in other files."""
    return isinstance(item, h5py.Dataset) and bool(item.is_virtual or item.external)


def _checked(source: str, name: str, item: Any) -> h5py.Dataset:
    """An array that is whole, and in this file."""
    if not isinstance(item, h5py.Dataset) or item.shape is None:
        kind = "an empty dataset" if isinstance(item, h5py.Dataset) else "a group"
        raise InputError(
            f"{source}: key {name!r} is {kind}, not an array; store one array under {name!r}"
        )
    try:
        _ = item.dtype
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{source}: the type of key {name!r} cannot be read ({one_line(error)[:80]}); copy or "
            "download the file again"
        ) from error
    if _reaches_out(item):
        raise InputError(_elsewhere(source, name))
    missing = [code for code in _filters(item) if not h5py.h5z.filter_avail(code)]
    if missing:
        raise InputError(
            f"{source}: key {name!r} is compressed by filter {missing[0]}, which is not installed "
            "here; pip install hdf5plugin, or store it with gzip"
        )
    if _has_unwritten(item):
        raise InputError(
            f"{source}: rows of key {name!r} were never written; let its writer finish, or leave "
            "these rows out"
        )
    if item.size * item.dtype.itemsize > _most_bytes(item):
        raise InputError(
            f"{source}: key {name[:60]!r} has the shape {list(item.shape)} in only "
            f"{item.id.get_storage_size()} bytes; copy or download the file again"
        )
    end = (item.id.get_offset() or 0) + item.id.get_storage_size()
    if item.chunks is None and end > os.path.getsize(item.file.filename):
        raise InputError(
            f"{source}: cut off within the rows of key {name!r}; copy or download it again"
        )
    return item


def _filters(item: h5py.Dataset) -> list[int]:
    properties = item.id.get_create_plist()
    return [properties.get_filter(index)[0] for index in range(properties.get_nfilters())]


def _most_bytes(item: h5py.Dataset) -> float:
    """How many bytes the stored ones of an array can become: what gzip can do is known."""
    filters, stored = _filters(item), item.id.get_storage_size()
    if set(filters) - _NEVER_SMALLER - {h5py.h5z.FILTER_DEFLATE}:
        return math.inf
    return stored * GZIP_RATIO ** filters.count(h5py.h5z.FILTER_DEFLATE)


def _has_unwritten(item: h5py.Dataset) -> bool:
    """Whether a chunk of a dataset, or all of it, is not in the file: it would be read as zeros."""
    if not item.size:
        return False
    if item.chunks is None:
        return item.id.get_storage_size() < item.size * item.dtype.itemsize
    chunks = math.prod(-(-size // each) for size, each in zip(item.shape, item.chunks, strict=True))
    return item.id.get_num_chunks() < chunks


def _reason(error: Exception, size: int) -> str:
    """Why a file could not be read, and what to do: it may be sound, and only be in use."""
    told = one_line(error)[:100]
    if "unable to lock" in told:
        return (
            "locked, another program has it open for writing, or its disk has no locks; close that "
            "program, or set HDF5_USE_FILE_LOCKING=FALSE"
        )
    if "already open for write" in told:
        return (
            "open for writing, or its writer was killed; let the writer finish, or where there is "
            "none, run h5clear -s on a copy"
        )
    if "filter" in told or "plugin" in told:
        return f"cannot be decompressed here ({told}); pip install hdf5plugin, or store with gzip"
    if isinstance(error, OSError) and error.errno:
        return f"cannot be read now ({told}); try again, or copy it to another disk"
    return f"truncated or damaged at {size} bytes ({told}); copy or download it again"


def find(name: str) -> Task | None:
    """The task of a user's own file."""
    if not name.lower().endswith(SUFFIXES):
        return None
    return Task(name, "custom", "hdf5", file_name=os.path.expanduser(name))


def read(request: Request) -> tuple[RawDataset, str | None]:
    """Reads a user's own file."""
    path = request.task.file_name or request.task.name
    steps = request.task.max_episode_steps
    raw = read_hdf5(path, max_episode_steps=steps, storage=request.storage, layout=request.layout)
    return raw, path


READER = Reader(
    "hdf5", "the path of an .hdf5 file", find, read, layout=formats.LAYOUT, check=check_file
)
