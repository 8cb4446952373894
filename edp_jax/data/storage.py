"""Arrays that may be larger than the memory: where they lie, and what is done to them block by block."""

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
MEMORY_SHARE = 0.05  # of the free memory: what one array may take of it; reading and preparing make up to four large ones


@dataclasses.dataclass(frozen=True)
class Storage:
    """Where large arrays lie: those above `largest` bytes in files of `folder`, mapped into memory, all others in memory.

    The files have no name: each is gone with its array, however the program ends.
    """

    folder: str | None = None
    largest: float = math.inf

    def empty(self, shape: tuple[int, ...]) -> np.ndarray:
        """A new float32 array.

        Raises:
          InputError: the folder cannot hold it.
        """
        size = math.prod(shape) * np.dtype(np.float32).itemsize
        if size <= self.largest:
            return np.empty(shape, np.float32)
        try:
            with tempfile.TemporaryFile(dir=self.folder) as file:
                if hasattr(os, "posix_fallocate"):
                    os.posix_fallocate(
                        file.fileno(), 0, size
                    )  # else a full disk is only noticed as a SIGBUS
                else:
                    file.truncate(size)
                return np.ndarray(shape, np.float32, mmap.mmap(file.fileno(), size))
        except OSError as error:
            raise InputError(
                f"folder {self.folder!r}: no room for {size / 1e9:.3g} GB ({error.strerror}); data too large for the memory are "
                f"prepared there: free some space, or name a folder on another disk"
            ) from error


MEMORY = Storage()


def storage_near(path: str, *, always: bool = False) -> Storage:
    """Storage on the disk of `path`, in its nearest parent that is there, for arrays above `MEMORY_SHARE`; `always`: for any."""
    folder = os.path.abspath(path)
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    return Storage(folder, 0 if always else MEMORY_SHARE * free_memory())


def free_memory() -> float:
    """Bytes: what the system has available, at most the limit of the container (cgroup v2)."""
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
    """Slices that cover the rows of arrays [N, ...] (numpy's or h5py's), with about `BLOCK_BYTES` of all of them in each."""
    row = sum(array.dtype.itemsize * math.prod(array.shape[1:]) for array in arrays)
    step, rows = max(1, BLOCK_BYTES // row), len(arrays[0])
    return (slice(start, min(start + step, rows)) for start in range(0, rows, step))


def map_rows(function: Callable[..., np.ndarray], *arrays: Any, out: np.ndarray) -> np.ndarray:
    """out[rows] = function(array[rows], ...) block by block; `out` may be one of the arrays."""
    for rows in row_blocks(*arrays, out):
        out[rows] = function(*(array[rows] for array in arrays))
    return out


def count_where(
    predicate: Callable[[np.ndarray], np.ndarray], array: np.ndarray
) -> tuple[int, tuple[int, ...] | None]:
    """How many entries of `array` [N, ...] the predicate holds for, and the index of the first."""
    count, first = 0, None
    for rows in row_blocks(array):
        found = predicate(array[rows])
        if first is None and found.any():
            row, *rest = np.argwhere(found)[0].tolist()
            first = (rows.start + row, *rest)
        count += int(found.sum())
    return count, first
