"""Suites: lists of runs, in files that say (configuration, task, changed settings) for each."""

import ast
import collections
import hashlib
import os
import pathlib
import re
import runpy
import traceback
from collections.abc import Mapping, Sequence
from typing import Any

from edp_jax import InputError, configuration
from edp_jax.configuration import build, groups
from edp_jax.errors import one_line
from edp_jax.files import plain
from edp_jax.settings import describe

from . import launch, mirror
from .jobs import Job

SUITES = pathlib.Path(__file__).parents[1] / "configs" / "suites"  # beside this folder
_LONGEST = 120  # characters of a folder's name
# A run goes on with other values of these, so they are not part of its name.
_NOT_NAMED = frozenset(
    entry.name
    for group in (groups.Run, groups.Source, groups.Processes)
    for entry in describe(group)
    if entry.may_change
)


def suite_names() -> list[str]:
    """The names that --suite knows without a path."""
    return sorted(path.stem for path in SUITES.glob("*.py") if path.stem != "__init__")


def read_suite(name: str) -> list[tuple[str, str, dict[str, Any]]]:
    """Runs the file of a suite.

    Args:
      name: of one of our suites, or the path of a file with a function `get_suite`.

    Returns:
      What its `get_suite` returns.

    Raises:
      InputError: there is no such file, it fails, or what it returns is no suite.
    """
    path = pathlib.Path(name)
    if not path.is_file():
        path = SUITES / f"{path.stem}.py"
        if str(pathlib.Path(name).parent) not in (".", "configs/suites") or not path.is_file():
            raise InputError(
                f"--suite={name}: no such file, and no suite of that name; use one of "
                f"{', '.join(suite_names())}, or the path of a file of your own"
            )
    try:
        get_suite = runpy.run_path(str(path)).get("get_suite")
        if not callable(get_suite):
            raise InputError(f"--suite={name}: has no function get_suite(); write one")
        suite = list(get_suite())
    except InputError:
        raise
    except (Exception, SystemExit) as error:  # it is a program of the user
        raise InputError(
            f"--suite={name}: {_place(error, str(path))}fails with {type(error).__name__}: "
            f"{one_line(error)}; mend it"
        ) from error
    for entry in suite:
        fits = isinstance(entry, Sequence) and len(entry) == 3 and isinstance(entry[2], Mapping)
        if not fits or not all(isinstance(text, str) for text in entry[:2]):
            raise InputError(
                f"--suite={name}: {str(entry)[:80]} is no run; write (configuration, task, "
                "{setting: value})"
            )
    if not suite:
        raise InputError(f"--suite={name}: is empty; list at least one run")
    return suite


def _place(error: BaseException, path: str) -> str:
    """The line of a file that an error comes from, as "line 3 "; empty where it is none of its."""
    if isinstance(error, SyntaxError) and error.filename == path:
        return f"line {error.lineno} " if error.lineno else ""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == path]
    return f"line {lines[-1]} " if lines else ""


def parse_pairs(flag: str, texts: Sequence[str]) -> dict[str, Any]:
    """What is given to a flag as KEY=VALUE; a value that is no number or tuple is a text.

    Only the setting `sweep` is a dictionary; the others that look like one are JSON texts.

    Raises:
      InputError: one has no =.
    """
    changes: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals:
            raise InputError(f"--{flag}={text}: has no value; write --{flag}={text}=VALUE")
        try:
            parsed = ast.literal_eval(value)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            parsed = value
        changes[key] = value if isinstance(parsed, dict) and key != "sweep" else parsed
    return changes


def make_jobs(
    suite: Sequence[tuple[str, str, Mapping[str, Any]]],
    out: str,
    changes: Mapping[str, Any],
) -> tuple[list[Job], list[dict[str, Any]]]:
    """Checks the runs of a suite and says how each is started.

    Args:
      suite: from `read_suite`.
      out: the folder that gets one folder per run.
      changes: settings of all runs, on top of their own.

    Returns:
      The jobs, and for each what suite.json says about it.

    Raises:
      InputError: a run cannot be configured so, or two are the same.
    """
    jobs, records = [], []
    for config_name, task, own in suite:
        values = {**own, **changes}
        label = f"suite: {config_name} on {task}"
        try:
            settings = configuration.resolve(_configure(config_name, task, values))
        except InputError as error:
            raise InputError(f"{label}: {error}"[:300]) from error
        config_name = _absolute(config_name)
        name = folder_name(config_name, task, values)
        workdir = f"{out.rstrip('/')}/{name}"
        arguments = (
            "-m",
            f"{__package__}.main",
            f"--config={config_name}:{settings.config['task']}",
        )
        given = [flag for key, value in values.items() for flag in _flags(key, value)]
        judged = settings.run.best_by == "fqe"
        jobs.append(Job(name, workdir, settings.num_updates, (*arguments, *given), judged))
        records.append(
            {"name": name, "config": config_name, "task": task, "overrides": plain(values)}
            | {"settings": plain(settings.config)}
        )
    twice = [name for name, n in collections.Counter(job.name for job in jobs).items() if n > 1]
    if twice:
        raise InputError(
            f"suite: {twice[0]} is there {sum(job.name == twice[0] for job in jobs)} times; "
            "leave it out, or let its settings differ in more than its length"
        )
    return jobs, records


def lacking(jobs: Sequence[Job], records: Sequence[Mapping[str, Any]]) -> dict[Job, str]:
    """What runs lack on this machine of their data and packages.

    Args:
      jobs: of `make_jobs`.
      records: likewise.

    Returns:
      For the runs that lack something, why they would fail.
    """
    reasons, found = dict[Any, str](), dict[Job, str]()
    for job, record in zip(jobs, records, strict=True):
        settings = configuration.resolve(record["settings"])
        needed = settings.task, settings.data_dir, settings.layout, settings.environment
        if needed not in reasons:
            try:
                build.check_there(settings)
                reasons[needed] = ""
            except InputError as error:
                reasons[needed] = str(error)
        if reasons[needed]:
            found[job] = reasons[needed]
    return found


def folder_name(config_name: str, task: str, values: Mapping[str, Any]) -> str:
    """The name of a run and of its folder.

    It names all that was changed but for settings with which the same run can go on, such as its
    length.
    """
    parts = [pathlib.Path(config_name).stem, task]
    parts += [f"{key}={values[key]}" for key in sorted(values) if key not in _NOT_NAMED]
    name = "__".join(_as_name(part) for part in parts)
    if len(name) <= _LONGEST:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{name[: _LONGEST - 9]}-{digest}"


def _as_name(text: str) -> str:
    """A text with characters that any storage takes."""
    text = re.sub(r"[()\[\]{}' ]", "", text)
    return re.sub(r"[^\w.=+-]+", "-", text).strip("-")


def absolute_out(out: str) -> str:
    """The folder of a sweep, such that it means the same on every machine that shares it."""
    return out if mirror.is_remote(out) else os.path.abspath(os.path.expanduser(out))


def _configure(config_name: str, task: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration that a file makes for a task, with some values changed."""
    path = launch.find_config(config_name)
    sweep = values.get("sweep", {})
    if not isinstance(sweep, Mapping):
        raise InputError(
            f"sweep={sweep!s:.60}: must name settings and their values; give them as "
            "sweep={'eta': (0.5, 1.0)}"
        )
    config = runpy.run_path(path)["get_config"](task).to_dict()
    return config | dict(values) | {"sweep": config["sweep"] | dict(sweep)}


def _absolute(config_name: str) -> str:
    """The path of a configuration file of the user, or the name of one of ours."""
    return os.path.abspath(config_name) if os.path.isfile(config_name) else config_name


def _flags(key: str, value: Any) -> list[str]:
    """The flags of experiments.main that give a setting a value."""
    if isinstance(value, Mapping):
        return [flag for name, each in value.items() for flag in _flags(f"{key}.{name}", each)]
    return [f"--config.{key}={tuple(value) if isinstance(value, list) else value}"]
