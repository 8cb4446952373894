"""Folders of runs on storage that a program cannot write to as to a disk: gs://, s3://, az://.

A run works in a folder of its machine, and that is copied to the storage as it grows. The order of
copying keeps what is there usable at any time: tables before the checkpoints they belong to, since
a run drops rows that are newer than its checkpoint, and the summary last, since it says that a run
has finished.
"""

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator

from etils import epath

_CHECKPOINTS = "checkpoints"
_SUMMARY = "summary.json"
_OWN = ("lock",)  # of a machine

Stamps = dict[str, tuple[int, int]]  # by relative path: size and time of what was copied last


def is_remote(workdir: str) -> bool:
    """Whether a folder is on such a storage, by its name."""
    return "://" in workdir


@contextlib.contextmanager
def local_copy(workdir: str) -> Iterator[tuple[str, Callable[[], None]]]:
    """A folder to work in, in place of one that may be remote.

    Args:
      workdir: where what the run leaves is to be; what is there already is brought.

    Yields:
      The folder, and a function that copies to `workdir` what is new in it. It is copied at the end
      of the block, too, and the folder then vanishes. A folder on a disk is used as it is.
    """
    if not is_remote(workdir):
        os.makedirs(workdir, exist_ok=True)
        yield workdir, lambda: None
        return
    with tempfile.TemporaryDirectory(prefix="edp_jax_run_") as folder:
        stamps: Stamps = {}
        pull(workdir, folder, stamps)
        try:
            yield folder, lambda: push(folder, workdir, stamps)
        finally:
            push(folder, workdir, stamps)


def pull(workdir: str, folder: str, stamps: Stamps) -> None:
    """Copies a whole folder from the storage, and notes what is there in `stamps`."""
    remote = epath.Path(workdir)
    for path in _walk(remote):
        name = os.fspath(path.relative_to(remote))
        local = os.path.join(folder, name)
        os.makedirs(os.path.dirname(local), exist_ok=True)
        with open(local, "wb") as file:
            file.write(path.read_bytes())
        stamps[name] = _stamp(local)


def push(folder: str, workdir: str, stamps: Stamps) -> None:
    """Copies to the storage what has changed, and removes checkpoints that are gone.

    Args:
      folder: of the run on this machine.
      workdir: of the run on the storage.
      stamps: what was copied before; it is kept up to date.
    """
    remote, local = epath.Path(workdir), epath.Path(folder)
    steps = [path for path in _entries(local / _CHECKPOINTS) if path.name.isdecimal()]
    others = [path for path in _entries(local) if path.name not in (_CHECKPOINTS, _SUMMARY, *_OWN)]
    for top in (*others, *steps, local / _SUMMARY):
        for path in _walk(top):
            _copy(path, os.fspath(path.relative_to(local)), remote, stamps)
    kept = {step.name for step in steps}
    for path in _entries(remote / _CHECKPOINTS):
        if path.name not in kept:
            path.rmtree()
            for name in tuple(stamps):
                if name.startswith(f"{_CHECKPOINTS}/{path.name}/"):
                    del stamps[name]


def _copy(path: epath.Path, name: str, remote: epath.Path, stamps: Stamps) -> None:
    try:
        stamp = _stamp(os.fspath(path))
        if name.endswith(".tmp") or stamps.get(name) == stamp:
            return
        content = path.read_bytes()
    except FileNotFoundError:  # the run has replaced it meanwhile
        return
    target = remote / name
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)
    stamps[name] = stamp


def _walk(top: epath.Path) -> Iterator[epath.Path]:
    """All files in a folder and below, or the one file; nothing where it is gone."""
    if top.is_dir():
        for path in _entries(top):
            yield from _walk(path)
    elif top.exists():
        yield top


def _entries(folder: epath.Path) -> list[epath.Path]:
    """What is in a folder; nothing where it is not there, or gone meanwhile."""
    try:
        return list(folder.iterdir())
    except FileNotFoundError:
        return []


def _stamp(path: str) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_size, status.st_mtime_ns
