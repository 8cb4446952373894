"""What a run leaves whenever it stops, at its end or before: a summary, a picture, the policies."""

import os
import shlex
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from edp_jax.errors import one_line, program
from edp_jax.evaluation import finite_mean, normalized_score, summarize
from edp_jax.export import PolicyFile, save_policy
from edp_jax.files import write_json
from edp_jax.runs import plots
from edp_jax.runs.reader import Evaluations, Run
from edp_jax.training import hosts, tables
from edp_jax.training.progress import duration
from edp_jax.training.run import Outcome
from edp_jax.training.trainer import Trainer
from edp_jax.types import InputError, TaskSpec, Units


class Described(Protocol):
    """What the last files of a run need of its dataset; `edp_jax.data.Dataset` has it."""

    @property
    def spec(self) -> TaskSpec: ...
    @property
    def units(self) -> Units: ...
    @property
    def reference_scores(self) -> tuple[float, float] | None: ...
    @property
    def behaviour_return(self) -> float | None: ...


def is_finished(workdir: str, num_steps: int) -> bool:
    """Whether a run ended after `num_steps` updates, and all that it left is there and sound.

    If something of it is not, a line says so, and the run makes it again from its last checkpoint
    when it goes on.
    """
    try:
        run = Run(workdir)
        summary = run.summary or {}
        if not summary.get("finished") or summary.get("num_steps") != num_steps:
            return False
        run.policy()
    except InputError as error:
        print(f"made again: {error}", flush=True)
        return False
    try:
        notes = dict(summary.get("tables") or {})
        difference = tables.find_disagreement(workdir, num_steps, notes, evaluated=True)
    except (TypeError, KeyError, ValueError):
        difference = "summary.json is not as a run writes it"
    if difference is not None:
        print(f"made again: {difference}", flush=True)
    return difference is None


def add_judged(workdir: str, judged: Sequence[Mapping[str, Any]]) -> None:
    """Adds to the summary of a run how its checkpoints were judged, for `Run.judged`."""
    summary = Run(workdir).summary or {}
    write_json(os.path.join(workdir, "summary.json"), summary | {"judged": list(judged)})


def finish(
    workdir: str, trainer: Trainer, dataset: Described, outcome: Outcome, *, wall_seconds: float
) -> None:
    """Writes what a run leaves when it stops, and prints a few lines about it. Collective.

    Args:
      workdir: DIR; policy/, summary.json and learning_curve.png are written there.
      trainer: of the run.
      dataset: it was trained on.
      outcome: what the run has reached.
      wall_seconds: since the command began.
    """
    params = hosts.fetch(trainer.policy_params(outcome.state))
    if not hosts.is_process_zero():
        return
    run, members = Run(workdir), tuple(member.columns for member in trainer.members)
    name, settings = run.config["algorithm"], trainer.algorithm.settings
    execute = run.config.get("execute") or None
    diverged = tuple(outcome.diverged.tolist())
    policy_file = PolicyFile(
        name, settings, dataset.spec, members, dataset.units, execute, diverged
    )
    save_policy(os.path.join(workdir, "policy"), policy_file, params)
    summary = summarize_run(run, dataset, outcome, wall_seconds)
    write_json(os.path.join(workdir, "summary.json"), summary)
    print(describe(summary))
    behaviour = summary["behaviour_" + summary["unit"]] if "unit" in summary else None
    if panels := plots.panels(run, behaviour):
        title = run.title if outcome.finished else f"{run.title}, stopped early"
        png = os.path.join(workdir, "learning_curve.png")
        try:
            plots.write(plots.draw(title, panels), png)
            print(f"learning curve: {png}")
        except Exception as error:  # a picture costs no training
            print(f"no learning curve: {one_line(error)}")
    if run.evaluations is not None:
        print(f"all episodes: {os.path.join(workdir, 'evaluations.csv')}")
    if not outcome.evaluates and run.config.get("best_by") != "fqe":
        print(f"to choose among its checkpoints: {program('select')} --runs={shlex.quote(workdir)}")
    print(f"policy, for edp_jax.load_policy: {os.path.join(workdir, 'policy')}", flush=True)


def summarize_run(
    run: Run, dataset: Described, outcome: Outcome, wall_seconds: float
) -> dict[str, Any]:
    """Returns what summary.json holds.

    `num_steps` is the number of updates done, also where the run was stopped before its end.
    `updates_per_second` is without compiling. In a sweep the measures stand under `points`, one
    entry per point of the grid. Where there are none, `not_evaluated` says why. Members that have
    diverged stand under `diverged`, and do not count in any measure. `episodes_not_counted` is of
    the others.

    Args:
      run: its tables are read.
      dataset: it was trained on.
      outcome: what the run has reached.
      wall_seconds: since the command began.
    """
    behaviour_score = None
    if dataset.behaviour_return is not None and dataset.reference_scores is not None:
        returns = np.asarray(dataset.behaviour_return)
        behaviour_score = float(normalized_score(returns, dataset.reference_scores))
    rate, num_members = outcome.updates_per_second, len(run.members)
    summary = {
        "task": run.config["task"],
        "algorithm": run.config["algorithm"],
        "finished": outcome.finished,
        "num_steps": outcome.step,
        "seeds": list(dict.fromkeys(member.seed for member in run.members)),
        "behaviour_return": dataset.behaviour_return,
        "behaviour_score": behaviour_score,
        "diverged": [
            member.columns | {"update": int(update)}
            for member, update in zip(run.members, outcome.diverged, strict=True)
            if update >= 0
        ],
    }
    if run.evaluations is not None:
        sound = outcome.diverged < 0
        summary |= {"unit": run.evaluations.unit} | _measures(run, run.evaluations, sound)
        summary["episodes_not_counted"] = _not_counted(run.evaluations, sound)
        summary |= _online(run.evaluations, sound)
    else:
        summary["not_evaluated"] = _reason(run, outcome)
    summary["failed_evaluations"] = [
        {"step": step, "reason": reason} for step, reason in outcome.failures
    ]
    if outcome.possible_returns is not None:
        summary["possible_returns"] = [bound.tolist() for bound in outcome.possible_returns]
    total = None if rate is None else rate * num_members
    summary["updates_per_second"] = {"per_seed": rate, "total": total}
    return summary | {"wall_seconds": wall_seconds, "tables": outcome.tables}


def describe(summary: Mapping[str, Any]) -> str:
    """Returns a summary in a few lines for the terminal."""
    steps, seeds = summary["num_steps"], len(summary["seeds"])
    lines = [] if summary["finished"] else [f"not finished: {steps:,} updates are done"]
    if "unit" in summary:
        points = summary.get("points", [summary])
        for point in points:
            counted = point["last"]["seeds"]
            of = f"{seeds}" if counted == seeds else f"{counted} of {seeds}"
            over = f"{summary['unit']}, mean of {of} seeds" if seeds > 1 else summary["unit"]
            swept = "".join(f"{name} {value}, " for name, value in point.get("sweep", {}).items())
            values = "; ".join(
                f"{words} {point[measure]['mean']:.1f}"
                for measure, words in (
                    ("last", "last evaluation"),
                    ("oms", f"best of {point['num_evaluations']} (oms)"),
                    ("rat", f"mean of the last {min(10, point['num_evaluations'])} (rat)"),
                )
            )
            lines.append(f"{swept}{over}: {values}")
        if online := summary.get("online"):
            before = "" if online["before"] is None else f", before them {online['before']:.1f}"
            lines.append(
                f"{online['env_steps']:,} steps in the environment per seed: lowest evaluation "
                f"since {online['lowest']:.1f}{before}"
            )
        if summary[f"behaviour_{summary['unit']}"] is not None:
            level = summary[f"behaviour_{summary['unit']}"]
            lines.append(f"{summary['unit']} of the dataset's behaviour: {level:.1f}")
    else:
        lines.append(f"nothing was evaluated: {summary['not_evaluated']}")
    for entry in summary["diverged"]:
        member = ", ".join(f"{name} {value}" for name, value in entry.items() if name != "update")
        lines.append(f"{member} diverged in update {entry['update']:,} and counts nowhere")
    if number := summary.get("episodes_not_counted"):
        lines.append(f"episodes with NaN or infinite numbers, which do not count: {number}")
    if failures := summary["failed_evaluations"]:
        step, reason = failures[-1]["step"], failures[-1]["reason"]
        lines.append(f"failures in evaluations: {len(failures)}, the last at {step:,}: {reason}")
    rate = summary["updates_per_second"]["per_seed"]
    speed = "" if rate is None else f", {rate:,.1f} updates/s per seed"
    return "\n".join([*lines, f"time: {duration(summary['wall_seconds'])}{speed}"])


def _reason(run: Run, outcome: Outcome) -> str:
    """Why a run has no evaluation."""
    if not outcome.evaluates:
        return "the run has no environment (--config.env_id names one)"
    if outcome.failures:
        return "each evaluation failed"
    return f"the first evaluation comes after {run.config['eval_every']:,} updates"


def _not_counted(evaluations: Evaluations, sound: np.ndarray) -> int:
    """Counts the episodes without a usable return, of the members that have not diverged."""
    counted = (evaluations.lengths >= 0).sum(axis=-1)
    return int((evaluations.num_episodes - counted)[:, sound].sum())


def _online(evaluations: Evaluations, sound: np.ndarray) -> dict[str, Any]:
    """What came of the online phase, mean of the sound members: at its begin, lowest and last."""
    if evaluations.env_steps is None or not sound.any():
        return {}
    means = finite_mean(np.where(sound, evaluations.means, np.nan), axis=1)
    offline, online = np.split(means, [np.count_nonzero(evaluations.env_steps == 0)])
    if not np.isfinite(online).any():
        return {}
    return {
        "online": {
            "env_steps": int(evaluations.env_steps[-1]),
            "before": float(offline[-1]) if len(offline) else None,
            "lowest": float(np.nanmin(online)),
            "last": float(online[-1]),
        }
    }


def _measures(run: Run, evaluations: Evaluations, sound: np.ndarray) -> dict[str, Any]:
    means = np.where(sound, evaluations.means, np.nan)
    points = list(dict.fromkeys(member.point for member in run.members))
    if points == [()]:
        return summarize(means)
    measures = []
    for point in points:
        of_point = means[:, [member.point == point for member in run.members]]
        measures.append({"sweep": dict(point)} | summarize(of_point))
    return {"points": measures}
