"""Compiled programs kept on disk, so that a run of the same shape starts without compiling."""

import contextlib
import hashlib
import os
from typing import Any

import jax

from edp_jax.types import InputError

try:  # JAX has no public place to check what it reads; a JAX without this one keeps no programs
    from jax._src import compilation_cache

    _file_cache = compilation_cache.get_file_cache
except (ImportError, AttributeError):
    compilation_cache = _file_cache = None

_ENABLED = "jax_enable_compilation_cache"
_WANTED = getattr(jax.config, _ENABLED)  # False where the environment says so


def keep_programs(folder: str, name: str = "config.compilation_cache") -> None:
    """Makes JAX keep in a folder what it compiles from then on.

    An entry's name depends on the program, the flags, the versions and the processor, so machines
    can share a folder. It holds a digest as well: see `Sealed`.

    Args:
      folder: a path; "auto" for the user's cache folder, or JAX_COMPILATION_CACHE_DIR where that is
        set; "" or "none" to keep nothing.
      name: of the setting, for an error.

    Raises:
      InputError: a folder given by its path cannot be written. Where the user's cache folder
        cannot, nothing is kept.
    """
    if compilation_cache is None:
        jax.config.update(_ENABLED, False)
        return
    keep = folder not in ("", "none")
    jax.config.update(_ENABLED, keep and _WANTED)
    compilation_cache.reset_cache()  # JAX decides when it first compiles, and keeps to that
    if not keep:
        return
    compilation_cache.get_file_cache = _sealed
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
        raise InputError(f"{name}={folder}: cannot be written; name a folder that can, or 'none'")


def default_folder() -> str:
    """Returns $XDG_CACHE_HOME/edp_jax/xla, by default below ~/.cache."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return os.path.join(cache, "edp_jax", "xla")


class Sealed:
    """A cache of programs whose entries hold a digest of their name and content.

    JAX runs whatever lies under the right name. Here an entry that is damaged, or is that of
    another program, counts as none, and is replaced.
    """

    def __init__(self, cache: Any):
        """Wraps a cache of JAX, a jax._src.compilation_cache_interface.CacheInterface."""
        self._cache = cache

    def get(self, key: str) -> bytes | None:
        """The program of that name; None where there is none."""
        value = self._cache.get(_sealed_name(key))
        if value is None:
            return None
        seal, program = value[:_SEAL_BYTES], value[_SEAL_BYTES:]
        if seal == _seal(key, program):
            return program
        with contextlib.suppress(OSError):
            os.remove(os.path.join(str(self._cache.path), f"{_sealed_name(key)}-cache"))
        return None

    def put(self, key: str, value: bytes) -> None:
        """Keeps a program under its name."""
        self._cache.put(_sealed_name(key), _seal(key, value) + value)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cache, name)


_SEAL_BYTES = hashlib.sha256().digest_size


def _sealed(path: str) -> tuple[Any, str] | None:
    """What JAX makes its cache by, with sealed entries."""
    found = None if _file_cache is None else _file_cache(path)
    return None if found is None else (Sealed(found[0]), found[1])


def _sealed_name(key: str) -> str:
    """Other programs that share the folder do not know seals, and look under the key itself."""
    return f"{key}-sealed"


def _seal(key: str, program: bytes) -> bytes:
    return hashlib.sha256(key.encode() + b"\0" + program).digest()
