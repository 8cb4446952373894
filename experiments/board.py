"""What a sweep shows while it goes on: a live table on a terminal, lines elsewhere."""

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Self

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from .jobs import FAILED, FINISHED, RUNNING, STOPPED, WAITING

_COLORS = {RUNNING: "cyan", FINISHED: "green", FAILED: "red", STOPPED: "yellow", WAITING: "dim"}
_ORDER = (RUNNING, FAILED, STOPPED, WAITING, FINISHED)  # what matters most comes first
_PERIOD = 60.0  # seconds between two lines about all runs, where there is no terminal


class Row(NamedTuple):
    """What is known of a run."""

    name: str
    state: str
    status: Mapping[str, Any] = {}  # from status.json
    reason: str = ""  # why it failed


def table(rows: Sequence[Row], height: int) -> Table:
    """A table of runs with as many rows as there is room for, and a count of all states.

    Args:
      rows: of all runs.
      height: lines of the terminal.
    """
    shown = sorted(rows, key=lambda row: _ORDER.index(row.state))[: max(1, height - 6)]
    left = len(rows) - len(shown)
    title = summary(rows) + (f"; {left} more are not shown" if left else "")
    made = Table(title=title, title_justify="left", expand=True)
    for heading in ("run", "state", "step", "score", "updates/s", "left", "where"):
        made.add_column(heading, overflow="fold" if heading == "run" else "ellipsis")
    for row in shown:
        state = f"[{_COLORS[row.state]}]{row.state}[/]"
        if row.reason:
            state += f": {escape(row.reason)}"
        made.add_row(escape(row.name), state, *cells(row))
    return made


def cells(row: Row) -> tuple[str, ...]:
    """Step, score, speed, time left and place of a run in words; empty where there are none."""
    status = row.status
    if row.state == WAITING or not status:
        return ("",) * 5
    step, rate = status.get("step"), status.get("updates_per_second")
    attempt = status.get("attempt", 1)
    return (
        "" if step is None else f"{step:,} / {status['num_steps']:,}",
        status.get("evaluated") or "",
        "" if rate is None else f"{rate:,.1f}",
        status.get("left", "") if row.state == RUNNING else "",
        str(status.get("host", "")) + (f", start {attempt}" if attempt > 1 else ""),
    )


def summary(rows: Iterable[Row]) -> str:
    """How many runs there are in each state, as in "3 running, 1 failed"."""
    counts = Counter(row.state for row in rows)
    return ", ".join(f"{counts[state]} {state}" for state in _ORDER if counts[state])


class Board:
    """Shows rows whenever it gets them, within a `with` block."""

    def __init__(self, console: Console | None = None):
        """Shows on a console, by default the terminal or the file that stdout is."""
        self._console = console or Console()
        self._live = Live(console=self._console, auto_refresh=False)
        self._states: dict[str, str] = {}
        self._printed = time.monotonic()

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def show(self, rows: Sequence[Row]) -> None:
        """Shows how all runs are.

        Args:
          rows: one per run, in the order of the suite.
        """
        if self._console.is_terminal:
            self._live.update(table(rows, self._console.height), refresh=True)
            return
        for row in rows:
            if row.state not in (self._states.get(row.name, WAITING), STOPPED):
                self._tell(row)
            self._states[row.name] = row.state
        if time.monotonic() - self._printed > _PERIOD:
            self._printed = time.monotonic()
            self._console.print(summary(rows), highlight=False, markup=False)

    def _tell(self, row: Row) -> None:
        details = row.reason or " | ".join(filter(None, cells(row)))
        line = f"{row.state:8} {row.name}" + (f": {details}" if details else "")
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)
