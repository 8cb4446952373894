"""Files that appear complete or not at all."""

import contextlib
import errno
import json
import math
import os
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from edp_jax.types import InputError

_REMEDIES = {
    errno.ENOSPC: "make room",
    errno.EDQUOT: "make room",
    errno.EFBIG: "raise the limit on the size of files (ulimit -f)",
    errno.EROFS: "make it writable",
    errno.EACCES: "make it writable",
    errno.EPERM: "make it writable",
    errno.ENOENT: "bring its folder back",
}
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}  # only writing fails so


@contextlib.contextmanager
def writing(path: str | os.PathLike) -> Iterator[None]:
    """Tells in one line why a file cannot be written in the block.

    Args:
      path: the file.

    Raises:
      InputError: the disk is full, the folder is gone or read-only, or the like.
    """
    try:
        yield
    except OSError as error:
        raise cannot_write(path, error) from error


def cannot_write(path: str | os.PathLike, error: OSError) -> InputError:
    """What to raise where a file cannot be written."""
    remedy = _REMEDIES.get(error.errno or 0, "see to it that it can be")
    reason = error.strerror or str(error).partition("\n")[0][:80] or type(error).__name__
    return InputError(
        f"{os.fspath(path)}: cannot be written ({reason}); {remedy}, then give the same command "
        "again"
    )


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[str]:
    """Replaces a file by one that is written in the block.

    Args:
      path: the file to make or replace. Where the block raises, it stays as it was.

    Yields:
      A temporary path in the same folder, to write to. It is moved to `path` after the block.

    Raises:
      InputError: see `writing`.
    """
    temporary = f"{os.fspath(path)}.{os.getpid()}.tmp"
    try:
        with writing(path):
            yield temporary
            os.replace(temporary, path)
    finally:
        with contextlib.suppress(OSError):
            os.remove(temporary)


def write_bytes(path: str | os.PathLike, content: bytes) -> None:
    """Writes or replaces a whole file."""
    with replacing(path) as temporary, open(temporary, "wb") as file:
        file.write(content)


def write_json(path: str | os.PathLike, value: Any) -> None:
    """Writes or replaces an indented JSON file that holds `plain(value)`."""
    write_bytes(path, (json.dumps(plain(value), indent=2, allow_nan=False) + "\n").encode())


def plain(value: Any) -> Any:
    """Returns `value` as JSON can hold it.

    Arrays become lists, numpy's numbers Python's, and NaN and infinities None.
    """
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
