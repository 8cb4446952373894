"""What every program here shares: flags and errors in one line, and a ConfigDict turned into typed settings, once."""

import dataclasses
import difflib
import json
import math
import os
import runpy
import sys
from collections.abc import Callable, Sequence

from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags

from edp_jax import InputError, TaskSpec, algorithms, data, evaluation
from edp_jax.algorithms import AlgorithmConfig, Hypers
from edp_jax.algorithms.base import AgentState
from edp_jax.data import rewards
from edp_jax.evaluation import envs
from edp_jax.training import evaluator, hosts, stream, writers
from edp_jax.training.members import Member, grid
from edp_jax.types import EnvSpec

EXIT_BAD_INPUT = 2
EXIT_STOPPED = 75  # EX_TEMPFAIL: the same command goes on

LIMITS = (  # (keys, condition, its words)
    (
        (
            *(
                "num_steps",
                "log_every",
                "eval_every",
                "eval_episodes",
                "checkpoint_every",
                "batch_size",
                "ema_period",
                "n_step",
            ),
            *(
                "num_critics",
                "num_backup_actions",
                "num_baseline_actions",
                "num_cql_actions",
                "num_candidates",
            ),
        ),
        lambda value: value >= 1,
        "must be at least 1",
    ),
    (
        (
            *(
                "weight_decay",
                "grad_clip",
                "eta",
                "ema_start",
                "lr_decay_steps",
                "num_target_critics",
            ),
            *("selection_temperature", "cql_alpha", "return_weighting"),
        ),
        lambda value: value >= 0,
        "must not be negative",
    ),
    (("learning_rate", "crr_beta", "iql_temperature"), lambda value: value > 0, "must be positive"),
    (("cql_threshold",), math.isfinite, "must be finite"),
    (("discount", "tau", "expectile"), lambda value: 0 <= value <= 1, "must be in 0..1"),
)


@dataclasses.dataclass(frozen=True)
class Settings:
    """A checked configuration."""

    task: data.Task
    environment: EnvSpec | None  # to evaluate in
    action_box: tuple | None  # low and high, as configured
    data_dir: str
    members: tuple[Member, ...]
    algorithm: AlgorithmConfig
    hypers: Hypers
    config: ConfigDict  # the whole, as it is stored in config.json


def define_config_flag() -> None:
    config_flags.DEFINE_config_file(
        "config",
        None,
        "Configuration file and, optionally, a task: configs/edp_td3.py:hopper-medium-v2",
    )


def run(main: Callable[[Sequence[str]], int | None], *, positional: int = 0) -> None:
    """Runs `main` as a command with at most so many arguments besides flags: one line and exit code 2 for what users can mend."""

    def parse(argv):
        try:
            return _parse_flags(argv, positional)
        except InputError as error:
            sys.exit(_tell(error))

    def guarded(argv):
        try:
            code = main(argv) or 0
        except InputError as error:
            code = _tell(error)
        hosts.leave(code)
        sys.exit(code)

    logging.set_verbosity(logging.WARNING)  # orbax tells at length what it saves
    app.run(guarded, flags_parser=parse)


def _tell(error: InputError) -> int:
    print(f"error: {error}", file=sys.stderr)
    return EXIT_BAD_INPUT


def _parse_flags(argv: Sequence[str], positional: int) -> list[str]:
    """Parses the command line; what is wrong with it becomes an InputError that names the nearest config key."""
    try:
        rest = flags.FLAGS(argv)
        if "config" in flags.FLAGS:
            flags.FLAGS.config.lock()  # a file that cannot be loaded is only noticed here
    except OSError as error:
        path = next((a for a in argv if a.startswith("--config=")), "--config")
        raise InputError(
            f"{path}: cannot be loaded; name a file of configs/, for example --config=configs/edp_td3.py"
        ) from error
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(_flag_problem(argv, error)) from error
    if any(argument.startswith("--config.task") for argument in argv):
        raise InputError(
            "--config.task: a task brings its own settings, so it is part of the file's name: --config=FILE:TASK"
        )
    if rest[1 + positional :]:
        raise InputError(
            f"argument {rest[1 + positional]!r} is not a flag: write --config.seeds='(0,1)', in quotes and without blanks"
        )
    return rest


def _flag_problem(argv: Sequence[str], error: Exception) -> str:
    if "before a value for --config" in str(error):  # ml_collections' words
        return "--config=FILE[:TASK] must stand before every --config.KEY=VALUE"
    keys = _config_keys(argv)
    for argument in argv[1:]:
        key = argument.split("=")[0].removeprefix("--config.")
        if keys and argument.startswith("--config.") and key not in keys:
            near = difflib.get_close_matches(key, keys, n=1, cutoff=0.0)[0]
            return f"config key {key!r} is unknown: did you mean {near!r}? configs/base.py lists all keys"
    hint = (
        "; configs/base.py lists the keys with the type of each"
        if "--config." in str(error)
        else "; see --help"
    )
    return " ".join(str(error).split()) + hint


def _config_keys(argv: Sequence[str]) -> list[str]:
    """Keys of the file that --config=FILE[:TASK] or --config FILE[:TASK] names."""
    arguments = " ".join(argv[1:]).replace("--config ", "--config=").split()
    for argument in arguments:
        path, _, task = argument.removeprefix("--config=").partition(":")
        if argument.startswith("--config=") and os.path.isfile(path):
            config = runpy.run_path(path)["get_config"](task or None)
            return [*config, *(f"sweep.{name}" for name in config.sweep)]
    return []


def resolve(config: ConfigDict) -> Settings:
    """Checks what can be checked without the data and converts the rest.

    Raises:
      InputError: a value is of no use; the line names it, the limit and the remedy.
    """
    for keys, holds, rule in LIMITS:
        for key in keys:
            _require(holds(config[key]), key, config[key], rule)
            values = config.sweep.get(key, ())
            _require(_numbers(values) and all(map(holds, values)), f"sweep.{key}", values, rule)
    _require(
        config.n_step == 1 or not config.sweep.discount,
        "sweep.discount",
        config.sweep.discount,
        "needs n_step=1",
    )
    seeds = config.seeds
    _require(
        bool(seeds)
        and all(isinstance(s, int) and 0 <= s < 2**31 for s in seeds)
        and len(set(seeds)) == len(seeds),
        "seeds",
        seeds,
        "must be different integers from 0 to 2**31 - 1, as in '(0,1,2)'",
    )
    kinds = rewards.REWARD_KINDS
    _require(
        config.reward_transform in kinds,
        "reward_transform",
        config.reward_transform,
        f"must be one of {', '.join(kinds)}",
    )
    place, places = config.data_placement, stream.PLACEMENTS
    _require(place in places, "data_placement", place, f"must be one of {', '.join(places)}")
    writers.check_kinds(config.writers)
    algorithm = AlgorithmConfig(**_pick(config, AlgorithmConfig))
    learner = algorithms.make(
        config.algorithm, algorithm, TaskSpec(1, 1)
    )  # refuses what cannot be built, before any data
    swept = {key for key, values in config.sweep.items() if values}
    read = algorithms.hypers_read(learner, TaskSpec(1, 1)) if swept else swept
    if unread := min(swept - read, default=None):
        raise InputError(
            f"config.sweep.{unread}={config.sweep[unread]} changes nothing: {config.algorithm} does not read {unread} as it is "
            f"configured; sweep one of {', '.join(name for name in config.sweep if name in read)}"
        )
    task = data.find_task(config.task)
    if scores := config.reference_scores:
        _require(
            _numbers(scores) and len(scores) == 2,
            "reference_scores",
            scores,
            "must be two numbers, as in '(0,4)'",
        )
        task = dataclasses.replace(task, reference_scores=tuple(scores))
    return Settings(
        task=task,
        environment=_environment(config, task),
        action_box=_action_box(config),
        data_dir=data.data_folder(config.data_dir),
        members=grid(seeds, config.sweep),
        algorithm=algorithm,
        hypers=Hypers(**_pick(config, Hypers)),
        config=config,
    )


def connect(config: ConfigDict) -> None:
    """Joins the other processes of the run, if it has any.

    Raises:
      InputError: the keys that describe them do not fit together, or they cannot be joined.
    """
    address, number, index = config.coordinator_address, config.num_processes, config.process_id
    if not config.distributed:
        for key in ("coordinator_address", "num_processes", "process_id"):
            _require(
                config[key] in ("", None),
                key,
                config[key],
                "says nothing without --config.distributed=True",
            )
        return
    _require(
        not address or address.rpartition(":")[2].isdecimal(),
        "coordinator_address",
        address,
        "must be HOST:PORT",
    )
    _require(
        index is None or 0 <= index < (number or index + 1),
        "process_id",
        index,
        "must be in 0 .. num_processes - 1",
    )
    hosts.connect(address or None, number, index)


def num_members(config: ConfigDict) -> int:
    """Agents of a configuration that is not checked yet: seeds times points of the sweep."""
    return len(config.seeds) * math.prod(max(1, len(values)) for values in config.sweep.values())


def load_dataset(settings: Settings, workdir: str, progress: Callable[[str], None]) -> data.Dataset:
    """Reads the task's dataset, tells what is in it, checks it against the environment and makes it ready for training.

    Arrays that are large for the free memory, and all where the data are to stay on the host, lie on the disk of `workdir`.

    Raises:
      InputError: it cannot be had or used, is smaller than a batch, or does not fit the environment.
    """
    config, task = settings.config, settings.task
    storage = data.storage_near(workdir, always=config.data_placement == "host")
    raw, info = data.load(task, settings.data_dir, progress, storage)
    progress(f"{task.name}:\n{data.describe(info['summary'])}")
    box = None
    if settings.environment:
        evaluation.check_sizes(settings.environment, raw.observation_dim, raw.action_dim)
        space = envs.make(settings.environment, 1)[0].action_space
        box = space.low, space.high
    dataset = data.prepare(
        task,
        raw,
        info,
        data.Preprocessing(**_pick(config, data.Preprocessing)),
        action_box=settings.action_box,
        environment_box=box,
        storage=storage,
    )
    if config.batch_size > dataset.size:
        raise InputError(
            f"config.batch_size={config.batch_size} is larger than the dataset: {task.name} has {dataset.size} "
            f"transitions; set --config.batch_size to at most that"
        )
    return dataset


def make_evaluate(
    settings: Settings,
    dataset: data.Dataset,
    algorithm: algorithms.Algorithm,
    check_stop: Callable[[], None],
) -> Callable[[AgentState], evaluator.Evaluation] | None:
    """`evaluator.make_evaluate` as configured; None where there is no environment."""
    if not settings.environment:
        return None
    return evaluator.make_evaluate(
        algorithm,
        settings.environment,
        dataset.reference_scores,
        vars(dataset.units),
        seeds=tuple(member.seed for member in settings.members),
        num_episodes=settings.config.eval_episodes,
        check_stop=check_stop,
    )


def _environment(config: ConfigDict, task: data.Task) -> EnvSpec | None:
    try:
        named = isinstance(json.loads(config.env_kwargs), dict)
    except ValueError:
        named = False
    _require(
        named,
        "env_kwargs",
        repr(config.env_kwargs),
        """must be a JSON object, as in '{"frame_skip": 4}'""",
    )
    if config.env_id and config.env_id != "none":
        return EnvSpec(f"gymnasium:{config.env_id}", config.env_kwargs)
    _require(
        config.env_kwargs == "{}",
        "env_kwargs",
        repr(config.env_kwargs),
        "says nothing without --config.env_id",
    )
    return EnvSpec(task.environment) if task.environment and not config.env_id else None


def _action_box(config: ConfigDict) -> tuple | None:
    low, high = config.action_low, config.action_high
    if not low and not high:
        return None
    for key in ("action_low", "action_high"):
        given = bool(config[key]) and _numbers(config[key])
        _require(given, key, config[key], "must be finite numbers, given with the other end")
    return low, high


def _numbers(values: tuple) -> bool:
    return all(isinstance(value, (int, float)) and math.isfinite(value) for value in values)


def _pick(config: ConfigDict, cls: type) -> dict:
    return {field.name: config[field.name] for field in dataclasses.fields(cls)}


def _require(condition: bool, key: str, value: object, rule: str) -> None:
    if not condition:
        raise InputError(f"config.{key}={value} {rule}: set --config.{key}=...")
