"""The tables of training: how long, how fast, how far, and what went wrong."""

from collections.abc import Mapping, Sequence

import numpy as np

from edp_jax.reports import paper, statistics
from edp_jax.reports.folders import Unreadable
from edp_jax.reports.groups import Group, Key, Repeated
from edp_jax.reports.results import Result
from edp_jax.reports.tables import NOTHING, Table, number, words
from edp_jax.training.divergence import learning_range

SHARE = 0.9  # of a score, which a learner takes some time to reach


def time_to_score(groups: Sequence[Group]) -> Table:
    """How long each learner takes to two levels: one for all on its task, and one of its own."""
    best: dict[str, float] = {}
    for group in groups:
        if len(last := group.values("last")):
            best[group.task] = max(best.get(group.task, -np.inf), float(last.mean()))
    rows = []
    for group in groups:
        last = group.values("last")
        if not len(last):
            continue
        levels = (best[group.task], float(last.mean()))
        common, own = (level * SHARE if level > 0 else np.nan for level in levels)
        rows.append((group.task, group.label, common, *_times(group, common)))
        rows[-1] += (own, *_times(group, own))
    columns = (
        *(words("task"), words("learner"), number("common level"), words("reached by")),
        *(number("updates", 0), number("seconds", 0), number("own level")),
        *(words("own reached by"), number("own updates", 0), number("own seconds", 0)),
    )
    note = (
        "The common level is 90 % of the best learner's mean last score on the task, the own level "
        "90 % of the learner's. Reached: the first evaluation at the level or above, so the time "
        "is rounded up to the next evaluation; means over the seeds that got there. Seconds are "
        "those of the run's clock (times.csv) with compiling and without evaluations; of older "
        "runs, which have none, updates / (updates per second)."
    )
    return Table("time_to_score", "Time to a score", note, columns, rows)


def speed(groups: Sequence[Group]) -> Table:
    """How fast each run trained."""
    runs: dict[tuple[str, str, str], Result] = {}
    for group in groups:
        for result in group.results:
            runs.setdefault((group.task, group.label, result.workdir), result)
    rows = []
    for (task, label, workdir), result in runs.items():
        rate = result.updates_per_second
        total = None if rate is None else rate * result.members
        row = (task, label, workdir, result.members, rate, total)
        rows.append((*row, paper.SPEED.get(result.learner), result.machines))
    columns = (
        *(words("task"), words("learner"), words("run"), number("side by side", 0)),
        *(number("updates/s, each"), number("updates/s, all"), number("paper's")),
        words("machines"),
    )
    note = (
        "Updates per second without compiling, in the newest start of the run; of each of the "
        "seeds that were trained side by side, and of all. The paper's are those of one seed on "
        "walker2d-medium-expert-v2 on its GPU; another machine does not compare."
    )
    return Table("speed", "Training speed", note, columns, rows)


def critics(groups: Sequence[Group]) -> Table:
    """How large the critics' values are, and how large they can rightly be."""
    rows = []
    for group in groups:
        for result in group.results:
            values = result.critic[~np.isnan(result.critic)]
            if len(values):
                lowest, highest = float(values.min()), float(values.max())
                low, high = result.possible
                allowed = learning_range(low, high)
                outside = "yes" if lowest < allowed[0] or highest > allowed[1] else "no"
                known = outside == "yes" or not np.isnan((low, high)).any()
                numbers = (float(result.critic[-1]), lowest, highest, low, high)
                row = (group.task, group.label, result.seed, *numbers)
                rows.append((*row, outside if known else NOTHING))
    columns = (
        *(words("task"), words("learner"), number("seed", 0), number("critic/q_mean, last")),
        *(number("lowest"), number("highest"), number("smallest possible")),
        *(number("largest possible"), words("outside")),
    )
    note = (
        "The critics' mean value over the batches. It starts near 0. Values that are neither a "
        "possible return nor between 0 and one tell that the critics have blown up (arXiv "
        "2310.04411). The possible discounted returns are in the "
        "learner's units of reward. They are shown for runs whose summary.json has them "
        "(possible_returns); the rewards themselves are not in a run's folder."
    )
    return Table("critics", "Size of the critics' values", note, columns, rows)


def runs(
    groups: Sequence[Group],
    repeated: Sequence[Repeated],
    unreadable: Sequence[Unreadable],
    planned: Mapping[str, Sequence[Key]],
) -> Table:
    """Every run with what is wrong with it.

    Args:
      groups: the runs, sorted.
      repeated: seeds that are there twice, with the run that is taken.
      unreadable: what should be runs.
      planned: what a sweep says of runs that cannot be read, by their folders.
    """
    rows = []
    for group in groups:
        for result in group.results:
            troubles = _troubles(result)
            rows.append(_run_row(group.task, group.label, result, result.state, troubles))
    for task, label, result, kept in repeated:
        troubles = [f"the seed is in {kept}, too, which is taken", *_troubles(result)]
        rows.append(_run_row(task, label, result, "repeated", troubles))
    for workdir, reason, state in unreadable:
        for key in planned.get(workdir, ((NOTHING, NOTHING, None),)):
            rows.append((*key, state, None, None, None, (reason,), workdir, NOTHING, NOTHING))
    columns = (
        *(words("task"), words("learner"), number("seed", 0), words("state")),
        *(number("updates", 0), number("of", 0), number("last")),
        *(words("what is wrong"), words("run"), words("commits"), words("machines")),
    )
    note = (
        "Every seed of every folder, also those that do not count above: unfinished ones (with "
        "the newest evaluation as last), those that have diverged or failed, those whose tables "
        "are not as they wrote them (damaged), and those that cannot be read."
    )
    return Table("runs", "Runs", note, columns, rows)


def missing_seeds(keys: Sequence[Key], rule: str) -> Table:
    """The seeds that no run was found of, one row per learner and task."""
    seeds: dict[tuple[str, str], list[int]] = {}
    for key in keys:
        seeds.setdefault((key.task, key.learner), []).append(key.seed)
    rows = [(*both, tuple(found)) for both, found in seeds.items()]
    columns = (words("task"), words("learner"), words("missing seeds"))
    return Table("missing", "Missing runs", f"No run was found of these. {rule}", columns, rows)


def _run_row(
    task: str, label: str, result: Result, state: str, troubles: Sequence[str]
) -> tuple[object, ...]:
    last = float(result.scores[-1]) if len(result.scores) else None
    counts = (result.updates_done, result.num_steps, last)
    where = (result.workdir, result.short_commits, result.machines)
    return (task, label, result.seed, state, *counts, tuple(troubles) or NOTHING, *where)


def _troubles(result: Result) -> list[str]:
    troubles = [] if result.finished else ["stopped before its end, or still running"]
    troubles += [f"diverged: {result.diverged}"] if result.diverged else []
    troubles += [] if result.damage is None else [f"damaged: {result.damage}"]
    return [*troubles, *result.problems]


def _times(group: Group, level: float) -> tuple[str, float | None, float | None]:
    """By how many seeds a level is reached, and after how many updates and seconds in the mean."""
    reached = [
        statistics.time_to_reach(result.steps, result.scores, level) for result in group.counted
    ]
    seconds = [
        float(result.seconds(np.array(step)))
        for result, step in zip(group.counted, reached, strict=True)
    ]
    by = int(np.isfinite(reached).sum())
    if np.isnan(level):
        return NOTHING, None, None
    told = f"{by} of {len(reached)}"
    if not by:
        return told, None, None
    known = [value for value in seconds if np.isfinite(value)]
    return told, float(np.nanmean(reached)), float(np.mean(known)) if known else None
