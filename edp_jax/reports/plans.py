"""What a sweep was to train: the runs that its suite.json lists."""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any

from edp_jax.configuration import make_config
from edp_jax.files import read_json
from edp_jax.reports.folders import PLAN, Unreadable
from edp_jax.reports.results import task_name
from edp_jax.training.members import grid
from edp_jax.types import InputError


@dataclasses.dataclass(frozen=True, eq=False)
class Planned:
    """One seed of a run that there should be."""

    workdir: str
    task: str  # of a file its name
    learner: str
    settings: Mapping[str, Any]  # of the run, those of the sweep's point put in
    seed: int


def read_plans(sweeps: Sequence[str]) -> tuple[list[Planned], list[Unreadable]]:
    """Reads the suite.json of sweeps; one that cannot be read is told, and plans nothing."""
    planned, unreadable = [], []
    for folder in sweeps:
        path = os.path.join(folder, PLAN)
        try:
            runs = [each for record in read_json(path) for each in _members(folder, record)]
        except (OSError, AttributeError, KeyError, TypeError, ValueError, InputError):
            reason = "not the plan of a sweep; the command of the sweep writes it again"
            unreadable.append(Unreadable(path, reason, "no plan"))
        else:
            planned += runs
    return planned, unreadable


def _members(folder: str, record: Mapping[str, Any]) -> list[Planned]:
    """The seeds of a run; older plans have only what was changed of its configuration."""
    config = record.get("settings") or {
        **make_config(record["config"], record["task"]),
        **record["overrides"],
    }
    workdir = os.path.normpath(os.path.join(folder, record["name"]))
    task = task_name(config["task"])
    return [
        Planned(workdir, task, config["algorithm"], {**config, **dict(each.point)}, each.seed)
        for each in grid(config["seeds"], config["sweep"])
    ]
