"""Making a configuration: the settings of run, data and learner with the values of a task."""

import difflib
from typing import Any

from edp_jax import algorithms, settings
from edp_jax.configuration import groups, published
from edp_jax.data import Layout, Preprocessing
from edp_jax.errors import program
from edp_jax.settings import Setting
from edp_jax.types import InputError

DEFAULT_TASK = "builtin/hopper-medium-expert"
_LEARNERS = ("discount", "holdout")  # of the data options, those that are settings of the learner
_REWARDS = ("reward_rule", "reward_transform", "reward_scale", "reward_shift", "n_step")


def list_settings(algorithm: str) -> dict[str, list[Setting]]:
    """Everything that can be set for a learner, by the title of the group it belongs to.

    Settings that the learner does not read are not among them: cloning, say, has no rewards.

    Raises:
      InputError: no such learner.
    """
    learner = settings.describe(algorithms.find(algorithm).settings)
    learns_values = any(entry.name == "discount" for entry in learner)
    data = [
        entry
        for entry in settings.describe(Layout) + settings.describe(Preprocessing)
        if entry.name not in _LEARNERS and (learns_values or entry.name not in _REWARDS)
    ]
    return {
        "run": settings.describe(groups.Run),
        "data": settings.describe(groups.Source) + data,
        "evaluation": settings.describe(groups.Environment),
        "online": settings.describe(groups.Online),
        "learner": learner,
        "processes": settings.describe(groups.Processes),
    }


def all_settings(algorithm: str) -> dict[str, Setting]:
    """The same in one dictionary, by name."""
    return {entry.name: entry for group in list_settings(algorithm).values() for entry in group}


def make_config(algorithm: str, task: str | None = None, **changes: Any) -> dict[str, Any]:
    """The configuration of a run of one learner on one task.

    Args:
      algorithm: name of a learner, a key of `edp_jax.algorithms.REGISTRY`.
      task: its name or a path to a data file; None is the embedded default.
      **changes: settings that have another value than the task's or the learner's.

    Returns:
      A flat dictionary of settings, with `task`, `algorithm`, and `sweep`. The last is a dictionary
      with a tuple of values for every setting that can be swept, empty for those that are not.

    Raises:
      InputError: no such learner, or it has no such setting.
    """
    known = all_settings(algorithm)
    task = task or DEFAULT_TASK
    config: dict[str, Any] = {"task": task, "algorithm": algorithm}
    config |= {name: entry.default for name, entry in known.items()}
    task_settings = published.task_settings(task, algorithm)
    config |= {name: value for name, value in task_settings.items() if name in known}
    config["sweep"] = {name: () for name, entry in known.items() if entry.traced}
    for name, value in changes.items():
        if name == "sweep":
            config["sweep"] |= value
        elif name in config:
            config[name] = value
        else:
            raise InputError(explain_unknown(algorithm, name))
    return config


def may_change(algorithm: str) -> frozenset[str]:
    """Settings that may have another value when a run goes on: training does not depend on them."""
    known = all_settings(algorithm)
    return frozenset(name for name, entry in known.items() if entry.may_change)


def explain_unknown(algorithm: str, key: str) -> str:
    """One line that says why a learner has no such setting, and what it has instead."""
    name = key.removeprefix("sweep.")
    readers = [other for other in algorithms.REGISTRY if name in all_settings(other)]
    if key != name and name in all_settings(algorithm):
        sweepable = settings.traced_names(algorithms.find(algorithm).settings)
        return (
            f"config key {key!r}: {name} shapes the compiled program and cannot be swept; "
            f"sweep one of {', '.join(sweepable)}"
        )
    if readers:
        return (
            f"config key {key!r}: {algorithm} does not read {name}, so it would change nothing "
            f"({', '.join(readers)} {'do' if len(readers) > 1 else 'does'}); leave it out"
        )
    near = difflib.get_close_matches(name.lower(), all_settings(algorithm), n=1, cutoff=0.0)[0]
    return (
        f"config key {key!r} is unknown: did you mean {near!r}? "
        f"{program('settings')} {algorithm} lists all keys"
    )
