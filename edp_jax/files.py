"""Files that appear complete or not at all."""

import contextlib
import os
from collections.abc import Iterator


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
