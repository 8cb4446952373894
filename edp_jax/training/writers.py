"""What a run leaves behind for people: CSV tables, JSON, the progress line, TensorBoard and W&B.

R members, E episodes; all values are numpy arrays or plain numbers. Floats are written with the fewest digits that read back
to the same value, so the tables of a resumed run equal those of an uninterrupted one byte for byte.
"""

import csv
import importlib
import io
import json
import math
import os
import types
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import numpy as np

from edp_jax.files import write_bytes
from edp_jax.training.members import Member
from edp_jax.types import InputError


def metric_rows(
    step: int, members: Sequence[Member], metrics: Mapping[str, np.ndarray]
) -> list[dict]:
    """Returns the R rows of metrics.csv for one step: step, seed, swept settings, one column per metric (each metric is [R])."""
    return [
        {"step": step} | member.columns | {name: value[index] for name, value in metrics.items()}
        for index, member in enumerate(members)
    ]


def evaluation_rows(
    step: int,
    members: Sequence[Member],
    returns: np.ndarray,
    lengths: np.ndarray,
    scores: np.ndarray | None,
) -> list[dict]:
    """Returns the R x E rows of evaluations.csv for one step; arrays are [R, E]. No `scores`: that column stays empty."""
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
    """A table that only grows; the columns are those of its first row, or of the file that is already there."""

    def __init__(self, path: str):
        self._path = path
        self._columns: list[str] | None = None
        if os.path.isfile(path):
            with open(path, newline="", encoding="utf-8") as file:
                self._columns = next(csv.reader(file), None)

    def append(self, rows: Iterable[Mapping]) -> None:
        """Appends `rows` and hands them to the operating system; do so before saving a checkpoint of the same step.

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
                    f"table {self._path!r}: its columns differ from this run's in {different}; use a new --workdir"
                )
            writer.writerow([_text(row[column]) for column in self._columns])
        with open(self._path, "a", newline="", encoding="utf-8") as file:
            file.write(buffer.getvalue())


def truncate(path: str, step: int) -> None:
    """Drops the rows of a table whose step is greater than `step`, and a last line that was not written to its end.

    For resuming from a checkpoint of that step. A missing table is fine; one without a whole header is removed.
    """
    if not os.path.isfile(path):
        return
    with open(path, newline="", encoding="utf-8") as file:
        lines = [line for line in file if line.endswith("\n")]
    if not lines:
        os.remove(path)
        return
    position = next(csv.reader(lines[:1])).index("step")
    kept = lines[:1] + [line for line in lines[1:] if int(line.split(",")[position]) <= step]
    write_bytes(path, "".join(kept).encode())


def last_step(path: str) -> int | None:
    """Returns the step of the last row of a table, None where there is no row."""
    if not os.path.isfile(path):
        return None
    with open(path, newline="", encoding="utf-8") as file:
        return max((int(row["step"]) for row in csv.DictReader(file)), default=None)


def write_json(path: str, value: object) -> None:
    """Writes `value`, numpy arrays and numbers included, as one indented JSON document; NaN and infinities become null.

    The file appears complete or not at all.
    """
    write_bytes(path, (json.dumps(_plain(value), indent=2, allow_nan=False) + "\n").encode())


class Writer(Protocol):
    """Where metrics go besides the tables."""

    def write(
        self, step: int, members: Sequence[Member], metrics: Mapping[str, np.ndarray]
    ) -> None:
        """Writes metrics [R] of one step."""

    def close(self) -> None:
        """Writes out what is still in memory."""


class TensorBoard:
    """Event files in DIR/tensorboard/seed_<seed>[_<setting>_<value>], so that their curves share a chart."""

    def __init__(self, workdir: str, members: Sequence[Member], first_step: int):
        library = _optional("tensorboardX")
        folder = os.path.join(workdir, "tensorboard")
        self._writers = {
            member: library.SummaryWriter(
                os.path.join(folder, member.name), purge_step=first_step + 1 if first_step else None
            )
            for member in members
        }

    def write(
        self, step: int, members: Sequence[Member], metrics: Mapping[str, np.ndarray]
    ) -> None:
        for index, member in enumerate(members):
            for name, value in metrics.items():
                self._writers[member].add_scalar(name, float(value[index]), step)

    def close(self) -> None:
        for writer in self._writers.values():
            writer.close()


class WeightsAndBiases:
    """One W&B run per workdir with a chart per metric and member; resuming goes on in the same W&B run."""

    def __init__(self, workdir: str, config: Mapping, project: str = "edp_jax"):
        library = _optional("wandb")
        id_path = os.path.join(workdir, "wandb_run.json")
        if os.path.isfile(id_path):
            with open(id_path, encoding="utf-8") as file:
                identifier = json.load(file)["id"]
        else:
            identifier = uuid.uuid4().hex[:12]
            write_json(id_path, {"id": identifier})
        self._run = library.init(
            project=project, dir=workdir, id=identifier, resume="allow", config=_plain(config)
        )

    def write(
        self, step: int, members: Sequence[Member], metrics: Mapping[str, np.ndarray]
    ) -> None:
        values = {
            f"{name}/{member.name}": float(value[i])
            for name, value in metrics.items()
            for i, member in enumerate(members)
        }
        self._run.log(values, step=step)

    def close(self) -> None:
        self._run.finish()


_PACKAGES = {"tensorboard": "tensorboardX", "wandb": "wandb"}


def check_kinds(kinds: Sequence[str]) -> None:
    """Refuses writers that `open_writers` could not open.

    Raises:
      InputError: an unknown kind, or its package is not installed.
    """
    for kind in kinds:
        if kind not in _PACKAGES:
            raise InputError(f"writer {kind!r}: unknown; use {' or '.join(map(repr, _PACKAGES))}")
        _optional(_PACKAGES[kind])


def open_writers(
    kinds: Sequence[str], workdir: str, members: Sequence[Member], config: Mapping, first_step: int
) -> list[Writer]:
    """Opens the optional writers named in `kinds` ("tensorboard", "wandb"); `first_step` is the restored step, or 0.

    Raises:
      InputError: see `check_kinds`.
    """
    check_kinds(kinds)
    makers = {
        "tensorboard": lambda: TensorBoard(workdir, members, first_step),
        "wandb": lambda: WeightsAndBiases(workdir, config),
    }
    return [makers[kind]() for kind in kinds]


def progress_line(
    step: int,
    num_steps: int,
    updates_per_second: float,
    seconds_left: float,
    latest_score: float | None = None,
) -> str:
    """Returns the line shown while training: percent, updates, updates per second, time left, latest score if any."""
    parts = [
        f"{100 * step / num_steps:5.1f} %",
        f"{step:,} / {num_steps:,} updates",
        f"{updates_per_second:,.1f} updates/s",
        f"{_duration(seconds_left)} left",
    ]
    if latest_score is not None:
        parts.append(f"score {latest_score:.1f}")
    return " | ".join(parts)


def _optional(package: str) -> types.ModuleType:
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise InputError(
            f"package {package!r}: not installed, but a writer needs it; run `pip install edp_jax[log]`"
        ) from error


def _text(value: object) -> str:
    """Returns "" for None, else the shortest text that reads back to the same number."""
    return "" if value is None else str(value)


def _plain(value: object) -> object:
    """Returns `value` with arrays as lists, numpy numbers as Python's, and None for numbers that JSON does not have."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _duration(seconds: float) -> str:
    if not math.isfinite(seconds):
        return "? s"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {seconds:02d} s" if minutes else f"{seconds} s"
