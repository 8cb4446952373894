"""One process at a time trains in the folder of a run."""

import contextlib
import errno
import fcntl
import os
import socket
from collections.abc import Iterator

from edp_jax.types import InputError

_NAME = "lock"
_UNSUPPORTED = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}


@contextlib.contextmanager
def locked(workdir: str) -> Iterator[None]:
    """Keeps other processes from training in a folder during the block.

    The operating system frees the lock when the process ends, however it ends. DIR/lock says who
    has it, or had it last. On file systems without locks nothing is kept away.

    Args:
      workdir: DIR; it exists.

    Raises:
      InputError: another process trains there. The message has its host and number.
    """
    path = os.path.join(workdir, _NAME)
    with open(path, "a+", encoding="utf-8", errors="replace") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                file.seek(0)
                owner = file.read(200).strip() or "another process"
                raise InputError(
                    f"--workdir={workdir}: {owner} trains there now; wait for it, end it, or use a "
                    "new --workdir"
                ) from error
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        yield
