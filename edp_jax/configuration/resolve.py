"""Checking a configuration before any work is done with it."""

import dataclasses
import json
import math
import os
from collections.abc import Mapping
from typing import Any

from edp_jax import algorithms, data
from edp_jax.configuration import groups
from edp_jax.configuration.make import all_settings, explain_unknown, make_config
from edp_jax.configuration.online import plan_online
from edp_jax.errors import program
from edp_jax.settings import Setting, check
from edp_jax.training.rounds import Rounds
from edp_jax.types import EnvSpec, InputError, TaskSpec


@dataclasses.dataclass(frozen=True)
class Settings:
    """A checked configuration, in the types that the rest of the library takes."""

    config: dict[str, Any]  # the whole of it, as config.json has it
    task: data.Task
    environment: EnvSpec | None  # to evaluate in
    execute: int  # actions that are taken before the policy chooses anew
    data_dir: str
    action_box: tuple | None  # low and high, as configured
    layout: data.Layout
    preprocessing: data.Preprocessing
    run: groups.Run
    source: groups.Source
    online: groups.Online
    rounds: Rounds | None  # of the online phase
    processes: groups.Processes
    learner: Any  # the learner's settings, see `edp_jax.algorithms`
    sweep: dict[str, tuple[float, ...]]  # values of the settings that are swept

    @property
    def num_updates(self) -> int:
        """Updates per seed, those of the online phase included."""
        return self.run.num_steps if self.rounds is None else self.rounds.end

    @property
    def algorithm(self) -> str:
        """The learner's name."""
        return self.config["algorithm"]


def resolve(config: Mapping[str, Any]) -> Settings:
    """Checks what can be checked without the data, and converts the configuration.

    Args:
      config: made by `make_config`, with other values where wanted.

    Raises:
      InputError: a value is of no use. The line names it, its limit and the remedy.
    """
    _check_kinds(config)
    algorithm = config["algorithm"]
    known = all_settings(algorithm)
    for name in config:
        if name not in known and name not in ("task", "algorithm", "sweep"):
            raise InputError(explain_unknown(algorithm, name))
    config = make_config(algorithm, config["task"]) | dict(config)  # an old run lacks new settings
    config = {name: _plain(value) for name, value in config.items()}
    for name, entry in known.items():
        check(entry, config[name], f"config.{name}")
    _check_read(config, known)
    _check_sweep(config, known)
    _check_seeds(config["seeds"])
    _check_best_by(config)
    config |= _absolute_paths(config)
    learner = algorithms.settings(algorithm, **_pick(config, algorithms.find(algorithm).settings))
    made = algorithms.make(algorithm, learner, TaskSpec(1, 1))  # refuses what does not fit together
    online = groups.Online(**_pick(config, groups.Online))
    environment = _environment(config)
    return Settings(
        config=config,
        task=_task(config),
        environment=environment,
        execute=_execute(config),
        data_dir=data.data_folder(config["data_dir"]),
        action_box=_action_box(config),
        layout=data.Layout(**_pick(config, data.Layout)),
        preprocessing=data.Preprocessing(**_pick(config, data.Preprocessing)),
        run=groups.Run(**_pick(config, groups.Run)),
        source=groups.Source(**_pick(config, groups.Source)),
        online=online,
        rounds=plan_online(config, online, environment, made.draws_ahead),
        processes=processes(config),
        learner=learner,
        sweep={name: values for name, values in config["sweep"].items() if values},
    )


def num_members(config: Mapping[str, Any]) -> int:
    """How many agents an unchecked configuration asks for: seeds times points of the sweep."""
    return len(config["seeds"]) * math.prod(max(1, len(v)) for v in config["sweep"].values())


def _check_read(config: Mapping[str, Any], known: Mapping[str, Setting]) -> None:
    """Refuses a setting with a value of its own that nothing reads while others are as they are."""
    defaults = make_config(config["algorithm"], config["task"])
    for name, entry in known.items():
        for other, values in entry.read_with.items():
            given = config[name] != defaults[name] or config["sweep"].get(name)
            if given and config[other] not in values:
                raise InputError(
                    f"config.{name}={config['sweep'].get(name) or config[name]} changes nothing: "
                    f"it is not read with {other}={config[other]!r}; leave it out, or set {other}"
                )


def _check_kinds(config: Mapping[str, Any]) -> None:
    """Refuses what is no configuration, such as one from a damaged file."""
    sweep = config.get("sweep", {})
    kinds = isinstance(sweep, Mapping) and all(isinstance(v, tuple | list) for v in sweep.values())
    if not kinds or not all(isinstance(config.get(key), str) for key in ("task", "algorithm")):
        raise InputError(
            "configuration: 'task' and 'algorithm' must be texts, and 'sweep' hold values by "
            "setting; make one with edp_jax.configuration.make_config(learner, task)"
        )


def _check_sweep(config: Mapping[str, Any], known: Mapping[str, Setting]) -> None:
    for name, values in config["sweep"].items():
        if name not in known or not known[name].traced:
            raise InputError(explain_unknown(config["algorithm"], f"sweep.{name}"))
        for value in values:
            check(known[name], value, f"config.sweep.{name}")
        if len(set(values)) < len(values):
            raise InputError(
                f"config.sweep.{name}={values}: a value is there twice; give each once"
            )
    for name in ("n_step", "horizon"):
        if config.get(name, 1) != 1 and config["sweep"].get("discount"):
            raise InputError(
                f"config.sweep.discount={config['sweep']['discount']} needs {name}=1: returns over "
                f"{config[name]} steps are computed once, with one discount"
            )
    if config.get("reward_transform") == "unit_return" and config["sweep"].get("discount"):
        raise InputError(
            f"config.sweep.discount={config['sweep']['discount']} needs another reward_transform "
            "than unit_return, which depends on the discount: use unit_magnitude"
        )


def _check_seeds(seeds: tuple[int, ...]) -> None:
    if not seeds or len(set(seeds)) < len(seeds):
        raise InputError(
            f"config.seeds={seeds} must be different integers from 0 to 2**31 - 1: set "
            "--config.seeds='(0,1,2)'"
        )


def _check_best_by(config: Mapping[str, Any]) -> None:
    """Refuses to choose a checkpoint by the data where that cannot be, or would be no choice."""
    if config["best_by"] != "fqe":
        return
    asked, num_steps, keep_every = "config.best_by=fqe", config["num_steps"], config["keep_every"]
    if config["online_steps"]:
        raise InputError(
            f"{asked}: judges by recorded steps alone, and with online_steps="
            f"{config['online_steps']} there is an environment, whose scores say more; leave it out"
        )
    if config["distributed"]:
        raise InputError(
            f"{asked}: several processes do not judge together; leave it out, and run "
            f"{program('select')} when they have finished"
        )
    if not 0 < keep_every < num_steps:
        raise InputError(
            f"{asked}: with keep_every={keep_every} and num_steps={num_steps} only the last "
            "checkpoint is kept for it; set --config.keep_every to a part of num_steps, such as "
            f"{max(1, num_steps // 5)}"
        )


def _absolute_paths(config: Mapping[str, Any]) -> dict[str, str]:
    """The settings that are paths, such that they mean the same in every working directory."""
    task = config["task"]
    file = data.find_task(task).file_name
    for path in (task, task.partition(":")[2]):
        if file and path and os.path.expanduser(path) == file:
            task = task.removesuffix(path) + os.path.abspath(file)
            break
    folders = {name: config[name] for name in ("data_dir", "init_from")}
    return {"task": task} | {
        name: folder and os.path.abspath(os.path.expanduser(folder))
        for name, folder in folders.items()
    }


def _task(config: Mapping[str, Any]) -> data.Task:
    task, scores = data.find_task(config["task"]), config["reference_scores"]
    if not scores:
        return task
    if len(scores) != 2:
        raise InputError(
            f"config.reference_scores={scores} must be two numbers: set "
            "--config.reference_scores='(0,4)'"
        )
    return dataclasses.replace(task, reference_scores=tuple(scores))


def _environment(config: Mapping[str, Any]) -> EnvSpec | None:
    env_id, kwargs = config["env_id"], config["env_kwargs"]
    try:
        is_object = isinstance(json.loads(kwargs), dict)
    except ValueError:
        is_object = False
    if not is_object:
        raise InputError(
            f"config.env_kwargs={kwargs!r} must be a JSON object: set "
            """--config.env_kwargs='{"frame_skip": 4}'"""
        )
    if env_id and env_id != "none":
        return EnvSpec(f"gymnasium:{env_id}", kwargs)
    if kwargs != "{}":
        raise InputError(
            f"config.env_kwargs={kwargs!r} says nothing without an environment: set --config.env_id"
        )
    environment = data.find_task(config["task"]).environment
    return EnvSpec(environment) if environment and not env_id else None


def _execute(config: Mapping[str, Any]) -> int:
    execute, horizon = config["execute"], config["horizon"]
    if execute > horizon:
        raise InputError(
            f"config.execute={execute}: the policy chooses only horizon={horizon} actions at once; "
            "set --config.execute to at most that, or train with a larger --config.horizon"
        )
    return execute or horizon


def _action_box(config: Mapping[str, Any]) -> tuple | None:
    low, high = config["action_low"], config["action_high"]
    if not low and not high:
        return None
    if not low or not high:
        key = "action_high" if low else "action_low"
        raise InputError(f"config.{key}=() is missing: set both ends of the box of the actions")
    return low, high


def processes(config: Mapping[str, Any]) -> groups.Processes:
    """How the processes of a run find each other, checked.

    It is known before everything else, since processes join before JAX is used.

    Raises:
      InputError: the settings do not fit together.
    """
    chosen = groups.Processes(**_pick(config, groups.Processes))
    if not chosen.distributed:
        for entry in dataclasses.fields(chosen):
            if getattr(chosen, entry.name) != entry.default:
                raise InputError(
                    f"config.{entry.name}={getattr(chosen, entry.name)!r} says nothing without "
                    "--config.distributed=True: set that, or leave it out"
                )
    address, number, index = chosen.coordinator_address, chosen.num_processes, chosen.process_id
    if address and not address.rpartition(":")[2].isdecimal():
        raise InputError(f"config.coordinator_address={address!r} must be HOST:PORT: set it so")
    if number and index >= number:
        raise InputError(
            f"config.process_id={index} must be below num_processes={number}: count from 0"
        )
    return chosen


def _pick(config: Mapping[str, Any], group: type) -> dict[str, Any]:
    """The settings of a group that the configuration has."""
    return {
        field.name: config[field.name]
        for field in dataclasses.fields(group)
        if field.name in config
    }


def _plain(value: Any) -> Any:
    """Lists as tuples, so that a configuration read from JSON equals the one that was written."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return tuple(value) if isinstance(value, list | tuple) else value
