"""The tables of scores, each made from the groups of runs."""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from edp_jax.reports import paper, selection, statistics
from edp_jax.reports.groups import Group, by_label, domains
from edp_jax.reports.tables import NOTHING, Table, interval, number, span, with_error, words

MEASURES = ("last", "oms", "rat")


def scores(groups: Sequence[Group]) -> Table:
    """Every learner on every task, in scores or else in returns."""
    rows = []
    for group in groups:
        last = group.values("last")
        numbers = [_mean(group.values(measure)) for measure in MEASURES]
        iqm = statistics.iqm([last]) if len(last) else (None, None, None)
        updates = max(result.updates_done for result in group.results)
        seeds = f"{len(last)} of {len(group.results)}"
        first = (group.task, group.label, group.unit or NOTHING, seeds, updates)
        rows.append((*first, *numbers, _evaluations([group]), iqm))
    columns = (
        *(words("task"), words("learner"), words("unit"), words("seeds")),
        *(number("updates", 0), with_error("last"), with_error("OMS"), with_error("RAT")),
        *(span("evaluations"), interval("IQM of last")),
    )
    note = (
        "Mean and standard error over seeds. last: the last evaluation. OMS: the best of as many "
        "evaluations per seed as the column says, which flatters the more there are; evaluations "
        "without a result are not among them. RAT: the mean of the "
        "last ten evaluations, at the end of training. IQM: the interquartile mean of last, with "
        "its 95 % bootstrap interval. Seeds: those that count of those that there are; runs that "
        "did not end, have diverged or have no result at the end are in the table of runs."
    )
    return Table("scores", "Scores by task and learner", note, columns, rows)


def domain_averages(groups: Sequence[Group]) -> Table:
    """The mean over the tasks of a domain, and the paper's where all its tasks are there."""
    published = {(each.task, each.learner): each.score for each in paper.DOMAINS}
    rows = []
    for domain in domains(groups):
        of_domain = [group for group in groups if group.domain == domain]
        for label, own in by_label(of_domain).items():
            numbers = [statistics.mean_of_tasks(_strata(own, measure)) for measure in MEASURES]
            tasks = paper.DOMAIN_TASKS.get(domain)
            complete = tasks is not None and sorted(g.known_task for g in own) == sorted(tasks)
            reference = published.get((domain, own[0].learner)) if complete else None
            difference = None if reference is None else numbers[1][0] - reference
            of = f"{len(own)} of {len(tasks)}" if tasks else str(len(own))
            first = (domain, label, of, _updates(own))
            rows.append((*first, *numbers, _evaluations(own), reference, difference))
    columns = (
        *(words("domain"), words("learner"), words("tasks"), span("updates")),
        *(with_error("last"), with_error("OMS"), with_error("RAT"), span("evaluations")),
        *(number("paper's OMS"), number("difference", sign=True)),
    )
    note = (
        "Means over tasks of the means over seeds. A domain has the paper's tasks; the built-in "
        "tasks and others count for themselves. The standard error tells of the seeds alone and is "
        "missing where a task has one seed. OMS is the best of as many evaluations per seed as the "
        f"column says. The paper's mean is shown where all its tasks are there ({paper.SOURCE})."
    )
    return Table("domains", "Averages by domain", note, columns, rows)


def aggregates(groups: Sequence[Group]) -> Table:
    """The interquartile mean of each learner over all its tasks."""
    rows = []
    for label, own in by_label(groups).items():
        numbers = [statistics.iqm(_strata(own, measure)) for measure in MEASURES]
        count = sum(len(group.counted) for group in own)
        tasks = tuple(group.task for group in own)
        rows.append((label, tasks, count, _updates(own), *numbers, _evaluations(own)))
    columns = (
        *(words("learner"), words("tasks"), number("runs", 0), span("updates")),
        *(interval("IQM of last"), interval("IQM of OMS"), interval("IQM of RAT")),
        span("evaluations"),
    )
    note = (
        "The interquartile mean of the scores of all runs of a learner, with its 95 % percentile "
        "interval of 10,000 bootstrap samples, stratified by task (arXiv 2108.13264). Learners "
        "with other tasks do not compare. Tasks without scores are left out. OMS is the best of as "
        "many evaluations per seed as the column says."
    )
    return Table("aggregates", "Interquartile means", note, columns, rows)


def improvement(groups: Sequence[Group]) -> Table:
    """Every pair of learners on the tasks that both have."""
    rows = []
    for (ours, own), (theirs, others) in itertools.combinations(by_label(groups).items(), 2):
        x = {group.task: group.values("last") for group in own}
        y = {group.task: group.values("last") for group in others}
        if tasks := sorted(x.keys() & y.keys()):
            found = statistics.probability_of_improvement(
                [x[task] for task in tasks], [y[task] for task in tasks]
            )
            rows.append((ours, theirs, len(tasks), found))
    columns = (words("learner X"), words("learner Y"), number("tasks", 0), interval("P(X > Y)", 2))
    note = (
        "How often a seed of X has a higher last score than a seed of Y on the same task, a tie "
        "counting half, as the mean over the tasks that both have; with its 95 % bootstrap "
        "interval (arXiv 2108.13264). With three seeds or fewer the interval says little."
    )
    return Table("improvement", "Probability of improvement", note, columns, rows)


def beside_the_paper(groups: Sequence[Group]) -> Table:
    """Ours and the paper's, wherever the paper has the task and the learner."""
    rows = []
    for figure in paper.TASKS:
        for group in groups:
            values = group.values(figure.measure)
            same = (group.known_task, group.learner) == (figure.task, figure.learner)
            if same and group.unit == "score" and len(values):
                mean, error = _mean(values)
                updates = max(result.updates_done for result in group.counted)
                cells = (group.task, group.label, figure.measure.upper(), len(values), updates)
                numbers = ((mean, error), figure.score, mean - figure.score)
                rows.append((*cells, _evaluations([group]), *numbers))
    columns = (
        *(words("task"), words("learner"), words("measure"), number("seeds", 0)),
        *(number("our updates", 0), span("evaluations"), with_error("ours"), number("paper")),
        number("difference", sign=True),
    )
    note = (
        f"{paper.SOURCE}, five seeds, 2,000,000 updates. A run with fewer updates, or with "
        "settings that are not the task's defaults, which the learner's name tells, is no "
        "repetition of the paper's. OMS is the best of as many of our evaluations per seed as the "
        "column says, RAT the mean of the last ten of them."
    )
    return Table("paper", "The paper's figures beside ours", note, columns, rows)


def picked(groups: Sequence[Group], chosen: Mapping[tuple[str, str], selection.Selection]) -> Table:
    """What the policy scores that is picked online.

    Args:
      groups: that it was picked from.
      chosen: by task and learner, the means over runs.
    """
    rows = []
    for (task, label), found in chosen.items():
        after = [found.scores[k - 1] for k in (1, 10, 50, selection.MAX_PULLS)]
        cost = found.seen_by_oms - found.of_oms
        row = (task, label, found.evaluations, *after)
        rows.append((*row, found.seen_by_oms, found.of_oms, cost))
    columns = (
        *(words("task"), words("learner"), span("evaluations")),
        *(number(f"after {k}") for k in (1, 10, 50, selection.MAX_PULLS)),
        *(number("OMS as reported"), number("OMS, true"), number("flattered by")),
    )
    note = (
        "The expected true score of the policy that is picked after so many online episodes (UCB1 "
        "among the evaluations of a run, arXiv 2504.11453), and of OMS, which uses all of them. "
        "Each policy's episodes are split in two 200 times: one half is for choosing, the mean of "
        "the other is the true score. OMS as reported here is the best mean of the first halves, "
        f"of as many evaluations per seed as the column says.{_left_out(groups)}"
    )
    return Table("selection", "What choosing a policy online costs", note, columns, rows)


def _left_out(groups: Sequence[Group]) -> str:
    """A sentence on the evaluations that no policy can be picked from."""
    told = []
    for group in groups:
        usable = [selection.usable(result.episodes) for result in group.counted]
        if left := int(sum((~of_seed).sum() for of_seed in usable)):
            seeds = [r.seed for r, of in zip(group.counted, usable, strict=True) if not of.all()]
            every = sum(map(len, usable))
            of_seeds = f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"
            told.append(f"{group.task}, {group.label}: {left} of {every}, of {of_seeds}")
    if not told:
        return ""
    return (
        " Left out are evaluations with fewer than two episodes that count, which cannot be split "
        f"({'; '.join(told)})."
    )


def _evaluations(groups: Sequence[Group]) -> tuple[int | None, int | None]:
    """The fewest and the most evaluations with a result, of the seeds that count."""
    counts = [int(count) for group in groups for count in group.values("num_evaluations")]
    return min(counts, default=None), max(counts, default=None)


def _updates(groups: Sequence[Group]) -> tuple[int | None, int | None]:
    """The fewest and the most updates of the seeds that count."""
    done = [result.updates_done for group in groups for result in group.counted]
    return min(done, default=None), max(done, default=None)


def _mean(values: np.ndarray) -> tuple[float, float]:
    return (float(values.mean()) if len(values) else np.nan, statistics.standard_error(values))


def _strata(groups: Sequence[Group], measure: str) -> list[np.ndarray]:
    return [group.values(measure) for group in groups]
