"""times.csv: how long a run has taken so far."""

import csv
import os
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from edp_jax.training import tables
from edp_jax.training.members import Member

FILE_NAME = "times.csv"
COLUMNS = ("seconds", "evaluating")  # after the column step


class Clock:
    """A `writers.Writer` that notes the time of every row of metrics.csv.

    The columns are step; seconds, since the run began, its earlier starts included and what they
    did after their last checkpoint not; and evaluating, how many of these went into evaluations. A
    run that began without a clock goes on without one.
    """

    def __init__(
        self, workdir: str, first_step: int, now: Callable[[], float] = time.monotonic
    ) -> None:
        """Starts the clock.

        Args:
          workdir: folder of the run.
          first_step: updates done; later rows of an earlier start are dropped.
          now: the time in seconds.
        """
        path = os.path.join(workdir, FILE_NAME)
        tables.truncate(path, first_step)
        lines = tables.read_lines(path)
        rows = [] if lines is None else list(csv.DictReader([lines.header, *lines.rows]))
        last = rows[-1] if rows else dict.fromkeys(COLUMNS, "0")
        self._now, self._noted = now, bool(rows) or not first_step
        self._table = tables.CsvTable(path)
        self._seconds, self._evaluating = (float(last[name]) for name in COLUMNS)
        self._before = now()

    def write(
        self, step: int, members: Sequence[Member], metrics: Mapping[str, np.ndarray]
    ) -> None:
        """As `Writer.write`; metrics of an evaluation end one, others end a chunk of updates."""
        now = self._now()
        passed, self._before = now - self._before, now
        self._seconds += passed
        if all(name.startswith("evaluation/") for name in metrics):
            self._evaluating += passed
        elif self._noted:
            times = round(self._seconds, 3), round(self._evaluating, 3)
            self._table.append([{"step": step} | dict(zip(COLUMNS, times, strict=True))])

    def close(self) -> None:
        """As `Writer.close`: every row is written at once."""
