"""A report: what is in it, and its files."""

import collections
import itertools
import os
import textwrap
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from edp_jax.errors import counted
from edp_jax.files import write_bytes
from edp_jax.reports import figures, folders, html, markdown, run_tables, score_tables, selected
from edp_jax.reports.figures import Picture
from edp_jax.reports.groups import (
    Group,
    by_label,
    make_groups,
    missing,
    planned_keys,
    read_expected,
)
from edp_jax.reports.looks import styles
from edp_jax.reports.plans import read_plans
from edp_jax.reports.results import Result, read_runs
from edp_jax.reports.selection import Selection, select
from edp_jax.reports.tables import Table, as_csv
from edp_jax.runs import plots
from edp_jax.types import InputError

_STATES = "finished unfinished diverged damaged repeated failed unreadable missing".split()


class Report(NamedTuple):
    """Tables and figures, in the order in which they are shown."""

    summary: str  # one paragraph: what it is about
    tables: list[Table]
    pictures: list[Picture]


def write_report(patterns: Sequence[str], out: str, expect: str | None = None) -> Report:
    """Reads runs and writes a report of them.

    Args:
      patterns: of folders, see `folders.search`.
      out: DIR; report.html, report.md, tables/*.csv and figures/*.svg and *.png are written there.
      expect: a csv file that names the runs that should be there, see `groups.read_expected`. By
        default these are those that the suite.json of a sweep lists, or else every learner on every
        task with every seed.

    Returns:
      What was written.

    Raises:
      InputError: no run is found, none can be read, or DIR cannot be written.
    """
    expected = None if expect is None else read_expected(expect)
    found = folders.search(patterns)
    results, unreadable = read_runs(found.runs)
    unreadable += map(folders.describe, found.without_config)
    if not results:
        reason = textwrap.shorten(unreadable[0].reason, 230, placeholder=" ...")
        raise InputError(
            f"--runs: none of {len(unreadable)} runs can be read; name others. The first: {reason}"
        )
    planned, no_plans = read_plans(found.sweeps)
    unreadable += no_plans
    unread = {each.workdir for each in unreadable}
    absent = [
        each for each in planned if each.workdir in unread or not folders.is_run(each.workdir)
    ]
    keys = planned_keys(absent, results)
    groups, repeated = make_groups(results, absent)
    rule = "Expected are all learners on all tasks with all seeds that any run has."
    if expect is not None:
        rule = f"Expected is what {os.path.basename(expect)} lists."
    elif planned:
        expected = {key for folder in keys.keys() - unread for key in keys[folder]}
        rule = f"Expected is what the {folders.PLAN} of a sweep lists."
    not_there = run_tables.missing_seeds(missing(groups, expected), rule)
    runs = run_tables.runs(groups, repeated, unreadable, keys)
    report = make_report(groups, runs, not_there)
    if (recommended := selected.recommended(groups)).rows:
        report.tables.append(recommended)
    if ranked := selected.read(found.runs):
        report.tables.append(selected.table(ranked))
        report.pictures.extend(filter(None, [selected.picture(ranked, results)]))
    try:
        for folder in (out, os.path.join(out, "tables"), os.path.join(out, "figures")):
            os.makedirs(folder, exist_ok=True)
        _write(report, out)
    except OSError as error:
        raise InputError(
            f"--out={out}: cannot be written ({error.strerror}); name a folder that can"
        ) from error
    return report


def make_report(groups: Sequence[Group], runs: Table, absent: Table) -> Report:
    """Makes the tables and figures.

    Args:
      groups: the runs, sorted.
      runs: the table of all runs with their states.
      absent: the table of runs that are missing.
    """
    chosen = {
        (group.task, group.label): found
        for group in groups
        if (found := choose_online(group.counted)) is not None
    }
    tables = [
        score_tables.scores(groups),
        score_tables.domain_averages(groups),
        score_tables.aggregates(groups),
        score_tables.improvement(groups),
        score_tables.beside_the_paper(groups),
        score_tables.picked(groups, chosen),
        run_tables.time_to_score(groups),
        run_tables.speed(groups),
        run_tables.critics(groups),
        runs,
        absent,
    ]
    return Report(_summary(groups, runs, absent), tables, list(_pictures(groups, chosen)))


def choose_online(results: Sequence[Result]) -> Selection | None:
    """The mean over runs of what is picked online among the evaluations of each.

    Returns:
      None where no run has an evaluation that can be used.
    """
    found = [select(result.episodes) for result in results]
    of_runs = [each for each in found if each is not None]
    if not of_runs:
        return None
    return Selection(
        np.mean([each.scores for each in of_runs], axis=0),
        float(np.mean([each.of_oms for each in of_runs])),
        float(np.mean([each.seen_by_oms for each in of_runs])),
        (
            min(each.evaluations[0] for each in of_runs),
            max(each.evaluations[1] for each in of_runs),
        ),
    )


def provenance(shown: Sequence[Sequence[Result]]) -> str:
    """What is behind numbers or a figure.

    Args:
      shown: the seeds of each learner on each task.
    """
    sizes = sorted(map(len, shown))
    results = [result for seeds in shown for result in seeds]
    least, most = sizes[0], sizes[-1]
    seeds = f"{least} to {most} seeds" if least < most else counted(most, "seed")
    commits = sorted({commit for each in results for commit in each.short_commits})
    machines = sorted({machine for each in results for machine in each.machines})
    return (
        f"{seeds} per learner and task, {counted(len(results), 'run')} in all. "
        f"Commits: {', '.join(commits)}. Machines: {'; '.join(machines)}."
    )


def _summary(groups: Sequence[Group], runs: Table, absent: Table) -> str:
    tasks, labels = {group.task for group in groups}, {group.label for group in groups}
    column = [name for name, *_ in runs.columns].index("state")
    states = collections.Counter(row[column] for row in runs.rows)
    states["missing"] = sum(len(row[2]) for row in absent.rows)
    told = ", ".join(f"{states[state]} {state}" for state in _STATES if states[state])
    return (
        f"{counted(len(labels), 'learner')} on {counted(len(tasks), 'task')}: {told} (a run is one "
        f"seed). "
        f"{provenance([group.results for group in groups])}"
    )


def _pictures(
    groups: Sequence[Group], chosen: dict[tuple[str, str], Selection]
) -> Iterable[Picture]:
    look = styles(groups)
    if by_label(groups):
        yield figures.interquartile_means(groups, look)
        yield figures.performance_profiles(groups, look)
    for task, of_task in itertools.groupby(groups, key=lambda group: group.task):
        own = list(of_task)
        if any(figures.has_curve(result) for group in own for result in group.results):
            yield figures.learning_curves(task, own, look)
        picked = {label: found for (where, label), found in chosen.items() if where == task}
        if picked:
            yield figures.online_choice(task, picked, own, look)
        if any(figures.has_critic(result) for group in own for result in group.results):
            yield figures.critic_values(task, own, look)


def _write(report: Report, out: str) -> None:
    drawings = {}
    for picture in report.pictures:
        svg = html.themed(plots.as_svg(picture.figure, picture.name))
        drawings[picture.name] = svg
        path = os.path.join(out, "figures", picture.name)
        write_bytes(f"{path}.svg", svg.encode())
        plots.write(picture.figure, f"{path}.png")
    for table in report.tables:
        write_bytes(os.path.join(out, "tables", f"{table.name}.csv"), as_csv(table).encode())
    captions = {each.name: provenance(each.shown) for each in report.pictures}
    page = html.page(report.summary, report.tables, report.pictures, captions, drawings)
    write_bytes(os.path.join(out, "report.html"), page.encode())
    text = markdown.page(report.summary, report.tables, report.pictures, captions)
    write_bytes(os.path.join(out, "report.md"), text.encode())
