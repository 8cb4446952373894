"""Compiled programs kept on disk, so that a run of the same shape starts without compiling again."""

import os

import jax

from edp_jax.types import InputError


def keep_programs(folder: str) -> None:
    """Makes JAX keep what it compiles in `folder`; "auto" is the user's cache folder, "" or "none" keeps nothing.

    An entry's name depends on the program, the flags, the versions and the features of the processor (or the accelerator): a
    folder may be shared between machines. Call it before anything is compiled. JAX_COMPILATION_CACHE_DIR precedes "auto".

    Raises:
      InputError: `folder` cannot be written. Where this happens to the user's cache folder, nothing is kept.
    """
    if folder in ("", "none"):
        jax.config.update("jax_enable_compilation_cache", False)
        return
    if folder == "auto" and jax.config.jax_compilation_cache_dir:
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
            f"config.compilation_cache={folder}: cannot be written; name a folder that can, or 'none'"
        )


def default_folder() -> str:
    """$XDG_CACHE_HOME/edp_jax/xla, by default below ~/.cache."""
    return os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "edp_jax", "xla"
    )
