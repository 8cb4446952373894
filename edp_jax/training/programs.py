"""Compiled programs kept on disk, so that a run of the same shape starts without compiling."""

import os

import jax

from edp_jax.types import InputError


def keep_programs(folder: str) -> None:
    """Makes JAX keep what it compiles in a folder. Call it before anything is compiled.

    An entry's name depends on the program, the flags, the versions and the processor, so machines
    can share a folder.

    Args:
      folder: a path; "auto" for the user's cache folder, or JAX_COMPILATION_CACHE_DIR where that is
        set; "" or "none" to keep nothing.

    Raises:
      InputError: a folder given by its path cannot be written. Where the user's cache folder
        cannot, nothing is kept.
    """
    if folder in ("", "none"):
        jax.config.update("jax_enable_compilation_cache", False)
        return
    if folder == "auto" and getattr(jax.config, "jax_compilation_cache_dir", None):
        return
    path = default_folder() if folder == "auto" else os.path.abspath(os.path.expanduser(folder))
    try:
        os.makedirs(path, exist_ok=True)
        writable = os.access(path, os.W_OK)
    except OSError:
        writable = False
    if writable:
        jax.config.update("jax_compilation_cache_dir", path)
    elif folder != "auto":
        raise InputError(
            f"config.compilation_cache={folder}: cannot be written; "
            "name a folder that can, or 'none'"
        )


def default_folder() -> str:
    """Returns $XDG_CACHE_HOME/edp_jax/xla, by default below ~/.cache."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return os.path.join(cache, "edp_jax", "xla")
