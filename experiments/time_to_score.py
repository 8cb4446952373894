"""Seconds from a command to a score: part time_to_score of experiments.benchmark.

Each run is the command that a user types, with one seed, in a process of its own. It begins with
nothing compiled, and is stopped when the mean of an evaluation reaches the goal.
"""

import concurrent.futures
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from edp_jax import InputError, configuration, data
from edp_jax.files import write_json
from edp_jax.runs import Run, record

from . import exits, jobs
from .cases import Sizes
from .timed_runs import PART, describe_entry, has_failed, merge, read

LEARNERS = ("edp_td3", "diffusion_ql", "bc_diffusion", "edp")
_PERIOD = 0.1  # seconds between two looks at a run
_OWN = (  # settings that this part has a value for
    *("seeds", "sweep", "num_steps", "checkpoint_every", "eval_every", "eval_episodes"),
    "compilation_cache",
)


class Goal(NamedTuple):
    """A score, and how it is looked for."""

    score: float
    eval_every: int  # updates
    eval_episodes: int


GOALS = {
    "builtin/hopper-medium-expert": Goal(95.0, 2_500, 10),
    "kitchen-complete-v0": Goal(70.0, 2_500, 20),
}


class Watched(NamedTuple):
    """What was seen of a run."""

    steps: list[int]  # updates after which it was evaluated
    scores: list[float]  # mean of each evaluation
    seconds: list[float]  # from the command to the end of each
    evaluating: list[float]  # how many of these went into evaluations
    processor_seconds: float  # of all its threads, until it had saved its state and ended


def check(tasks: Sequence[str], learners: Sequence[str], changes: Mapping[str, Any]) -> None:
    """Checks the settings of all runs, before the first one begins.

    It does so in a process of its own: JAX begins with it, and then keeps the accelerator.

    Raises:
      InputError: a learner does not take the changes, or this part sets one of them itself.
    """
    for key in changes:
        if key in _OWN:
            raise InputError(f"--set={key}: part time_to_score has its own {key}; leave it out")
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, context) as apart:
        apart.submit(_resolve, tasks, learners, changes).result()


def _resolve(tasks: Sequence[str], learners: Sequence[str], changes: Mapping[str, Any]) -> None:
    for task in tasks:
        for learner in learners:
            try:
                configuration.resolve(configuration.make_config(learner, task, **changes))
            except InputError as error:
                raise InputError(f"--set, with --learners={learner}: {error}") from error


def measure(
    tasks: Sequence[str],
    learners: Sequence[str],
    changes: Mapping[str, Any],
    sizes: Sizes,
    progress: Callable[[str], None],
    keep: Callable[[dict[str, dict[str, Any]]], None] = lambda results: None,
) -> dict[str, dict[str, Any]]:
    """Lets every learner train on every task until it reaches the task's goal.

    Args:
      tasks: keys of `GOALS`.
      learners: names of configurations.
      changes: settings of all runs, as they are typed.
      sizes: `max_updates` and `max_seconds` of a run.
      progress: called with a line for each run.
      keep: called after each run with what is known by then.

    Returns:
      Per task, and per learner with its changes, what `summarize` makes and where it was measured,
      or the `error` that ended the run. Where its data are not on this machine a task has only the
      entry `skipped`.
    """
    results: dict[str, dict[str, Any]] = {}
    for task in tasks:
        results[task] = {}
        if data.find_file(data.find_task(task), data.data_folder()) is None:
            results[task]["skipped"] = (
                f"its data are not in {data.data_folder()}; python -m {__package__}.tasks {task} "
                "brings them"
            )
            progress(f"{task}: skipped, {results[task]['skipped']}")
            continue
        for learner in learners:
            name = " ".join([learner, *(f"{key}={value}" for key, value in changes.items())])
            try:
                entry = _measure(task, learner, changes, sizes)
            except InputError as error:
                entry = {"error": str(error)}
            results[task][name] = entry
            progress(f"{task}, {name}: {describe_entry(entry)}")
            keep(results)
    return results


def _measure(task: str, learner: str, changes: Mapping[str, Any], sizes: Sizes) -> dict[str, Any]:
    """Trains from nothing, then once more up to the first evaluation, with what was compiled."""
    goal, load_before = GOALS[task], os.getloadavg()
    with tempfile.TemporaryDirectory() as folder:

        def watched(name: str, num_steps: int) -> Watched:
            settings = {
                **{"seeds": "(0,)", "num_steps": num_steps, "checkpoint_every": num_steps},
                **{"eval_every": goal.eval_every, "eval_episodes": goal.eval_episodes},
                **{"compilation_cache": os.path.join(folder, "compiled"), **changes},
            }
            workdir = os.path.join(folder, name)
            command = [sys.executable, "-m", f"{__package__}.main", f"--config={learner}:{task}"]
            command += [f"--workdir={workdir}"]
            command += [f"--config.{key}={value}" for key, value in settings.items()]
            return watch(command, workdir, goal.score, sizes.max_seconds)

        cold = watched("cold", sizes.max_updates)
        warm = watched("warm", cold.steps[0])
    return summarize(cold, warm, goal.score) | {
        "max_updates": sizes.max_updates,
        "max_seconds": sizes.max_seconds,
        "git_commit": record.git_commit(),
        "load_average": [load_before, os.getloadavg()],
    }


def watch(command: Sequence[str], workdir: str, goal: float, max_seconds: float) -> Watched:
    """Starts a run, looks at its tables, and stops it at the goal or when its time is over.

    Args:
      command: of the run, which has one member; it ends when this process does.
      workdir: its folder.
      goal: mean score of an evaluation.
      max_seconds: that it may take.

    Raises:
      InputError: the run failed, or ended without an evaluation; its last line says why.
    """
    before, began = _children_seconds(), time.monotonic()
    chunks: dict[int, float] = {}  # seconds until the updates before an evaluation were done
    seen: dict[int, float] = {}  # seconds until the evaluation was
    scores: list[float] = []
    log = f"{workdir}.log"
    with open(log, "w", encoding="utf-8") as output:
        process = subprocess.Popen(jobs.bound(command), stdout=output, stderr=subprocess.STDOUT)
    try:
        ended = stopping = False
        while not ended:
            time.sleep(_PERIOD)
            ended, seconds, run = process.poll() is not None, time.monotonic() - began, Run(workdir)
            if os.path.isfile(os.path.join(workdir, "config.json")):
                if run.evaluations is not None:
                    scores = run.evaluations.means[:, 0].tolist()
                    seen = dict.fromkeys(run.evaluations.steps.tolist(), seconds) | seen
                if run.times is not None:
                    chunks = dict.fromkeys(run.times.steps.astype(int).tolist(), seconds) | chunks
            if not stopping and (seconds > max_seconds or max([-1.0, *scores]) >= goal):
                stopping = True
                process.send_signal(signal.SIGTERM)
    finally:
        process.kill()
        process.wait()
    if process.returncode not in (0, exits.STOPPED) or not scores:
        with open(log, encoding="utf-8") as output:
            last = ["nothing", *output.read().splitlines()][-1]
        raise InputError(f"ended with code {process.returncode} after {seconds:.0f} s: {last:.200}")
    times = Run(workdir).times
    assert times is not None  # a run that was evaluated has trained
    noted = dict(zip(times.steps.astype(int).tolist(), times.evaluating.tolist(), strict=True))
    evaluating = [noted[step] + seen[step] - chunks[step] for step in seen]
    processor_seconds = _children_seconds() - before
    return Watched(list(seen), scores, list(seen.values()), evaluating, processor_seconds)


def summarize(cold: Watched, warm: Watched, goal: float) -> dict[str, Any]:
    """Says when a run reached its goal.

    Args:
      cold: of the run that had nothing compiled.
      warm: of one that found it compiled, up to its first evaluation.
      goal: the score.

    Returns:
      `goal`, and whether it was `reached`; the updates and seconds (`evaluating_seconds` of them
      in evaluations) until then, or until the last evaluation; the `score` there, or the best one.
      `warm_seconds` is what the same run takes where its programs are compiled: `seconds` less what
      the two runs differ in at the first evaluation.
    """
    reached = [score >= goal for score in cold.scores]
    index = reached.index(True) if any(reached) else len(reached) - 1
    return {
        "goal": goal,
        "reached": any(reached),
        "updates": cold.steps[index],
        "score": cold.scores[index] if any(reached) else float(np.nanmax(cold.scores)),
        "seconds": cold.seconds[index],
        "evaluating_seconds": cold.evaluating[index],
        "warm_seconds": cold.seconds[index] - cold.seconds[0] + warm.seconds[0],
        "processor_seconds": cold.processor_seconds,
    }


def run(
    path: str,
    tasks: Sequence[str],
    learners: Sequence[str],
    changes: Mapping[str, Any],
    sizes: Sizes,
    progress: Callable[[str], None],
) -> tuple[dict[str, dict[str, Any]], int]:
    """`measure`, which writes what it knows after each run to a benchmark.json.

    Returns:
      What the file then holds of this part, and how many runs have failed.
    """
    before = read(path)

    def keep(measured: dict[str, dict[str, Any]]) -> None:
        write_json(path, before | {PART: merge(before[PART], measured)})

    measured = measure(tasks, learners, changes, sizes, progress, keep)
    failed = sum(has_failed(entry) for runs in measured.values() for entry in runs.values())
    return merge(before[PART], measured), failed


def _children_seconds() -> float:
    """Processor time of this process's children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
