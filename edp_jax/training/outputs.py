"""The files of a run besides its tables: config.json at the start; summary.json and the learning curve at the end."""

import csv
import importlib.metadata
import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence

import jax
import numpy as np

from edp_jax.evaluation import normalized_score, summarize
from edp_jax.training import plots, writers
from edp_jax.training.members import Member
from edp_jax.types import InputError

PER_PROCESS = {
    "process_id",
    "data_dir",
    "compilation_cache",
}  # may differ between the processes of a run
MAY_CHANGE = PER_PROCESS | {  # when it goes on
    *(
        "num_steps",
        "writers",
        "data_placement",
        "distributed",
        "coordinator_address",
        "num_processes",
    )
}
_PACKAGES = (
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "orbax-checkpoint",
    "numpy",
    "gymnasium",
    "gymnasium-robotics",
    "mujoco",
)


def check_workdir(workdir: str, config: Mapping, dataset: Mapping) -> None:
    """Refuses a folder that cannot take this run, before anything is written.

    Raises:
      InputError: the folder cannot be written, or holds something else than a run of this configuration and dataset.
    """
    try:
        os.makedirs(workdir, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"--workdir={workdir}: cannot be made ({error.strerror}); name a folder that can be written"
        ) from error
    if not os.access(workdir, os.W_OK):
        raise InputError(f"--workdir={workdir}: cannot be written; name a folder that can")
    record = read_record(workdir)
    if record is None:
        if os.path.exists(os.path.join(workdir, "checkpoints")):
            raise InputError(
                f"--workdir={workdir}: holds checkpoints but no config.json; use a new --workdir"
            )
        return
    previous, config = record["config"], _as_json(config)
    for key in sorted((previous.keys() | config.keys()) - MAY_CHANGE):
        if previous.get(key) != config.get(key):
            raise InputError(
                f"--workdir={workdir}: holds a run with {key}={previous.get(key)!r}, not {config.get(key)!r}; "
                f"use a new --workdir, or that value to go on"
            )
    if record["dataset"]["sha256"] != dataset["sha256"]:
        raise InputError(
            f"--workdir={workdir}: its dataset {dataset['path'] or dataset['name']} has changed since; use a new --workdir"
        )


def identity(config: Mapping, dataset: Mapping) -> dict:
    """What the processes of a run must have in common."""
    return {
        "config": {key: value for key, value in config.items() if key not in PER_PROCESS},
        "sha256": dataset["sha256"],
    }


def check_shared(workdir: str) -> None:
    """Refuses a folder where config.json, which process 0 has written, does not appear.

    Raises:
      InputError: see above.
    """
    if not os.path.isfile(os.path.join(workdir, "config.json")):
        raise InputError(
            f"--workdir={workdir}: a process does not see what process 0 wrote there; name a folder all hosts share"
        )


def write_config(workdir: str, config: Mapping, dataset: Mapping, step: int) -> None:
    """Writes DIR/config.json: the resolved configuration, the dataset, and for every start of the run its step, the versions,
    the git commit and the devices."""
    record = read_record(workdir) or {"starts": []}
    start = {
        "step": step,
        "git_commit": git_commit(),
        "versions": {"python": platform.python_version()}
        | {name: _version(name) for name in ("edp_jax", *_PACKAGES)},
        "devices": [
            f"{device.platform}:{device.id} {device.device_kind}" for device in jax.devices()
        ],
    }
    record = {"config": config, "dataset": dataset, "starts": [*record["starts"], start]}
    writers.write_json(os.path.join(workdir, "config.json"), record)


def is_finished(workdir: str, num_steps: int) -> bool:
    """Whether DIR/summary.json is that of a run of `num_steps` updates."""
    path = os.path.join(workdir, "summary.json")
    if not os.path.isfile(path):
        return False
    with open(path, encoding="utf-8") as file:
        return json.load(file)["num_steps"] == num_steps


def read_record(workdir: str) -> dict | None:
    """DIR/config.json, or None where there is none.

    Raises:
      InputError: the file is not what `write_config` writes.
    """
    path = os.path.join(workdir, "config.json")
    if not os.path.exists(path):
        return None
    try:
        with open(path, encoding="utf-8") as file:
            record = json.load(file)
        return {key: record[key] for key in ("config", "dataset", "starts")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: not the config.json of a run; restore it, or use a new --workdir"
        ) from error


def _as_json(config: Mapping) -> dict:
    return json.loads(json.dumps(config))


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def git_commit() -> str | None:
    """Commit of the source tree, with "-dirty" where it was changed; None outside a git checkout."""
    command = [
        "git",
        "-C",
        os.path.dirname(__file__),
        "describe",
        "--always",
        "--abbrev=40",
        "--dirty",
    ]
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return result.stdout.strip() or None


def write_summary(
    workdir: str,
    config: Mapping,
    members: Sequence[Member],
    *,
    updates_per_second: float | None,
    wall_seconds: float,
    behaviour_return: float | None,
    reference_scores: tuple[float, float] | None,
) -> dict:
    """Writes DIR/summary.json and DIR/learning_curve.png from the run's tables and returns the summary.

    `updates_per_second` of each member, without compiling, and `wall_seconds` are those of the command that finished the run.
    In a sweep the measures stand under `points`, one entry per point of the grid.
    """
    behaviour_score = None
    if behaviour_return is not None and reference_scores is not None:
        behaviour_score = float(normalized_score(behaviour_return, reference_scores))
    table, sweep = os.path.join(workdir, "evaluations.csv"), [name for name, _ in members[0].point]
    summary = {
        "task": config["task"],
        "algorithm": config["algorithm"],
        "num_steps": config["num_steps"],
        "seeds": tuple(config["seeds"]),
        "behaviour_return": behaviour_return,
        "behaviour_score": behaviour_score,
    }
    if os.path.isfile(table):
        unit, values = read_evaluations(table, members)
        points = list(dict.fromkeys(member.point for member in members))
        measures = [
            summarize(values[:, [member.point == point for member in members]]) for point in points
        ]
        summary["unit"] = unit
        if points == [()]:
            summary |= measures[0]
        else:
            summary["points"] = [
                {"sweep": dict(point)} | measure
                for point, measure in zip(points, measures, strict=True)
            ]
        plots.plot_learning_curve(
            table,
            os.path.join(workdir, "learning_curve.png"),
            f"{config['algorithm']} on {config['task']}",
            reference=behaviour_score if unit == "score" else behaviour_return,
            sweep=sweep,
        )
    else:
        plots.plot_learning_curve(
            os.path.join(workdir, "metrics.csv"),
            os.path.join(workdir, "learning_curve.png"),
            f"{config['algorithm']} on {config['task']} (no environment: nothing was evaluated)",
            column="actor/loss",
            label="Policy loss",
            sweep=sweep,
        )
    total = None if updates_per_second is None else updates_per_second * len(members)
    summary["updates_per_second"] = {"per_seed": updates_per_second, "total": total}
    summary["wall_seconds"] = wall_seconds
    writers.write_json(os.path.join(workdir, "summary.json"), summary)
    return summary


def describe(summary: Mapping) -> str:
    """The summary in two or three lines for the terminal."""
    lines = []
    if "unit" in summary:
        for point in summary.get("points", [summary]):
            swept = ", ".join(f"{name} {value}" for name, value in point.get("sweep", {}).items())
            measures = ", ".join(
                f"{name} {point[name]['mean']:.1f}" for name in ("last", "oms", "rat")
            )
            over = f"{len(summary['seeds'])} seed(s), {point['num_evaluations']} evaluations"
            lines.append(
                f"{swept + ': ' if swept else ''}{summary['unit']}: {measures} ({over}; oms is the best of them)"
            )
        if summary["behaviour_score"] is not None:
            lines.append(f"score of the dataset's behaviour: {summary['behaviour_score']:.1f}")
    else:
        lines.append("no environment is known for this task: nothing was evaluated")
    rate = summary["updates_per_second"]["per_seed"]
    lines.append(
        f"{summary['wall_seconds']:.0f} s"
        + ("" if rate is None else f", {rate:.1f} updates/s per seed")
    )
    return "\n".join(lines)


def read_evaluations(table: str, members: Sequence[Member]) -> tuple[str, np.ndarray]:
    """What an evaluations table holds, "score" or "return", and its means over episodes [T, R]."""
    with open(table, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    unit = "score" if rows[0]["score"] else "return"
    steps = sorted({int(row["step"]) for row in rows})
    episodes: dict[tuple, list[float]] = {}
    for row in rows:
        key = int(row["step"]), *(float(row[name]) for name in members[0].columns)
        episodes.setdefault(key, []).append(float(row[unit]))
    means = [
        [np.mean(episodes[step, *map(float, member.columns.values())]) for member in members]
        for step in steps
    ]
    return unit, np.array(means)
