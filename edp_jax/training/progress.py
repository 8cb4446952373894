"""What a run tells on the terminal while it trains."""

import math
import sys
import time
from collections.abc import Sequence

import numpy as np

from edp_jax.evaluation import finite_mean
from edp_jax.training.evaluator import Evaluation
from edp_jax.training.members import Member

PRINT_PERIOD = 20.0  # seconds between two lines where the output is not a terminal
LONG_RUN = 600.0  # seconds from which on a run is announced with the time it will take


def duration(seconds: float) -> str:
    """Returns a time in words, as in "42 s", "3 min 05 s", "2 h 03 min"."""
    if not math.isfinite(seconds):
        return "? s"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {seconds:02d} s" if minutes else f"{seconds} s"


def headline(members: Sequence[Member], evaluation: Evaluation) -> str:
    """Sums an evaluation up in a few words.

    Args:
      members: R of them.
      evaluation: E episodes of each.

    Returns:
      The mean score over all members that have one, as in "score 87.2", or return where there is no
      score. In a sweep that of its best point, and which one it is; points of which a member has no
      score come last.
    """
    means = evaluation.means
    points: dict[tuple, list[float]] = {}
    for member, mean in zip(members, means, strict=True):
        points.setdefault(member.point, []).append(float(mean))
    of_point = {point: float(finite_mean(values)) for point, values in points.items()}
    if len(of_point) == 1:
        return f"{evaluation.unit} {next(iter(of_point.values())):.1f}"
    whole = {point: float(np.mean(values)) for point, values in points.items()}
    best = max(whole, key=lambda point: np.nan_to_num(whole[point], nan=-np.inf))
    where = ", ".join(f"{name} {value}" for name, value in best)
    return f"best {evaluation.unit} {of_point[best]:.1f} at {where}"


def progress_line(
    step: int,
    num_steps: int,
    updates_per_second: float | None,
    seconds_left: float,
    evaluated: str | None = None,
) -> str:
    """Makes the line that tells how far a run is.

    Args:
      step: updates done.
      num_steps: updates of the whole run.
      updates_per_second: of each member; None before it is known.
      seconds_left: until the end.
      evaluated: `headline` of the newest evaluation, if there was one.
    """
    speed = "compiled" if updates_per_second is None else f"{updates_per_second:,.1f} updates/s"
    parts = [
        f"{100 * step / num_steps:5.1f} %",
        f"{step:,} / {num_steps:,} updates",
        speed,
        f"{duration(seconds_left)} left",
    ]
    return " | ".join(parts + ([evaluated] if evaluated else []))


def estimate(members: Sequence[Member], num_updates: int, updates_per_second: float) -> str | None:
    """Tells how long a run will take, where that is more than ten minutes.

    Args:
      members: R of them.
      num_updates: that are still to do, per member.
      updates_per_second: of each member.

    Returns:
      A line, or None for a short run.
    """
    seconds = num_updates / updates_per_second
    if seconds <= LONG_RUN:
        return None
    num_points = len({member.point for member in members})
    num_seeds = len(members) // num_points
    seeds = f"{num_seeds} seed{'s' if num_seeds > 1 else ''}"
    points = f" x {num_points} points of the sweep" if num_points > 1 else ""
    return (
        f"{seeds}{points} x {num_updates:,} updates: about {duration(seconds)} here, evaluations "
        "aside; --config.num_steps=... makes it shorter"
    )


class Progress:
    """Measures how fast a run trains, and tells how far it is.

    On a terminal the line is rewritten in place; elsewhere it is printed from time to time.
    """

    def __init__(self, members: Sequence[Member], start: int, num_steps: int):
        """Begins to measure.

        Args:
          members: R of them.
          start: updates done before.
          num_steps: updates of the whole run.
        """
        self._members, self._start, self._num_steps = members, start, num_steps
        self._in_place = sys.stdout.isatty()
        self._updates, self._seconds = 0, 0.0  # of all chunks but those that compiled
        self._rate: float | None = None  # of the newest chunk; None after one that compiled
        self._step = start
        self._compiled: tuple[int, float] | None = None  # step and time when that was done last
        self._printed = -math.inf

    @property
    def updates_per_second(self) -> float | None:
        """Of each member, in the chunks that did not compile; None before there is one."""
        return self._updates / self._seconds if self._updates else None

    def chunk_done(self, num_updates: int, seconds: float, *, compiled: bool) -> None:
        """Counts the updates of one call of `Trainer.train`, and the time that it took.

        Args:
          num_updates: per member.
          seconds: that it took.
          compiled: whether its program was compiled in that time, which then tells no speed.
        """
        self._step += num_updates
        if compiled:
            self._compiled, self._rate = (self._step, time.monotonic()), None
            return
        self._rate = num_updates / seconds
        if not self._updates:
            self._print(estimate(self._members, self._num_steps - self._start, self._rate))
        self._updates, self._seconds = self._updates + num_updates, self._seconds + seconds

    def show(self, evaluated: str | None, *, always: bool) -> None:
        """Prints the line.

        Args:
          evaluated: `headline` of the newest evaluation, if there was one.
          always: print it even where another was printed a moment ago.
        """
        now = time.monotonic()
        if not (always or self._in_place or now - self._printed > PRINT_PERIOD):
            return
        self._printed = now
        left = self._seconds_left(now)
        line = progress_line(self._step, self._num_steps, self._rate, left, evaluated)
        self._print(line, end="\n" if always or not self._in_place else "")

    def _seconds_left(self, now: float) -> float:
        """From the time that passed since compiling, evaluations included; NaN before."""
        updates_left = self._num_steps - self._step
        step, began = self._compiled or (self._step, now)
        if self._step == step:
            return math.nan if updates_left else 0.0
        return (now - began) / (self._step - step) * updates_left

    def _print(self, line: str | None, end: str = "\n") -> None:
        if line is not None:
            print(f"\r\033[K{line}" if self._in_place else line, end=end, flush=True)
