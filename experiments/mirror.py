"""Folders of runs on storage that a program cannot write to as to a disk: gs://, s3://, az://.

A run works in a folder of its machine, and that is copied to the storage as it grows. The order of
copying keeps what is there usable at any time: tables before the checkpoints they belong to, since
a run drops rows that are newer than its checkpoint, and the summary last, since it says that a run
has finished.
"""

import contextlib
import os
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator

from etils import epath

_CHECKPOINTS = "checkpoints"
_SUMMARY = "summary.json"
_OWN = ("lock",)  # of a machine
_PAUSES = (5.0, 30.0)  # seconds before what a run leaves is copied again, where that failed

Stamps = dict[str, tuple[int, int]]  # by relative path: size and time of what was copied last


class NotCopied(Exception):
    """What a run leaves is on its machine and not in storage; it says in which folder."""


class Forgiving:
    """Calls what a run need not end for where it fails; the first failure is told."""

    def __init__(self, name: str):
        """Tells of a run by its name."""
        self._name, self._told = name, False

    def __call__(self, action: Callable[[], None]) -> None:
        """Calls an action."""
        try:
            action()
        except Exception as error:  # storage raises what it likes
            if not self._told:
                print(
                    f"warning: {self._name}: its status or files cannot be written "
                    f"({_reason(error)}); it goes on, and they are tried again",
                    file=sys.stderr,
                    flush=True,
                )
            self._told = True


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

    Raises:
      NotCopied: the copy at the end has failed several times. The folder is kept.
    """
    if not is_remote(workdir):
        os.makedirs(workdir, exist_ok=True)
        yield workdir, lambda: None
        return
    with contextlib.ExitStack() as vanishing:
        folder, stamps = tempfile.mkdtemp(prefix="edp_jax_run_"), Stamps()
        vanishing.callback(shutil.rmtree, folder, ignore_errors=True)
        pull(workdir, folder, stamps)
        try:
            yield folder, lambda: push(folder, workdir, stamps)
        finally:
            copied = vanishing.pop_all()
            _push_at_last(folder, workdir, stamps)
            copied.close()


def _push_at_last(folder: str, workdir: str, stamps: Stamps) -> None:
    for pause in (*_PAUSES, None):
        try:
            return push(folder, workdir, stamps)
        except Exception as error:  # storage raises what it likes
            if pause is None:
                raise NotCopied(
                    f"{folder} on {socket.gethostname()} keeps what the run has left: it cannot be "
                    f"copied to {workdir} ({_reason(error)}); copy it by hand, then start the "
                    "sweep again"
                ) from error
            time.sleep(pause)


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


def _reason(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:80]


def _stamp(path: str) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_size, status.st_mtime_ns
