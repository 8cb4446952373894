"""Trains all runs of a suite, on this machine, under Slurm or on a Ray cluster.

python -m experiments.sweep --suite=smoke --out=runs/smoke
python -m experiments.sweep --suite=paper --out=/shared/paper --launcher=ray --cpus=4
python -m experiments.sweep --suite=configs/suites/ablations.py --out=runs/a --launcher=print

A suite is a file that lists (configuration, task, changed settings). Each of its runs is a process
of its own with a folder in --out. Runs that have finished are skipped, others go on from their
checkpoints, so the same command goes on after Ctrl-C and after a crash.
"""

import contextlib
import json
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
from absl import flags
from etils import epath

from edp_jax import InputError
from edp_jax.errors import one_line
from edp_jax.files import plain, writing
from edp_jax.runs.lock import locked
from edp_jax.training.hosts import Stopped
from edp_jax.training.signals import StopSignals

from . import board, exits, jobs, launch, launchers, leases, mirror, suites
from .board import Board, Row
from .jobs import Job
from .launchers import Pending

_PERIOD, _REMOTE_PERIOD = 2.0, 20.0  # seconds between two looks at all runs


def define_flags() -> None:
    flags.DEFINE_string("suite", None, "Name of a suite (such as smoke) or its file.")
    flags.DEFINE_string("out", None, "Folder of the sweep; one on shared or cloud storage will do.")
    flags.DEFINE_enum(
        "launcher", "local", ("local", "print", "slurm", "ray"), "Where the runs are started."
    )
    flags.DEFINE_multi_string("set", [], "KEY=VALUE: a setting that all runs get.")
    flags.DEFINE_integer("cpus", 1, "Cores of a run.", lower_bound=1)
    flags.DEFINE_float("gpus", 0, "GPUs of a run; 0.5: two runs share one.", lower_bound=0)
    flags.DEFINE_integer("tpus", 0, "TPU chips of a run (ray).", lower_bound=0)
    flags.DEFINE_integer(
        "at_once", 0, "Runs at a time (local, slurm); 0: as many as fit.", lower_bound=0
    )
    flags.DEFINE_integer(
        "retries", 5, "Times that a run which was killed goes on by itself.", lower_bound=0
    )
    flags.DEFINE_string(
        "address", "", "Ray cluster; empty: $RAY_ADDRESS, one on this machine, else a new one."
    )
    flags.DEFINE_list("slurm", [], "KEY=VALUE of sbatch, as in partition=gpu,time=1440.")


def main(_: Sequence[str]) -> int:
    values = {name: flags.FLAGS[name].value for name in flags.FLAGS}
    environment = jobs.passed_on()
    jax.config.update("jax_platforms", "cpu")  # the devices are for the runs
    needs = jobs.Needs(
        values["cpus"], values["gpus"], values["tpus"], values["retries"], environment
    )
    if needs.gpus > 1 and needs.gpus % 1:
        raise InputError(f"--gpus={needs.gpus:g}: must be below 1 or whole; give 0.5, 1, 2, ...")
    out = suites.absolute_out(values["out"])
    suite = suites.read_suite(values["suite"])
    listed, records = suites.make_jobs(suite, out, suites.parse_pairs("set", values["set"]))
    lacking = suites.lacking(listed, records)
    if values["launcher"] == "print":
        check_there(listed, lacking, "print")
        print("\n".join(commands(listed)))
        return 0
    options = launchers.Options(
        values["at_once"],
        values["address"],
        suites.parse_pairs("slurm", values["slurm"]),
        os.path.join("" if mirror.is_remote(out) else out, ".slurm"),
    )
    with alone(out):
        return train(listed, out, values["launcher"], needs, options, records, lacking)


def train(
    listed: Sequence[Job],
    out: str,
    launcher: str,
    needs: jobs.Needs,
    options: launchers.Options,
    records: list[dict[str, Any]],
    lacking: Mapping[Job, str],
) -> int:
    """Trains those runs of a sweep that have not finished; returns the exit code.

    What an earlier sweep has left stays as it was where one is refused.
    """
    todo = [job for job in listed if not jobs.is_finished(job)]
    print(
        f"{len(listed)} runs in {out}, {len(listed) - len(todo)} have finished before", flush=True
    )
    if not todo:
        write_record(out, records)
        return 0
    check_there(todo, lacking, launcher)
    print(f"each of the others gets {needs}", flush=True)
    if launcher == "local" and not needs.gpus and leases.gpus():
        print("this machine has GPUs; --gpus=1 gives every run one", flush=True)
    with (
        launchers.LAUNCHERS[launcher](todo, needs, options) as pending,
        StopSignals() as signals,  # Ray has handlers of its own
        Board() as shown,
    ):
        write_record(out, records)
        rows = follow(listed, dict(zip(todo, pending, strict=True)), signals.check, shown)
    return report(rows, out)


def check_there(todo: Sequence[Job], lacking: Mapping[Job, str], launcher: str) -> None:
    """Refuses a sweep of runs that lack something here; where runs may be elsewhere, warns of it.

    Args:
      todo: runs that are to be started.
      lacking: of `suites.lacking`.
      launcher: what starts them.

    Raises:
      InputError: the launcher starts them on this machine.
    """
    runs = [job for job in todo if job in lacking]
    if not runs:
        return
    others = f" (and {len(runs) - 1} more)" if len(runs) > 1 else ""
    reason = f"{others}: {lacking[runs[0]]}"
    told = f"suite: {runs[0].name[: max(30, 290 - len(reason))]}{reason}"[:300]
    if launcher == "local":
        raise InputError(told)
    print(f"warning: {told}; fine if the machines of the runs have it", file=sys.stderr, flush=True)


def commands(listed: Sequence[Job]) -> Iterator[str]:
    """The commands that the runs of a sweep are."""
    for job in listed:
        if mirror.is_remote(job.workdir):
            raise InputError(
                f"--out={job.workdir}: commands alone do not copy runs to storage; "
                "name a folder on a disk"
            )
        yield shlex.join(["python", *job.arguments, f"--workdir={job.workdir}"])


@contextlib.contextmanager
def alone(out: str) -> Iterator[None]:
    """Keeps other sweeps out of a folder during the block; remote storage has no such lock.

    Raises:
      InputError: another sweep runs there.
    """
    if mirror.is_remote(out):
        yield
        return
    with writing(out):
        os.makedirs(out, exist_ok=True)
    with locked(out, flag="--out"):
        yield


def write_record(out: str, records: list[dict[str, Any]]) -> None:
    """Writes OUT/suite.json: what runs there are to be, for who looks for missing ones.

    Raises:
      InputError: the folder cannot be written.
    """
    folder = epath.Path(out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "suite.json").write_text(json.dumps(plain(records), indent=2))
    except Exception as error:  # storage raises what it likes
        raise InputError(
            f"--out={out}: cannot be written ({type(error).__name__}: {one_line(error)}); name a "
            "folder that can, or install what such storage needs"
        ) from error


def follow(
    listed: Sequence[Job],
    pending: dict[Job, Pending],
    check_stop: Callable[[], None],
    shown: Board,
) -> list[Row]:
    """Shows all runs until each has ended; where it is asked to, it stops them.

    Args:
      listed: all runs of the suite.
      pending: those of them that are under way; the others have finished before.
      check_stop: raises Stopped where it is asked to.
      shown: where.

    Returns:
      How each run ended, in the order of the suite.
    """
    rows = {job: Row(job.name, jobs.WAITING if job in pending else jobs.FINISHED) for job in listed}
    left, stopped = dict(pending), False
    period = _REMOTE_PERIOD if any(mirror.is_remote(job.workdir) for job in listed) else _PERIOD
    while left:
        try:
            check_stop()
        except Stopped:
            for each in () if stopped else left.values():
                each.stop()
            stopped = True
        for job, each in tuple(left.items()):
            if each.done():
                outcome = left.pop(job).outcome()
                status = jobs.read_status(job)
                rows[job] = Row(job.name, outcome.state, status, outcome.reason)
            elif (status := jobs.read_status(job)).get("state") == jobs.RUNNING:
                rows[job] = Row(job.name, jobs.RUNNING, status)
        shown.show(list(rows.values()))
        if left:
            time.sleep(period)
    return list(rows.values())


def report(rows: Sequence[Row], out: str) -> int:
    """Prints how a sweep has ended; returns the exit code."""
    print(f"{board.summary(rows)} in {out}", flush=True)
    failed = [row for row in rows if row.state == jobs.FAILED]
    for row in failed:
        print(f"failed: {row.name}: {row.reason}", flush=True)
    if any(row.state == jobs.STOPPED for row in rows):
        print("the same command goes on", flush=True)
        return exits.STOPPED
    return 1 if failed else 0


if __name__ == "__main__":
    define_flags()
    launch.run(main, required=("suite", "out"))
