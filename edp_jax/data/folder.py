"""Folders that datasets are kept in."""

import contextlib
import os
from collections.abc import Iterator

from edp_jax.types import InputError


def data_folder(configured: str = "") -> str:
    """The folder of data files: the configured one, else $D4RL_DATASET_DIR, else D4RL's default."""
    return os.path.expanduser(
        configured or os.environ.get("D4RL_DATASET_DIR") or "~/.d4rl/datasets"
    )


@contextlib.contextmanager
def folder_made(
    folder: str, remedy: str = "give another one as --config.data_dir"
) -> Iterator[None]:
    """Makes a folder and its parents for a block; where the block raises, empty ones go again.

    Args:
      folder: its path.
      remedy: what the user can do where the folder cannot be written to.

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
