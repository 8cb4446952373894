"""Where metrics go besides the tables of a run: TensorBoard, Weights & Biases."""

import importlib
import json
import os
import sys
import types
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from edp_jax.errors import not_installed, one_line
from edp_jax.files import plain, write_json
from edp_jax.training.members import Member
from edp_jax.types import InputError


class Writer(Protocol):
    """Takes the metrics of a run as they come."""

    def write(
        self, step: int, members: Sequence[Member], metrics: Mapping[str, np.ndarray]
    ) -> None:
        """Takes the metrics of one step.

        Args:
          step: updates done.
          members: R of them.
          metrics: arrays [R] by name.
        """
        ...

    def close(self) -> None:
        """Writes out what is still in memory."""
        ...


class TensorBoard:
    """Event files for TensorBoard.

    Each member has its own folder, DIR/tensorboard/seed_<seed>[_<setting>_<value>], so that their
    curves share a chart.
    """

    def __init__(self, workdir: str, members: Sequence[Member], first_step: int):
        """Opens a file per member.

        Args:
          workdir: folder of the run.
          members: R of them.
          first_step: updates done; curves of an earlier start are cut there.

        Raises:
          InputError: the package is not installed.
        """
        library = _library("tensorboard")
        purge_step = first_step + 1 if first_step else None
        self._writers = {
            member: library.SummaryWriter(
                os.path.join(workdir, "tensorboard", member.name), purge_step=purge_step
            )
            for member in members
        }

    def write(
        self, step: int, members: Sequence[Member], metrics: Mapping[str, np.ndarray]
    ) -> None:
        """As `Writer.write`."""
        for index, member in enumerate(members):
            for name, value in metrics.items():
                self._writers[member].add_scalar(name, float(value[index]), step)

    def close(self) -> None:
        """As `Writer.close`."""
        for writer in self._writers.values():
            writer.close()


class WeightsAndBiases:
    """One run of Weights & Biases per workdir, with a chart per metric and member.

    A run that goes on does so in the same run there.
    """

    def __init__(self, workdir: str, config: Mapping, project: str = "edp_jax"):
        """Opens the run.

        Args:
          workdir: folder of the run.
          config: shown with it.
          project: where it is listed.

        Raises:
          InputError: the package is not installed, or nobody is logged in.
        """
        library = _library("wandb")
        id_path = os.path.join(workdir, "wandb_run.json")
        known = _known_id(id_path)
        identifier = known or uuid.uuid4().hex[:12]
        try:
            self._run: Any = library.init(
                project=project, dir=workdir, id=identifier, resume="allow", config=plain(config)
            )
        except Exception as error:
            raise InputError(
                f"writer 'wandb': {one_line(error)}; log in with `wandb login`, set "
                "WANDB_MODE=offline, or leave it out"
            ) from error
        if known is None:
            write_json(id_path, {"id": identifier})

    def write(
        self, step: int, members: Sequence[Member], metrics: Mapping[str, np.ndarray]
    ) -> None:
        """As `Writer.write`."""
        values = {
            f"{name}/{member.name}": float(value[index])
            for name, value in metrics.items()
            for index, member in enumerate(members)
        }
        self._run.log(values, step=step)

    def close(self) -> None:
        """As `Writer.close`."""
        self._run.finish()


def _known_id(path: str) -> str | None:
    """The run that the workdir had there before; None where there is none, or it cannot be read."""
    try:
        with open(path, encoding="utf-8-sig") as file:
            return str(json.load(file)["id"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def close_all(writers: Sequence[Writer]) -> None:
    """Closes writers; what goes wrong is told and costs nothing else."""
    for writer in writers:
        try:
            writer.close()
        except Exception as error:
            print(f"warning: {type(writer).__name__}: {one_line(error)}", file=sys.stderr)


_PACKAGES = {"tensorboard": "tensorboardX", "wandb": "wandb"}


def check_kinds(kinds: Sequence[str]) -> None:
    """Refuses writers that `open_writers` could not open.

    Raises:
      InputError: an unknown kind, or its package is not installed.
    """
    for kind in kinds:
        if kind not in _PACKAGES:
            raise InputError(f"writer {kind!r}: unknown; use {' or '.join(map(repr, _PACKAGES))}")
        _library(kind)


def open_writers(
    kinds: Sequence[str], workdir: str, members: Sequence[Member], config: Mapping, first_step: int
) -> list[Writer]:
    """Opens the writers that a run asks for.

    Args:
      kinds: "tensorboard", "wandb".
      workdir: folder of the run.
      members: R of them.
      config: of the run.
      first_step: updates done.

    Raises:
      InputError: see `check_kinds`.
    """
    check_kinds(kinds)
    makers = {
        "tensorboard": lambda: TensorBoard(workdir, members, first_step),
        "wandb": lambda: WeightsAndBiases(workdir, config),
    }
    return [makers[kind]() for kind in kinds]


def _library(kind: str) -> types.ModuleType:
    try:
        return importlib.import_module(_PACKAGES[kind])
    except ImportError as error:
        raise not_installed(f"writer {kind!r}", error, "log") from error
