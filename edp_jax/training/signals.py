"""Signals that ask a run to stop."""

import signal
import sys
from types import FrameType, TracebackType
from typing import Any, Self

from edp_jax.training.hosts import Stopped


class StopSignals:
    """Makes SIGINT and SIGTERM end the run at the next safe point, within a `with` block.

    The first signal is only noted; the run asks for it with `check`. After it the signals have
    their old effect again, so a second one ends the program at once.
    """

    def __init__(self) -> None:
        self._requested = False
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._previous[number] = signal.signal(number, self._request)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._restore()

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
        self._restore()
        text = "\nstopping after the current chunk; once more to stop at once"
        print(text, file=sys.stderr, flush=True)

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
