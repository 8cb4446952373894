"""Waiting for a simulator, but not for ever."""

import queue
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self, TypeVar

T = TypeVar("T")
_POLL = 0.2  # seconds between two questions whether to stop


class Patience:
    """Calls functions in a thread of its own, and waits only so long for each.

    with Patience(60.0) as call:
        observation, _ = call(env.reset)

    A function that does not return in time is left to itself: its thread dies with the process.
    """

    def __init__(self, seconds: float, check_stop: Callable[[], None] = lambda: None):
        """Starts the thread.

        Args:
          seconds: that a call may take.
          check_stop: called while it waits; it may raise to end that.
        """
        self._seconds, self._check_stop = seconds, check_stop
        self._calls: queue.SimpleQueue[Callable[[], Any] | None] = queue.SimpleQueue()
        self._results: queue.SimpleQueue[tuple[Any, Exception | None]] = queue.SimpleQueue()
        threading.Thread(target=self._work, name="simulators", daemon=True).start()

    def __call__(self, function: Callable[[], T]) -> T:
        """Returns what `function` returns, or raises what it raises.

        Raises:
          TimeoutError: it takes too long.
        """
        self._calls.put(function)
        end = time.monotonic() + self._seconds
        while True:
            try:
                result, error = self._results.get(timeout=min(_POLL, self._seconds))
            except queue.Empty:
                self._check_stop()
                if time.monotonic() > end:
                    raise TimeoutError(f"it takes longer than {self._seconds:g} s") from None
                continue
            if error is not None:
                raise error
            return result

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._calls.put(None)

    def _work(self) -> None:
        while (function := self._calls.get()) is not None:
            try:
                self._results.put((function(), None))
            except Exception as error:
                self._results.put((None, error))
            except BaseException as error:  # as a simulator that calls sys.exit
                self._results.put((None, RuntimeError(f"{type(error).__name__}: {error}")))
