"""Reading many runs: what a report needs of each seed, and of runs that have nothing to tell."""

import dataclasses
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from edp_jax import configuration
from edp_jax.errors import one_line
from edp_jax.reports.folders import Unreadable, failure
from edp_jax.runs import Metrics, Run, Times
from edp_jax.training import tables
from edp_jax.training.members import Member
from edp_jax.types import InputError

_CRITIC = "critic/q_mean"


@dataclasses.dataclass(frozen=True, eq=False)
class Result:
    """One seed of a run; at one point of a sweep, where the run has one."""

    workdir: str
    task: str  # of a file its name
    learner: str
    settings: Mapping[str, Any]  # of the run, those of the sweep's point put in
    seed: int
    unit: str  # of `scores`: "score" or "return"; "" where there are none
    steps: np.ndarray  # [T] updates before each evaluation
    scores: np.ndarray  # [T] means over episodes; NaN where the policy gave no finite action
    episodes: np.ndarray  # [T, E] score of each; NaN where it does not count
    critic_steps: np.ndarray  # [T] updates, of a row of metrics.csv
    critic: np.ndarray  # [T] mean value of the critics there; empty where the learner has none
    possible: tuple[float, float]  # the smallest and largest discounted return; NaN not recorded
    updates_done: int
    finished: bool
    updates_per_second: float | None
    times: Times | None
    members: int  # that were trained side by side
    diverged: str | None  # where and in what; None where it has not
    damage: str | None  # how the tables of a finished run differ from those that it has written
    problems: tuple[str, ...]  # failed evaluations and the like
    judged: Sequence[Mapping[str, Any]]  # checkpoints by the data alone, best first: `Run.judged`
    sha256: str  # of the dataset
    commits: tuple[str, ...]
    machines: tuple[str, ...]

    @property
    def state(self) -> str:
        """The first that fits of damaged, diverged, finished and unfinished."""
        if self.damage is not None:
            return "damaged"
        if self.diverged is not None:
            return "diverged"
        return "finished" if self.finished else "unfinished"

    @property
    def counts(self) -> bool:
        """Whether its scores stand for the learner: it ended soundly, and its end has a result."""
        has_result = len(self.scores) > 0 and not np.isnan(self.scores[-1])
        return self.state == "finished" and has_result

    @property
    def num_steps(self) -> int:
        """Updates that it was to do."""
        return _num_updates(self.settings)

    @property
    def short_commits(self) -> tuple[str, ...]:
        """The first seven digits of each, and whether the code was changed."""
        return tuple(commit[:7] + commit[40:] for commit in self.commits)

    def seconds(self, steps: np.ndarray) -> np.ndarray:
        """Time [T] that the run took to these updates, evaluations aside.

        It is read off the clock of the run, which counts compiling. An older run has none: then it
        is updates / (updates per second), and NaN where that is not known.
        """
        if self.times is None:
            return steps / (self.updates_per_second or np.nan)
        training = self.times.seconds - self.times.evaluating
        return np.interp(steps, self.times.steps, training)


def read_runs(workdirs: Iterable[str]) -> tuple[list[Result], list[Unreadable]]:
    """Reads runs; one that cannot be read does not keep the others from it."""
    results, unreadable = [], []
    for workdir in workdirs:
        try:
            results += read_run(workdir)
        except InputError as error:
            unreadable.append(Unreadable(workdir, str(error)))
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            reason = f"its files are not those of a run ({one_line(error)})"
            unreadable.append(Unreadable(workdir, reason))
    return results, unreadable


def read_run(workdir: str) -> list[Result]:
    """Reads a run. What a damaged table says is left out.

    Returns:
      One entry per member.

    Raises:
      InputError: a file of the run cannot be read.
    """
    run = Run(workdir)
    summary = run.summary or {}
    reached = summary.get("num_steps") == _num_updates(run.config)
    finished = bool(summary.get("finished")) and reached
    damage = _damage(run, summary) if finished else None
    metrics = Metrics(np.zeros(0, int), {}) if damage else run.metrics
    evaluations = None if damage else run.evaluations
    steps = [0] if evaluations is None else evaluations.steps
    done = max(summary.get("num_steps", 0), *steps, *metrics.steps, 0)
    critic = metrics.values.get(_CRITIC, np.zeros((len(metrics.steps), len(run.members))))
    results, judged = [], run.judged or ()
    for index, member in enumerate(run.members):
        scores, episodes = np.zeros(0), np.zeros((0, 0))
        if evaluations is not None:
            scores = evaluations.means[:, index]
            values = evaluations.returns if evaluations.scores is None else evaluations.scores
            episodes = values[:, index]
        has_critic = _CRITIC in metrics.values
        results.append(
            Result(
                workdir=workdir,
                task=task_name(run.config["task"]),
                learner=run.config["algorithm"],
                settings={**run.config, **dict(member.point)},
                seed=member.seed,
                unit="" if evaluations is None else evaluations.unit,
                steps=np.array([], int) if evaluations is None else evaluations.steps,
                scores=scores,
                episodes=episodes,
                critic_steps=metrics.steps if has_critic else np.array([], int),
                critic=critic[:, index] if has_critic else np.zeros(0),
                possible=_possible_returns(summary, index),
                updates_done=int(done),
                finished=finished,
                updates_per_second=summary.get("updates_per_second", {}).get("per_seed"),
                times=run.times,
                members=len(run.members),
                diverged=_divergence(run.members[index], metrics, index, summary),
                damage=damage,
                problems=_problems(summary, scores, None if finished else failure(workdir)),
                judged=judged,
                sha256=run.dataset.get("sha256", ""),
                commits=_each_once(start.get("git_commit") for start in run.starts),
                machines=_each_once(map(_machine, run.starts)),
            )
        )
    return results


def task_name(task: str) -> str:
    """The task; of a file or folder only its name, behind the prefix of its format."""
    prefix, colon, path = task.rpartition(":")
    return (
        f"{prefix}{colon}{os.path.basename(os.path.normpath(path))}"
        if os.path.isabs(path)
        else task
    )


def _divergence(
    member: Member, metrics: Metrics, index: int, summary: Mapping[str, Any]
) -> str | None:
    """Tells since when numbers of a member are not finite; None where all are.

    The summary of a run may say so itself, with the columns of the member and the update.
    """
    for entry in summary.get("diverged", ()):
        if member.columns.items() <= entry.items():
            return f"in update {entry['update']:,}"
    broken = {
        name: int(metrics.steps[~np.isfinite(values[:, index])][0])
        for name, values in metrics.values.items()
        if not np.isfinite(values[:, index]).all()
    }
    if not broken:
        return None
    first = min(broken.values())
    names = [name for name, step in broken.items() if step == first]
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"before update {first:,}: {', '.join(names[:3])}{more}"


def _damage(run: Run, summary: Mapping[str, Any]) -> str | None:
    """How the tables of a finished run differ from those that its summary was made of."""
    notes, end = dict(summary.get("tables") or {}), summary["num_steps"]
    return tables.find_disagreement(os.fspath(run.workdir), end, notes, evaluated=True)


def _problems(
    summary: Mapping[str, Any], scores: np.ndarray, failed: str | None
) -> tuple[str, ...]:
    failures = summary.get("failed_evaluations", [])
    problems = [] if failed is None else [f"failed: {failed}"]
    problems += [
        f"evaluation at update {failure['step']:,} failed: {failure['reason']}"
        for failure in failures[:3]
    ]
    if len(failures) > 3:
        problems.append(f"{len(failures) - 3} more failures in evaluations")
    if count := int(np.isnan(scores).sum()):
        at_end = ", also the last" if np.isnan(scores[-1]) else ""
        problems.append(f"{count} of {len(scores)} evaluations without a result{at_end}")
    if summary.get("finished") and not summary.get("tables"):
        problems.append("not compared with its tables: an older summary.json has no digests")
    if "not_evaluated" in summary:
        problems.append(f"not evaluated: {summary['not_evaluated']}")
    return tuple(problems)


def _num_updates(config: Mapping[str, Any]) -> int:
    """How many updates a run is configured to do, on its data and in its online phase."""
    if not config.get("online_steps"):
        return config["num_steps"]
    return configuration.resolve(config).num_updates


def _possible_returns(summary: Mapping[str, Any], index: int) -> tuple[float, float]:
    """Reads `possible_returns`: two lists [R]; infinite numbers are null in JSON."""
    low, high = (
        np.nan if bounds is None or bounds[index] is None else float(bounds[index])
        for bounds in summary.get("possible_returns") or (None, None)
    )
    return low, high


def _machine(start: Mapping[str, Any]) -> str | None:
    """The machine of a start in words; older runs have recorded only its devices."""
    machine = start.get("machine")
    kinds = [device.partition(" ")[2] for device in start.get("devices", [])]
    devices = ", ".join(
        f"{kinds.count(kind)} x {kind}"
        for kind in dict.fromkeys(kinds)
        if kind != "cpu" or not machine  # the machine tells its processors
    )
    return " with ".join(filter(None, (machine, devices))) or None


def _each_once(values: Iterable[str | None]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(value or "unknown" for value in values))
