"""One process at a time trains in the folder of a run, or of a sweep."""

import contextlib
import errno
import fcntl
import os
import pathlib
import socket
import threading
import time
from collections.abc import Callable, Iterator

from edp_jax.files import writing
from edp_jax.types import InputError

_NAME = "lock"
_UNSUPPORTED = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}
BEAT = 5.0  # seconds between two signs of life
PATIENCE = 4 * BEAT  # seconds without one after which a process of another machine counts as dead


@contextlib.contextmanager
def locked(
    workdir: str, tell: Callable[[str], None] = print, flag: str = "--workdir"
) -> Iterator[None]:
    """Keeps other processes from training in a folder during the block.

    On one machine the operating system frees the lock when the process ends, however it ends. Not
    all shared folders pass it on to other machines. So DIR/lock also says who has it, and changes
    its time every few seconds: a process of another machine that gives no such sign is dead.

    Args:
      workdir: DIR; it exists.
      tell: takes a line where it has to be seen whether another machine's process is alive.
      flag: that names DIR on the command line, for the message.

    Raises:
      InputError: another process trains there. The message has its host and number.
    """
    path = os.path.join(workdir, _NAME)
    with writing(path):
        file = open(path, "a+", encoding="utf-8", errors="replace")  # noqa: SIM115
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise _in_use(flag, workdir, _owner(path)[0]) from error
            freed_by_system = ("",)
        else:
            freed_by_system = ("", _machine())
        owner, machine = _owner(path)
        if machine not in freed_by_system:
            tell(f"{owner} had this folder last; looking for {PATIENCE:g} s whether it is alive")
            if _is_alive(path):
                raise _in_use(flag, workdir, owner)
        me = f"process {os.getpid()} on {socket.gethostname()}\n{_machine()}\n"
        with writing(path):
            file.truncate(0)
            file.write(me)
            file.flush()
        ended = threading.Event()
        threading.Thread(target=_beat, args=(path, ended), daemon=True).start()
        try:
            yield
        finally:
            ended.set()
            with contextlib.suppress(OSError):
                file.truncate(0)


def _in_use(flag: str, workdir: str, owner: str) -> InputError:
    return InputError(
        f"{flag}={workdir}: {owner or 'another process'} trains there now; wait for it, end it, "
        f"or use a new {flag}"
    )


def _owner(path: str) -> tuple[str, str]:
    """Who wrote the lock, in words, and on which machine; empty where nobody has it."""
    with open(path, encoding="utf-8", errors="replace") as file:
        lines = [*file.read(400).split("\n"), "", ""]
    return lines[0].strip(), lines[1].strip()


def _machine() -> str:
    """Tells machines apart, also those of one name; containers of a machine share its locks."""
    boot = pathlib.Path("/proc/sys/kernel/random/boot_id")  # of Linux
    return boot.read_text().strip() if boot.is_file() else socket.gethostname()


def _beat(path: str, ended: threading.Event) -> None:
    """Changes the time of a file every few seconds; a folder that is gone is no reason to end."""
    while not ended.wait(BEAT):
        with contextlib.suppress(OSError):
            os.utime(path)


def _is_alive(path: str) -> bool:
    """Whether the time of a file changes while one looks; clocks of machines do not matter."""
    before, end = _changed(path), time.monotonic() + PATIENCE
    while time.monotonic() < end:
        time.sleep(BEAT / 5)
        if _changed(path) != before:
            return True
    return False


def _changed(path: str) -> int:
    """When a file was changed last; it is opened, since network file systems look anew then."""
    with open(path, "rb") as file:
        return os.fstat(file.fileno()).st_mtime_ns
