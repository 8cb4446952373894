"""The tables of a run: metrics.csv and evaluations.csv.

Floats are written with the fewest digits that read back to the same value, so the tables of a run
that was stopped and taken up again equal those of one that was not, byte for byte.
`edp_jax.runs.Run` reads them.
"""

import csv
import io
import math
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from edp_jax.evaluation import episode_means
from edp_jax.files import write_bytes
from edp_jax.training.evaluator import Evaluation
from edp_jax.training.members import Member
from edp_jax.types import InputError


def metric_rows(
    step: int, members: Sequence[Member], metrics: Mapping[str, np.ndarray]
) -> list[dict]:
    """Makes the rows of metrics.csv for one step.

    Args:
      step: updates done.
      members: R of them.
      metrics: arrays [R] by name.

    Returns:
      R rows with the columns step, seed, the swept settings, and one per metric.
    """
    return [
        {"step": step} | member.columns | {name: value[index] for name, value in metrics.items()}
        for index, member in enumerate(members)
    ]


def evaluation_rows(step: int, members: Sequence[Member], evaluation: Evaluation) -> list[dict]:
    """Makes the rows of evaluations.csv for one step.

    Args:
      step: updates done.
      members: R of them.
      evaluation: E episodes of each. Without scores that column is left empty.

    Returns:
      R E rows with the columns step, seed, the swept settings, episode, return, length and score.
    """
    returns, lengths, scores, _ = evaluation
    return [
        {"step": step}
        | member.columns
        | {
            "episode": episode,
            "return": returns[index, episode],
            "length": lengths[index, episode],
            "score": None if scores is None else scores[index, episode],
        }
        for index, member in enumerate(members)
        for episode in range(returns.shape[1])
    ]


class CsvTable:
    """A table that only grows; its columns are those of its first row, or of the file there."""

    def __init__(self, path: str):
        """Opens a table; the file is made with the first row.

        Args:
          path: the csv file.
        """
        self._path = path
        self._columns: list[str] | None = None
        if (lines := read_lines(path)) is not None:
            self._columns = lines.header.split(",")

    def append(self, rows: Iterable[Mapping]) -> None:
        """Appends rows and hands them to the operating system.

        Rows of a step are appended before the checkpoint of that step is saved: a table may have
        rows that the newest checkpoint does not cover, never the other way round.

        Raises:
          InputError: a row has other columns than the table.
        """
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        for row in rows:
            if self._columns is None:
                self._columns = list(row)
                writer.writerow(self._columns)
            if set(row) != set(self._columns):
                different = ", ".join(sorted(set(row) ^ set(self._columns)))
                raise InputError(
                    f"table {self._path!r}: its columns differ from this run's in {different}; "
                    "use a new --workdir"
                )
            values = (row[column] for column in self._columns)
            writer.writerow("" if value is None else str(value) for value in values)
        with open(self._path, "a", newline="", encoding="utf-8") as file:
            file.write(buffer.getvalue())


class Lines(NamedTuple):
    """A table as text: what of it can be used."""

    header: str
    rows: list[str]
    steps: list[int]  # of the rows
    num_damaged: int  # lines that are no rows


def read_lines(path: str) -> Lines | None:
    """Reads the lines of a table that are whole.

    A last line without an end is left out silently, since a run may be writing it. Lines that are
    not numbers, as many as the header has names, are counted as damaged.

    Args:
      path: the csv file.

    Returns:
      The lines, without their ends; None where there is no file, or none with a whole header.

    Raises:
      InputError: the file cannot be read, or its first line is not the header of a table.
    """
    if not os.path.isfile(path):
        return None
    try:
        with open(path, newline="", encoding="utf-8-sig", errors="replace") as file:
            lines = [line.rstrip("\r\n") for line in file if line.endswith("\n")]
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); mend or remove it") from error
    if not lines:
        return None
    header = lines[0].split(",")
    if "step" not in header:
        raise InputError(f"{path}: its first line is not that of a table; restore it, or remove it")
    position, rows, steps = header.index("step"), [], []
    for line in lines[1:]:
        cells = line.split(",")
        if (
            len(cells) == len(header)
            and all(map(_is_number, cells))
            and cells[position].isdecimal()
        ):
            rows.append(line)
            steps.append(int(cells[position]))
    return Lines(lines[0], rows, steps, len(lines) - 1 - len(rows))


def _is_number(cell: str) -> bool:
    """Whether a cell holds a number or nothing."""
    try:
        float(cell or "nan")
    except ValueError:
        return False
    return True


class Best(NamedTuple):
    """The evaluation with the highest mean over all episodes of all members, the first if several.

    In a run with a sweep it is that of no single point.
    """

    step: int | None = None  # updates done; None before the first
    mean: float = -math.inf  # of scores, or of returns where there are none

    def better(self, step: int, values: np.ndarray, lengths: np.ndarray) -> "Best":
        """This one, or the evaluation after `step` updates where it is better.

        Args:
          step: updates done.
          values: [...] scores, or returns where there are none.
          lengths: [...]; an episode of length -1 does not count.
        """
        mean = float(episode_means(np.ravel(values), np.ravel(lengths)))
        return Best(step, mean) if mean > self.mean else self


def find_best(path: str, steps: Collection[int]) -> Best:
    """Reads the best evaluation from a table.

    Args:
      path: evaluations.csv; there may be none.
      steps: only evaluations after so many updates count, such as those whose state is saved.
    """
    lines, best = read_lines(path), Best()
    if lines is None:
        return best
    rows = [dict(zip(lines.header.split(","), row.split(","), strict=True)) for row in lines.rows]
    for step in sorted(set(lines.steps) & set(steps)):
        own = [row for row, of in zip(rows, lines.steps, strict=True) if of == step]
        values = np.array([float(row["score"] or row["return"]) for row in own])
        best = best.better(step, values, np.array([int(row["length"]) for row in own]))
    return best


def truncate(path: str, step: int) -> int | None:
    """Drops what a table holds beyond a checkpoint, and lines that are damaged.

    Args:
      path: the csv file. There may be none; one without a whole header is removed.
      step: of the checkpoint.

    Returns:
      The step of the last row that is left, None where there is no row.

    Raises:
      InputError: see `read_lines`.
    """
    lines = read_lines(path)
    if lines is None:
        if os.path.isfile(path):
            os.remove(path)
        return None
    if lines.num_damaged:
        print(f"{path}: {lines.num_damaged} damaged line(s) dropped", flush=True)
    kept = [line for line, of in zip(lines.rows, lines.steps, strict=True) if of <= step]
    write_bytes(path, "".join(line + "\n" for line in [lines.header, *kept]).encode())
    return max((of for of in lines.steps if of <= step), default=None)
