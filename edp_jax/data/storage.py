"""Large arrays: where they lie, in memory or on disk, and how they are worked on block by block.

A dataset may be larger than the memory. Then its arrays lie in files that are mapped into memory,
and whatever reads or changes them takes a few megabytes of rows at a time.
"""

import dataclasses
import math
import mmap
import os
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from edp_jax.types import InputError

BLOCK_BYTES = 2**22
MEMORY_SHARE = 0.05  # of the free memory, for one array; up to four large ones are there at a time


@dataclasses.dataclass(frozen=True)
class Storage:
    """Where new arrays lie: in memory, or, the large ones, in files of a folder.

    The files have no name. Each is gone when its array is, however the program ends.
    """

    folder: str | None = None
    largest: float = math.inf  # bytes of the largest array that lies in memory

    def empty(self, shape: tuple[int, ...]) -> np.ndarray:
        """Makes a float32 array of that shape; its values are undefined.

        Raises:
          InputError: the folder has no room for it.
        """
        size = math.prod(shape) * np.dtype(np.float32).itemsize
        if size <= self.largest:
            return np.empty(shape, np.float32)
        try:
            with tempfile.TemporaryFile(dir=self.folder) as file:
                if hasattr(os, "posix_fallocate"):  # else a full disk is only noticed as a SIGBUS
                    os.posix_fallocate(file.fileno(), 0, size)
                else:
                    file.truncate(size)
                return np.ndarray(shape, np.float32, mmap.mmap(file.fileno(), size))
        except OSError as error:
            raise InputError(
                f"folder {self.folder!r}: no room for {size / 1e9:.3g} GB ({error.strerror}) of "
                "data that are too large for the memory; free some space, or name a folder on "
                "another disk"
            ) from error


MEMORY = Storage()


def storage_near(path: str, *, always: bool = False) -> Storage:
    """Storage on a disk for arrays that are large for the free memory.

    Args:
      path: a folder on that disk. Where it is not there yet, the nearest parent that is holds the
        arrays.
      always: whether all arrays lie on the disk, not only the large ones.
    """
    folder = os.path.abspath(path)
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    return Storage(folder, 0 if always else MEMORY_SHARE * free_memory())


def free_memory() -> float:
    """Bytes that the system has available; at most the limit of the container (cgroup v2)."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            free = next(
                1024 * int(line.split()[1]) for line in file if line.startswith("MemAvailable:")
            )
    except (OSError, StopIteration):
        free = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        with open("/sys/fs/cgroup/memory.max", encoding="ascii") as file:
            return min(free, float(file.read().replace("max", "inf")))
    except OSError:
        return free


def row_blocks(*arrays: Any) -> Iterator[slice]:
    """Divides the rows of arrays into blocks.

    Args:
      *arrays: [N, ...], numpy's or h5py's.

    Returns:
      Slices of rows, one after the other; about `BLOCK_BYTES` of all arrays together lie in each.
    """
    row = sum(array.dtype.itemsize * math.prod(array.shape[1:]) for array in arrays)
    step, rows = max(1, BLOCK_BYTES // row), len(arrays[0])
    return (slice(start, min(start + step, rows)) for start in range(0, rows, step))


def map_rows(function: Callable[..., Any], *arrays: Any, out: np.ndarray) -> np.ndarray:
    """Applies a function to the rows of arrays, block by block.

    Args:
      function: takes a block of rows of each array and returns as many rows.
      *arrays: [N, ...], numpy's or h5py's.
      out: [N, ...], takes the result; may be one of the arrays.

    Returns:
      `out`.
    """
    for rows in row_blocks(*arrays, out):
        out[rows] = function(*(array[rows] for array in arrays))
    return out


def count_where(
    predicate: Callable[[np.ndarray], np.ndarray], array: np.ndarray
) -> tuple[int, tuple[int, ...] | None]:
    """Counts the entries of an array [N, ...] for which a predicate holds.

    Returns:
      Their number, and the index of the first one; None where there is none.
    """
    count, first = 0, None
    for rows in row_blocks(array):
        found = predicate(array[rows])
        if first is None and found.any():
            row, *rest = np.argwhere(found)[0].tolist()
            first = (rows.start + row, *rest)
        count += int(found.sum())
    return count, first
