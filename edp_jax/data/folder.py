"""Folders that datasets are put into."""

import contextlib
import os
from collections.abc import Iterator

from edp_jax.types import InputError


@contextlib.contextmanager
def folder_made(
    folder: str, remedy: str = "give another one as --config.data_dir"
) -> Iterator[None]:
    """Makes `folder` and its parents for the block; where the block fails, those that are empty then go again.

    Raises:
      InputError: the folder cannot be made or written to.
    """
    parts = [folder]
    while not os.path.exists(parts[-1]) and os.path.dirname(parts[-1]) != parts[-1]:
        parts.append(os.path.dirname(parts[-1]))
    made = parts[:-1]
    try:
        try:
            os.makedirs(folder, exist_ok=True)
            writable = os.access(folder, os.W_OK)
        except OSError:
            writable = False
        if not writable:
            raise InputError(f"folder {folder!r}: cannot be written to; {remedy}")
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            for path in made:
                os.rmdir(path)
        raise
