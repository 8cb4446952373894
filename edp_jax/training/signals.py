"""Signals that ask a run to stop."""

import contextlib
import os
import signal
from types import FrameType, TracebackType
from typing import Any, Self

from edp_jax.training.hosts import Stopped

# by hand, by schedulers before they end a job, by a terminal that closes; not all systems have all
_NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU")
_STDERR = 2


class StopSignals:
    """Makes signals end the run at the next safe point, within a `with` block.

    They are SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2 and SIGXCPU. One that is ignored when the
    block begins, as SIGHUP is under nohup, stays so. The first signal is only noted; the run asks
    for it with `check`. A second one ends the process at once, without a traceback.
    """

    def __init__(self) -> None:
        self._requested = False
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Self:
        for name in _NAMES:
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
                self._previous[number] = signal.signal(number, self._request)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def check(self) -> None:
        """Ends the run if a signal has come.

        Raises:
          Stopped: it has.
        """
        if self._requested:
            raise Stopped

    def _request(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self._requested = True
        for each in self._previous:
            signal.signal(each, signal.SIG_DFL)
        # not by print, which the signal may have interrupted
        with contextlib.suppress(OSError):
            os.write(_STDERR, b"\nstopping after the current chunk; once more to stop at once\n")
