"""Files that appear complete or not at all."""

import contextlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[str]:
    """Replaces a file by one that is written in the block.

    Args:
      path: the file to make or replace. Where the block raises, it stays as it was.

    Yields:
      A temporary path in the same folder, to write to. It is moved to `path` after the block.
    """
    temporary = f"{os.fspath(path)}.{os.getpid()}.tmp"
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
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
