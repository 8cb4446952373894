"""Which runs belong together: the seeds of one learner, with one set of settings, on one task."""

import csv
import dataclasses
import functools
import os
from collections.abc import Hashable, Iterable, Mapping, Sequence, Set
from typing import Any, NamedTuple

import numpy as np

from edp_jax.configuration import make_config
from edp_jax.reports import statistics
from edp_jax.reports.paper import DOMAIN_TASKS
from edp_jax.reports.plans import Planned
from edp_jax.reports.results import Result
from edp_jax.tasks import TASKS
from edp_jax.types import InputError

# Settings of a machine, of files and of how often a run is evaluated, and those that name the task
# and the members of a run
_NEVER_NAMED = frozenset(
    {
        *("task", "algorithm", "seeds", "sweep", "writers", "data_dir", "data_placement"),
        *("log_every", "checkpoint_every", "compilation_cache", "distributed", "process_id"),
        *("num_processes", "coordinator_address", "keep_last", "keep_every", "step_seconds"),
        *("best_by", "eval_every", "eval_episodes", "online_data"),
    }
)
# A run's length and where it is evaluated do not make another learner. Yet seeds that differ in
# them do not belong together.
_NAMED_WHERE_DIFFERENT = frozenset({"num_steps", "env_id", "env_kwargs", "reference_scores"})


class Key(NamedTuple):
    """A seed of a learner on a task; the learner's settings are part of its name."""

    task: str
    learner: str
    seed: int


@dataclasses.dataclass(frozen=True)
class Group:
    """The seeds of one learner on one task."""

    task: str
    label: str  # the learner, with its settings that are not the defaults of the task
    results: tuple[Result, ...]  # all seeds, in their order

    @property
    def learner(self) -> str:
        return self.results[0].learner

    @property
    def known_task(self) -> str:
        """The task's name among those known by name, whichever reader and data it has."""
        return self.results[0].task.removeprefix("legacy:")

    @property
    def domain(self) -> str:
        return domain_of(self.known_task)

    @property
    def unit(self) -> str:
        """Of all scores: "score", "return", or "" where there are none."""
        return max(result.unit for result in self.results)

    @property
    def counted(self) -> tuple[Result, ...]:
        """The seeds whose scores stand for the learner."""
        return tuple(result for result in self.results if result.counts)

    def values(self, measure: str) -> np.ndarray:
        """One of the `statistics.Measures` [S] of every seed that counts."""
        measures = (statistics.measure(result.scores) for result in self.counted)
        return np.array([getattr(each, measure) for each in measures], float)


class Repeated(NamedTuple):
    """A seed that was run once more, so that it does not count."""

    task: str
    label: str
    result: Result
    kept: str  # the folder of the run that is taken


def domain_of(task: str) -> str:
    """The domain of the paper that a task is in, "builtin", "other adroit", ... or "other"."""
    if task.startswith("builtin/"):
        return "builtin"
    for domain, tasks in DOMAIN_TASKS.items():
        if task in tasks:
            return domain
    return f"other {TASKS[task].domain}" if task in TASKS else "other"


def _precedence(result: Result) -> tuple:
    """Sorts runs of the same seed; the report takes the first of them and lists the others."""
    return -result.updates_done, not result.counts, result.workdir


def make_groups(
    results: Sequence[Result], absent: Sequence[Planned] = ()
) -> tuple[list[Group], list[Repeated]]:
    """Sorts results into groups.

    The settings of a learner that are not the defaults of the task are named behind it, and tell
    its runs apart. The number of updates, the environment and settings without a default are named
    only where they alone tell runs apart. Where a seed was run twice, the run with more updates
    is taken; of as many, one that counts.

    Args:
      results: of all runs.
      absent: seeds of planned runs that have no result; their settings are told apart as well.

    Returns:
      The groups, by task and label; and the repeated results.
    """
    tasks = _task_labels(results)
    labels = _learner_labels([*results, *absent])
    found: dict[tuple[str, str], dict[int, Result]] = {}
    repeated = []
    for result in sorted(results, key=_precedence):
        named = (tasks[result], labels[result])
        seeds = found.setdefault(named, {})
        if result.seed in seeds:
            repeated.append(Repeated(*named, result, seeds[result.seed].workdir))
        else:
            seeds[result.seed] = result
    groups = [
        Group(task, label, tuple(seeds[seed] for seed in sorted(seeds)))
        for (task, label), seeds in sorted(found.items())
    ]
    return groups, repeated


def planned_keys(
    absent: Sequence[Planned], results: Sequence[Result]
) -> dict[str, tuple[Key, ...]]:
    """Names what is not there as `make_groups` names what is.

    Args:
      absent: seeds of runs that are not there, or cannot be read.
      results: of all runs.

    Returns:
      The seeds of each run, by its folder.
    """
    labels = _learner_labels([*results, *absent])
    keys: dict[str, tuple[Key, ...]] = {}
    for each in absent:
        key = Key(each.task, labels[each], each.seed)
        keys[each.workdir] = (*keys.get(each.workdir, ()), key)
    return keys


def read_expected(path: str) -> set[Key]:
    """Reads what should be there.

    Args:
      path: a csv file with the columns task, learner and seed; a learner is named as in the report.

    Raises:
      InputError: it cannot be read, or is no such table.
    """
    try:
        with open(os.path.expanduser(path), newline="", encoding="utf-8-sig") as file:
            table = csv.DictReader(file)
            rows = [[row[name].strip() for name in Key._fields] for row in table]
            named = set(Key._fields) <= set(table.fieldnames or ())
        keys = {Key(task, learner, int(seed)) for task, learner, seed in rows}
        if not named or not all(key.task and key.learner for key in keys):
            raise ValueError
    except (OSError, AttributeError, KeyError, ValueError, csv.Error) as error:
        raise InputError(
            f"--expect={path}: cannot be read as a table; give a csv file with the columns task, "
            "learner and seed, a number, with commas between, one row per run"
        ) from error
    if not keys:
        raise InputError(f"--expect={path}: lists no run; give one row per run below its head")
    return keys


def missing(groups: Sequence[Group], expected: Iterable[Key] | None = None) -> list[Key]:
    """Lists the runs that should be there and are not: learner, task and seed of each.

    Args:
      groups: what was found.
      expected: what should be there. None: every learner on every task that any of them has, with
        every seed that any group has.
    """
    found = {Key(g.task, g.label, result.seed) for g in groups for result in g.results}
    if expected is None:
        tasks, labels = {g.task for g in groups}, {g.label for g in groups}
        seeds = {key.seed for key in found}
        expected = {Key(task, label, s) for task in tasks for label in labels for s in seeds}
    return sorted(set(expected) - found)


def by_label(groups: Iterable[Group]) -> dict[str, list[Group]]:
    """The groups of each learner whose scores can be compared over tasks: no returns."""
    found: dict[str, list[Group]] = {}
    for group in groups:
        if group.unit == "score" and group.counted:
            found.setdefault(group.label, []).append(group)
    return found


def domains(groups: Iterable[Group]) -> list[str]:
    """The domains of the groups, the paper's first."""
    found = {group.domain for group in groups}
    first = [domain for domain in (*DOMAIN_TASKS, "builtin") if domain in found]
    return first + sorted(found - set(first))


def _task_labels(results: Sequence[Result]) -> dict[Result, str]:
    """The task of each result, with what tells it from other tasks of that name.

    These are files with other content, and evaluations without scores beside those with scores.
    """
    checksums: dict[str, set[str]] = {}
    units: dict[str, set[str]] = {}
    for result in results:
        checksums.setdefault(result.task, set()).add(result.sha256)
        units.setdefault(result.task, set()).add(result.unit)
    labels = {}
    for result in results:
        several = len(checksums[result.task]) > 1
        returns = result.unit == "return" and "score" in units[result.task]
        data = f" (data {result.sha256[:8]})" if several else ""
        labels[result] = result.task + data + (" (returns)" if returns else "")
    return labels


def _learner_labels(results: Sequence[Result | Planned]) -> dict[Result | Planned, str]:
    """The learner of each result, with its settings that are not the defaults of the task.

    Behind these are the others in which runs on the task differ that had the same label otherwise.
    """
    alike: dict[tuple[str, str], list[Result | Planned]] = {}
    for result in results:
        label = _label(result, result.learner, _named(result))
        alike.setdefault((result.task, label), []).append(result)
    labels = {}
    for (_, label), same in alike.items():
        values: dict[str, set[Hashable]] = {}
        for result in same:
            for name in result.settings.keys() - _NEVER_NAMED - _named(result):
                values.setdefault(name, set()).add(_plain(result.settings[name]))
        differing = {name for name, different in values.items() if len(different) > 1}
        labels |= {result: _label(result, label, differing) for result in same}
    return labels


def _named(result: Result | Planned) -> Set[str]:
    """The settings that are part of a learner's name if they differ from the task's defaults."""
    defaults = _defaults(result.learner, result.settings["task"])
    return result.settings.keys() & defaults.keys() - _NEVER_NAMED - _NAMED_WHERE_DIFFERENT


def _label(result: Result | Planned, first: str, names: Set[str]) -> str:
    """What is to be named first, and of the named settings those that are not the defaults."""
    defaults = _defaults(result.learner, result.settings["task"])
    parts = [
        f"{name}={_short(result.settings[name])}"
        for name in sorted(names & result.settings.keys())
        if name not in defaults or _plain(result.settings[name]) != _plain(defaults[name])
    ]
    return " ".join([first, *parts])


@functools.cache
def _defaults(learner: str, task: str) -> Mapping[str, Any]:
    try:
        return make_config(learner, task)
    except InputError:  # a learner or a task of another version
        return {}


def _plain(value: Any) -> Hashable:
    """A value of a configuration so that equal ones are equal, also once read from JSON."""
    if isinstance(value, Mapping):
        return tuple((name, _plain(item)) for name, item in sorted(value.items()))
    return tuple(map(_plain, value)) if isinstance(value, list | tuple) else value


def _short(value: Any) -> str:
    """A value as it is typed on a command line."""
    if isinstance(value, list | tuple):
        value = tuple(value)
    return f"{value:.15g}" if isinstance(value, float) else str(value).replace(" ", "")
