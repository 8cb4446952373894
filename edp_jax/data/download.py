"""Downloads with the standard library: resumed when cut off, and checked before they are used.

Until it is complete and checked, a file has the ending ".part" besides its name. It is called the
partial file here.
"""

import contextlib
import dataclasses
import fcntl
import http.client
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import BinaryIO

from edp_jax.data.folder import folder_made
from edp_jax.errors import one_line
from edp_jax.files import sha256_of
from edp_jax.types import InputError

_BLOCK = 1 << 18  # bytes
_TIMEOUT = 30.0  # seconds without a byte
_FRUITLESS = 3  # attempts in a row that bring nothing new, then a download is given up
_PAUSE = 1.0  # seconds before the attempt that follows one of them
_PROGRESS_PERIOD = 2.0  # seconds between two progress lines
_WAIT = 5.0  # seconds between two looks at another process that downloads the same file


@dataclasses.dataclass(frozen=True)
class Remote:
    """A file to download, and what is known of it."""

    url: str
    size: int | None = None  # bytes
    sha256: str | None = None


class _Unreachable(Exception):
    """No answer, or the connection broke down: what has come so far is worth keeping."""


class _Useless(Exception):
    """What the server sends cannot become the file."""


def fetch(remote: Remote, path: str, progress: Callable[[str], None] = print) -> None:
    """Downloads a file, which has its name only once its size and sha256 are right.

    The bytes go into the partial file, `path` with ".part" at the end. A transfer that is cut off
    goes on where it stopped (HTTP Range, RFC 9110 section 14); servers that cannot do so send all
    again. Of several processes that want the same file one downloads it, and the others wait.

    The partial file stays where the network or the program breaks down, and the next call goes on
    with it. It is deleted where the server has no more to send or sends something else.

    Args:
      remote: what to download.
      path: the file to make; nothing is done where it is there already.
      progress: takes a line now and then.

    Raises:
      InputError: the folder cannot be written, the server cannot be reached or refuses, or what it
        sends ends early or is not the known file. The line names the URL and `path`.
    """
    part = f"{path}.part"
    with folder_made(os.path.dirname(path)), _alone(part, progress):
        if os.path.exists(path):
            return
        try:
            _fill(remote, part, progress)
            _check(remote, part)
        except (_Unreachable, _Useless) as error:
            kept = ""
            if isinstance(error, _Unreachable) and _size(part):
                kept = f"; {_size(part):,} bytes are kept and the same command goes on with them"
            elif os.path.exists(part):
                os.remove(part)
            remedy = f"try again later, or put the file at {path!r}"
            raise InputError(f"download of {remote.url}: {error}{kept}; {remedy}") from error
        os.replace(part, path)


@contextlib.contextmanager
def _alone(part: str, progress: Callable[[str], None]) -> Iterator[None]:
    """Locks the partial file for a block and makes it where it is not there.

    Waits while another process holds it. An empty one is deleted afterwards.
    """
    while True:
        with open(part, "ab") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                name = os.path.basename(part).removesuffix(".part")
                progress(f"  {name}: another process downloads it, waiting")
                time.sleep(_WAIT)
                continue
            if not _is_at(file, part):  # the other process just finished with it
                continue
            try:
                yield
            finally:
                if _is_at(file, part) and not _size(part):
                    os.remove(part)
            return


def _is_at(file: BinaryIO, path: str) -> bool:
    return os.path.exists(path) and os.path.samestat(os.fstat(file.fileno()), os.stat(path))


def _fill(remote: Remote, part: str, progress: Callable[[str], None]) -> None:
    """Appends to the partial file until it is complete."""
    fruitless, broken = 0, None
    while fruitless < _FRUITLESS:
        time.sleep(_PAUSE * fruitless)
        before = _size(part)
        try:
            if _transfer(remote, part, before, progress):
                return
            broken = None
        except (OSError, http.client.HTTPException) as error:
            broken = error
        fruitless = 0 if _size(part) > before else fruitless + 1
    if broken is not None:
        reason = one_line(broken).removeprefix("<urlopen error ").removesuffix(">")
        raise _Unreachable(reason) from broken
    raise _Useless(f"it ends early, after {_size(part):,} bytes")


def _transfer(remote: Remote, part: str, start: int, progress: Callable[[str], None]) -> bool:
    """Asks once for the bytes from `start` on and appends what comes.

    Returns:
      Whether the file is complete.
    """
    try:
        response = _open(remote.url, start)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            if error.headers.get("Content-Range") == f"bytes */{start}":
                return True
            raise _Useless(f"{part!r} holds {start:,} bytes, more than the server has") from error
        if error.code < 500:
            raise _Useless(f"the server answers {error.code} {error.reason}") from error
        raise
    with response:
        if response.status != http.client.PARTIAL_CONTENT:
            start = 0
        elif not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            sent = response.headers.get("Content-Range")
            raise _Useless(f"asked for bytes from {start}, the server sends {sent!r}")
        length = response.headers.get("Content-Length")
        total = remote.size if length is None else start + int(length)
        if remote.size is not None and total != remote.size:
            raise _Useless(f"the server has {total:,} bytes, the file should have {remote.size:,}")
        with open(part, "ab" if start else "wb") as file:
            _copy(response, file, start, total, _Progress(os.path.basename(remote.url), progress))
    return total is None or _size(part) == total


def _open(url: str, start: int) -> http.client.HTTPResponse:
    headers = {"Accept-Encoding": "identity", "User-Agent": "edp_jax"}
    if start:
        headers["Range"] = f"bytes={start}-"
    return urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=_TIMEOUT)


def _copy(
    response: BinaryIO, file: BinaryIO, done: int, total: int | None, report: "_Progress"
) -> None:
    report(done, total, always=True)
    while block := response.read(_BLOCK):
        file.write(block)
        done += len(block)
        report(done, total, always=done == total)


class _Progress:
    """Tells now and then how far a download is, how fast, and how long it still takes."""

    def __init__(self, name: str, progress: Callable[[str], None]):
        self._name, self._progress = name, progress
        self._began = self._told = time.monotonic()
        self._start: int | None = None

    def __call__(self, done: int, total: int | None, *, always: bool) -> None:
        now = time.monotonic()
        if self._start is None:
            self._start = done
        if not always and now - self._told < _PROGRESS_PERIOD:
            return
        self._told = now
        line = f"  {self._name}: {done / 1e6:.1f} MB"
        if total is not None:
            line += f" of {total / 1e6:.1f} MB"
        speed = (done - self._start) / max(now - self._began, 1e-9)
        if speed:
            line += f", {speed / 1e6:.1f} MB/s"
            if total is not None:
                line += f", {(total - done) / speed:.0f} s left"
        self._progress(line)


def _check(remote: Remote, part: str) -> None:
    if remote.size is not None and _size(part) != remote.size:
        raise _Useless(f"it has {_size(part):,} bytes, the file should have {remote.size:,}")
    if remote.sha256 is not None:
        digest = sha256_of(part)
        if digest != remote.sha256:
            raise _Useless(f"its sha256 is {digest}, not {remote.sha256}")


def _size(path: str) -> int:
    return os.path.getsize(path) if os.path.exists(path) else 0
