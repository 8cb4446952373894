"""times.csv: how long a run has taken so far."""

import csv
import os
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from edp_jax.training import tables
from edp_jax.training.members import Member
from edp_jax.types import InputError

FILE_NAME = "times.csv"
_COLUMNS = ("step", "seconds", "evaluating")


class Clock:
    """A `writers.Writer` that notes the time of every row of metrics.csv.

    The columns are step; seconds, since the run began, its earlier starts included and what they
    did after their last checkpoint not; and evaluating, how many of these went into evaluations,
    but for those that failed. A run that began without a clock goes on without one.
    """

    def __init__(
        self, workdir: str, first_step: int, now: Callable[[], float] = time.monotonic
    ) -> None:
        """Starts the clock.

        Args:
          workdir: folder of the run.
          first_step: updates done; later rows of an earlier start are dropped.
          now: the time in seconds.

        Raises:
          InputError: the folder has another file of that name.
        """
        path = os.path.join(workdir, FILE_NAME)
        tables.truncate(path, first_step)
        rows = read(workdir)
        self._now, self._noted = now, len(rows) > 0 or not first_step
        self._table = tables.CsvTable(path)
        self._seconds, self._evaluating = rows[-1, 1:] if len(rows) else (0.0, 0.0)
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
            times = step, round(float(self._seconds), 3), round(float(self._evaluating), 3)
            self._table.append([dict(zip(_COLUMNS, times, strict=True))])

    def close(self) -> None:
        """As `Writer.close`: every row is written at once."""


def read(workdir: str) -> np.ndarray:
    """Reads the times of a run.

    Returns:
      [T, 3]: step, seconds and evaluating, see `Clock`. T is 0 where there are none.

    Raises:
      InputError: the file is no table of times.
    """
    path = os.path.join(workdir, FILE_NAME)
    lines = tables.read_lines(path)
    rows = [] if lines is None else list(csv.DictReader([lines.header, *lines.rows]))
    try:
        times = [[float(row[name]) for name in _COLUMNS] for row in rows]
    except (KeyError, ValueError) as error:
        raise InputError(f"{path}: not the table of this run; restore or remove it") from error
    return np.array(times).reshape(-1, len(_COLUMNS))
