"""Files that appear complete or not at all."""

import contextlib
import errno
import hashlib
import json
import math
import os
import re
import time
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from edp_jax.types import InputError

GZIP_RATIO = 1032  # the most that deflate compresses by (zlib.net/zlib_tech.html)
_TEMPORARY = re.compile(r".+\.\d+\.tmp")
_REMEDIES = {
    errno.ENOSPC: "make room",
    errno.EDQUOT: "make room",
    errno.EFBIG: "raise the limit on the size of files (ulimit -f)",
    errno.EROFS: "make it writable",
    errno.EACCES: "make it writable",
    errno.EPERM: "make it writable",
    errno.ENOENT: "make its folder",
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


def check_writable(path: str | os.PathLike) -> None:
    """Refuses early where `replacing` could not make or replace a file.

    Raises:
      InputError: see `writing`.
    """
    temporary = _temporary(path)
    with writing(path):
        if os.path.isdir(path):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        with open(temporary, "wb"):
            os.remove(temporary)


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
    temporary = _temporary(path)
    try:
        with writing(path):
            yield temporary
            os.replace(temporary, path)
    finally:
        with contextlib.suppress(OSError):
            os.remove(temporary)


def _temporary(path: str | os.PathLike) -> str:
    return f"{os.fspath(path)}.{os.getpid()}.tmp"


def remove_leftovers(folder: str | os.PathLike, older_than: float = 0.0) -> None:
    """Deletes the temporary files that `replacing` left where its process was killed.

    Args:
      folder: they are looked for in it, not below; it may not be there.
      older_than: seconds since they were written to. Others may belong to processes that live.
    """
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if _TEMPORARY.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                with contextlib.suppress(OSError):
                    if time.time() - entry.stat().st_mtime >= older_than:
                        os.remove(entry.path)


def write_bytes(path: str | os.PathLike, content: bytes) -> None:
    """Writes or replaces a whole file."""
    with replacing(path) as temporary, open(temporary, "wb") as file:
        file.write(content)


def write_json(path: str | os.PathLike, value: Any) -> None:
    """Writes or replaces an indented JSON file that holds `plain(value)`."""
    write_bytes(path, (json.dumps(plain(value), indent=2, allow_nan=False) + "\n").encode())


def sha256_of(path: str | os.PathLike) -> str:
    """The sha256 of a file's content, in hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of_all(folder: str) -> dict[str, str]:
    """The sha256 of every file in a folder and those below, by its path from there."""
    return {
        os.path.relpath(os.path.join(place, name), folder): sha256_of(os.path.join(place, name))
        for place, _, names in os.walk(folder)
        for name in names
    }


def read_json(path: str | os.PathLike) -> Any:
    """Reads a JSON file.

    Raises:
      OSError: it cannot be read.
      ValueError: it is no JSON, no UTF-8, or nested too deeply.
    """
    with open(path, encoding="utf-8-sig") as file:
        return parse_json(file.read())


def parse_json(text: str | bytes) -> Any:
    """Reads a JSON text.

    Raises:
      ValueError: it is no JSON, or nested too deeply.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def read_array(archive: Any, name: str) -> np.ndarray:
    """Reads an array of an open .npz file, never with pickle.

    Its size, as it is told in three places, is compared with the file before memory is taken.

    Args:
      archive: what numpy.load returns for an .npz file.
      name: one of `archive.files`.

    Raises:
      ValueError: it is no array, or its size differs. numpy and zipfile raise errors of many other
        kinds where it is damaged.
    """
    members = archive.zip.namelist()
    member = archive.zip.getinfo(name if name in members else f"{name}.npy")
    packed, size = member.compress_size, member.file_size
    most = packed * {zipfile.ZIP_STORED: 1, zipfile.ZIP_DEFLATED: GZIP_RATIO}.get(
        member.compress_type, math.inf
    )
    if size > most or packed > os.fstat(archive.fid.fileno()).st_size:
        raise ValueError(f"{size} bytes in {packed}")
    with archive.zip.open(member) as file:
        version = np.lib.format.read_magic(file)
        one, two = np.lib.format.read_array_header_1_0, np.lib.format.read_array_header_2_0
        shape, _, dtype = (one if version == (1, 0) else two)(file)
        claimed = file.tell() + math.prod(shape) * dtype.itemsize
    if claimed != size and not dtype.hasobject:
        raise ValueError(f"shape {list(shape)} of {dtype} in {size} bytes"[:80])
    return archive[name]


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
