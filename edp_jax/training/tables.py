"""The tables of a run: metrics.csv, evaluations.csv, and of an online run episodes.csv.

Floats are written with the fewest digits that read back to the same value, so the tables of a run
that was stopped and taken up again equal those of one that was not, byte for byte. A checkpoint
notes how many rows there were when it was saved, and a digest of them: a run that goes on compares.
`edp_jax.runs.Run` reads the tables.
"""

import csv
import hashlib
import io
import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from edp_jax.files import write_bytes, writing
from edp_jax.training.evaluator import Evaluation
from edp_jax.training.interaction import Finished
from edp_jax.training.members import Member
from edp_jax.training.rounds import Rounds
from edp_jax.types import InputError

METRICS, EVALUATIONS, EPISODES = "metrics.csv", "evaluations.csv", "episodes.csv"


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


def evaluation_rows(
    step: int, members: Sequence[Member], evaluation: Evaluation, env_steps: int | None = None
) -> list[dict]:
    """Makes the rows of evaluations.csv for one step.

    Args:
      step: updates done.
      members: R of them.
      evaluation: E episodes of each. Without scores that column is left empty.
      env_steps: that each member has taken in its environment while it was trained; None where the
        run is not one that does.

    Returns:
      R E rows with the columns step, env_steps (unless None), seed, the swept settings, episode,
      return, length and score.
    """
    returns, lengths, scores, _ = evaluation
    time = {"step": step} | ({} if env_steps is None else {"env_steps": env_steps})
    return [
        time
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


def episode_rows(
    rounds: Rounds, members: Sequence[Member], finished: Sequence[Finished]
) -> list[dict]:
    """Makes the rows of episodes.csv: of what the members met while they were trained.

    Args:
      rounds: of the online phase.
      members: R of them.
      finished: episodes that have ended.

    Returns:
      A row for each with the columns step (updates done at the end of the round in which it ended),
      env_steps (of the member until then), seed, the swept settings, episode, return and length.
    """
    return [
        {"step": rounds.end_of_round(each.env_step), "env_steps": each.env_step}
        | members[each.member].columns
        | {"episode": each.episode, "return": each.total, "length": each.length}
        for each in finished
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
        self._size, self._rows, self._digest = 0, 0, hashlib.sha256()
        if (lines := read_lines(path)) is not None:
            self._columns = lines.header.split(",")
            self._note(_text(lines.header, lines.rows), len(lines.rows))

    @property
    def rows_so_far(self) -> dict[str, Any]:
        """How many rows there are, and a digest of the whole table: see `find_difference`."""
        return {"rows": self._rows, "sha256": self._digest.hexdigest()}

    def append(self, rows: Sequence[Mapping]) -> None:
        """Appends rows and hands them to the operating system.

        Rows of a step are appended before the checkpoint of that step is saved: a table may have
        rows that the newest checkpoint does not cover, never the other way round.

        Raises:
          InputError: a row has other columns than the table, the table cannot be written, or
            something else has changed it meanwhile.
        """
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        columns = self._columns
        for row in rows:
            if columns is None:
                columns = list(row)
                writer.writerow(columns)
            if set(row) != set(columns):
                different = ", ".join(sorted(set(row) ^ set(columns)))
                raise InputError(
                    f"table {self._path!r}: its columns differ from this run's in {different}; "
                    "use a new --workdir"
                )
            values = (row[column] for column in columns)
            writer.writerow("" if value is None else str(value) for value in values)
        text = buffer.getvalue().encode()
        with writing(self._path), open(self._path, "ab") as file:
            if file.tell() != self._size:
                raise InputError(
                    f"{self._path}: something else has changed it while the run writes to it; give "
                    "the same command again: it goes back to where tables and checkpoint agree"
                )
            file.write(text)
        self._columns = columns
        self._note(text, len(rows))

    def _note(self, text: bytes, num_rows: int) -> None:
        self._digest.update(text)
        self._size, self._rows = self._size + len(text), self._rows + num_rows


class Lines(NamedTuple):
    """A table as text: what of it can be used."""

    header: str
    rows: list[str]
    steps: list[int]  # of the rows
    num_damaged: int  # lines that are no rows


def read_lines(path: str) -> Lines | None:
    """Reads the lines of a table that are whole.

    A last line without an end is left out silently, since a run may be writing it. A line that is
    there twice counts once. Lines that are not numbers, as many as the header has names, are
    counted as damaged.

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
    once = list(dict.fromkeys(lines[1:]))  # a row has its step, member and episode
    for line in once:
        cells = line.split(",")
        whole = len(cells) == len(header) and all(map(_is_number, cells))
        if whole and cells[position].isdecimal():
            rows.append(line)
            steps.append(int(cells[position]))
    return Lines(lines[0], rows, steps, len(once) - len(rows))


def _is_number(cell: str) -> bool:
    """Whether a cell holds a number or nothing."""
    try:
        float(cell or "nan")
    except ValueError:
        return False
    return True


def find_disagreement(
    workdir: str, step: int, notes: Mapping[str, Any], *, evaluated: bool = False
) -> str | None:
    """What the tables of a run lack of those that its checkpoint of a step was saved with.

    Args:
      workdir: DIR.
      step: of the checkpoint. It was saved after the metrics of that step were written.
      notes: of the checkpoint, or of summary.json: `CsvTable.rows_so_far` by the table's name.
      evaluated: whether they were made after that step was evaluated, as those of a summary are.
        Then the run has ended, and rows of later steps are a difference, noted or not.

    Returns:
      The first difference; None where there is none, or where nothing was noted.
    """
    for name, last in ((METRICS, step), (EPISODES, step), (EVALUATIONS, step - (not evaluated))):
        if evaluated or name in notes:
            path, saved = os.path.join(workdir, name), notes.get(name)
            if difference := find_difference(path, last, saved, ended=evaluated):
                return difference
    return None


def find_difference(
    path: str, step: int, saved: Mapping[str, Any] | None, *, ended: bool = False
) -> str | None:
    """Compares a table with what was in it when a checkpoint was saved.

    Args:
      path: the csv file; there may be none.
      step: rows of later steps are left out.
      saved: `CsvTable.rows_so_far` of that time; None: not known, and not compared.
      ended: whether the run ended with that step, so that rows of later ones are not its own.

    Returns:
      What is wrong with the table, None where it has the same rows.
    """
    try:
        lines = read_lines(path) or Lines("", [], [], 0)
    except InputError as error:
        return str(error)
    rows, last = _until(lines, step), max(lines.steps, default=0)
    if saved is not None and len(rows) != saved["rows"]:
        return f"{path} has {len(rows)} of its {saved['rows']} rows up to update {step:,}"
    digest = hashlib.sha256(_text(lines.header, rows)).hexdigest()
    if saved is not None and rows and digest != saved["sha256"]:
        return f"{path} has other rows up to update {step:,} than the run wrote"
    if ended and last > step:
        return f"{path} goes on to update {last:,}, its summary to {step:,}"
    return None


def truncate(path: str, step: int) -> None:
    """Drops what a table holds beyond a step, and lines that are damaged or there twice.

    Args:
      path: the csv file. There may be none; one without a whole header is removed, and one with no
        row left as well.
      step: of the last rows to keep.

    Raises:
      InputError: see `read_lines`; or it cannot be written.
    """
    lines = read_lines(path)
    kept = [] if lines is None else _until(lines, step)
    if lines is None or not kept:
        if os.path.isfile(path):
            with writing(path):
                os.remove(path)
        return
    if lines.num_damaged:
        print(f"{path}: {lines.num_damaged} damaged line(s) dropped", flush=True)
    write_bytes(path, _text(lines.header, kept))


def _until(lines: Lines, step: int) -> list[str]:
    return [line for line, of in zip(lines.rows, lines.steps, strict=True) if of <= step]


def _text(header: str, rows: Sequence[str]) -> bytes:
    return "".join(line + "\n" for line in [header, *rows]).encode()
