"""Scores the policies of a run again: at any checkpoint, acting as they did or in other ways.

python -m experiments.evaluate --workdir=runs/first
python -m experiments.evaluate --workdir=runs/first --step=best --video=best.mp4
python -m experiments.evaluate --workdir=runs/first --num_candidates=1,10 \
  --selection_temperature=0,1,20 --sampler_calls=5,15

Prints a line per combination; with one candidate there is nothing to choose, so all temperatures
are one line. Every episode goes to a csv table. The same command gives the same numbers.
"""

import csv
import dataclasses
import io
import itertools
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from absl import flags

from edp_jax import InputError, TaskSpec, algorithms, configuration, evaluation
from edp_jax.algorithms import own_noise
from edp_jax.algorithms.groups import ACTING
from edp_jax.configuration import Settings, build
from edp_jax.devices import check_devices_exist
from edp_jax.diffusion import SAMPLERS
from edp_jax.errors import as_flags
from edp_jax.evaluation import finite_mean
from edp_jax.files import check_writable, write_bytes
from edp_jax.runs import Run
from edp_jax.settings import check, describe
from edp_jax.training import process, tables
from edp_jax.training.evaluator import Evaluation, check_environment, episode_seeds
from edp_jax.types import EnvSpec

from . import launch, video
from .ways import NONE

EXECUTE = "execute"  # of the run: actions of a chunk that are taken before the next choice
TABLE = "evaluate.csv"
TASK = "task"  # in place of an environment
_ENVIRONMENT = ("env_id", "env_kwargs")  # settings of a run that are flags here
_SEED_EPISODES = 1_000_000  # numbers of episodes that a seed has for itself


@dataclasses.dataclass(frozen=True)
class Request:
    """What is asked for besides ways of acting."""

    episodes: int = 100  # per seed of the run
    step: str = "last"  # see `Run.find_checkpoint`
    seed: int = 0  # chooses other episodes; 0: those of the run's evaluations come first
    environment: str = ""  # of gymnasium; TASK: the task's; empty: the run's
    env_kwargs: str = "{}"
    table: str = ""  # path of the csv; empty: in the folder of the run
    video: str = ""  # path of an .mp4; empty: none


def define_flags() -> None:
    default = Request()
    flags.DEFINE_string("workdir", None, "Folder of the run.")
    flags.DEFINE_string("step", default.step, "Checkpoint: last, best, or a number of updates.")
    flags.DEFINE_integer("eval_episodes", default.episodes, "Episodes per seed.", lower_bound=1)
    flags.DEFINE_integer(
        "seed", default.seed, "Another one means other episodes.", lower_bound=0, upper_bound=1000
    )
    flags.DEFINE_string(
        "env_id", "", f"Environment of gymnasium, or {TASK}: the task's; by default the run's."
    )
    flags.DEFINE_string("env_kwargs", default.env_kwargs, "JSON object of its keyword arguments.")
    flags.DEFINE_string("csv", "", f"Table of all episodes; by default WORKDIR/{TABLE}.")
    flags.DEFINE_string(
        "video", "", "Film of an episode of the first seed that acts: a path with .mp4."
    )
    for name in (*ACTING, EXECUTE):
        flags.DEFINE_list(name, [], f"Values of {name} to try; by default the run's.")


def main(_: Sequence[str]) -> None:
    values = {name: flags.FLAGS[name].value for name in flags.FLAGS}
    names = ("eval_episodes", "step", "seed", "env_id", "env_kwargs", "csv", "video")
    request = Request(*(values[name] for name in names))
    if request.video:
        if not request.video.endswith(".mp4"):
            raise InputError(f"--video={request.video}: must be a path that ends in .mp4")
        video.check_packages()
        video.choose_backend()
    check_devices_exist()
    given = {name: values[name] for name in (*ACTING, EXECUTE)}
    evaluate(os.path.abspath(os.path.expanduser(values["workdir"])), given, request)


def evaluate(
    workdir: str, given: Mapping[str, Sequence[str]], request: Request = Request()
) -> None:
    """Prints the scores of a checkpoint's policies, one line per way of acting.

    Episodes in which the environment fails, or something is NaN, are told and count nowhere.

    Args:
      workdir: of the run.
      given: values of the settings `ACTING` and of `EXECUTE`, as text; see `ways_to_act`.
      request: what else is asked for.

    Raises:
      InputError: there is no such run or checkpoint, no environment for it, or a value is of no
        use.
    """
    film = os.path.expanduser(request.video)
    run, table = Run(workdir), os.path.expanduser(request.table) or os.path.join(workdir, TABLE)
    settings = configuration.resolve(run.config | {"eval_episodes": request.episodes})
    for path in filter(None, (table, film)):
        check_writable(path)
    process.set_precision(settings.run.matmul_precision)
    acting, step = _acting(settings, request, workdir), run.find_checkpoint(request.step)
    horizon = settings.preprocessing.horizon
    executes = executes_to_try(given.get(EXECUTE, ()), horizon) or [settings.execute]
    learner_given = {name: texts for name, texts in given.items() if name != EXECUTE}
    ways = ways_to_act(settings.algorithm, settings.learner, learner_given)
    for way in ways:  # refuses what cannot be built, before anything is run
        algorithms.make(settings.algorithm, way, TaskSpec(1, 1))
    dataset = build.load_dataset(settings, workdir, lambda line: None, run.dataset)
    if dataset.info["sha256"] != run.dataset["sha256"]:
        raise InputError(
            f"--workdir={workdir}: its dataset {settings.task.name} has changed since; restore it"
        )
    unscored = is_foreign(acting.environment, settings) and dataset.reference_scores is not None
    if unscored:
        dataset = dataclasses.replace(dataset, reference_scores=None)
    if acting.environment != settings.environment:
        with as_flags(_ENVIRONMENT):
            evaluation.check_sizes(acting.environment, dataset.observation_dim, dataset.action_dim)
        check_environment(acting.environment, remedy="mend it, or name another one with --env_id")
    learner = build.make_algorithm(settings, dataset)
    state = run.state(learner, step)
    living = np.flatnonzero(np.asarray(state.diverged) < 0)
    if film and not living.size:
        raise InputError(f"--video={request.video}: all policies have diverged; leave it out")
    print(f"{settings.algorithm} on {settings.task.name} after {step:,} updates")
    print("; ".join(map(str, run.members)))
    for member, update in zip(run.members, np.asarray(state.diverged), strict=True):
        if update >= 0:
            print(f"{member} diverged in update {update:,} and does not act")
    for line in own_noise.describe(learner, state):
        print(line)
    unit = "return" if dataset.reference_scores is None else "score"
    heading = (
        f"{unit}, mean of all members: of each, over the counting of {request.episodes} episodes"
    )
    columns = ACTING if horizon == 1 else (EXECUTE, *ACTING)
    print(_row({name: name for name in columns}, heading), flush=True)
    rows: list[dict[str, Any]] = []
    for way, execute in itertools.product(ways, executes):
        algorithm = algorithms.make(settings.algorithm, way, dataset.spec)
        result = build.make_evaluate(
            dataclasses.replace(acting, execute=execute),
            dataset,
            algorithm,
            first_episode=request.seed * _SEED_EPISODES,
            guard=True,
        )(state)
        for fault in result.faults:
            print(f"warning: {fault}", file=sys.stderr, flush=True)
        values = {
            name: execute if name == EXECUTE else getattr(way, name, NONE) for name in columns
        }
        print(_row(values, describe_means(result)), flush=True)
        rows += [row | values for row in tables.evaluation_rows(step, run.members, result)]
    if unscored:
        remedy = (
            f"--env_id={TASK} acts there" if settings.task.environment else "leave --env_id out"
        )
        print(f"no scores: the reference scores are of another environment; {remedy}")
    write_table(table, rows)
    print(f"all episodes: {table}", flush=True)
    if film:
        algorithm = algorithms.make(settings.algorithm, ways[0], dataset.spec)
        choose = video.make_choose(algorithm, dataset, executes[0], state, living[0])
        first = request.seed * _SEED_EPISODES
        seed = episode_seeds((run.members[living[0]].seed,), step, 1, first).item()
        total, length = video.film(film, choose, acting.environment, seed)
        print(f"film: {film}, {length} steps, return {total:.1f}", flush=True)


def write_table(path: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes rows as a csv file.

    Raises:
      InputError: it cannot be written.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_bytes(path, text.getvalue().encode())


def _acting(settings: Settings, request: Request, workdir: str) -> Settings:
    """The settings with the environment that is asked for, or the run's."""
    if request.environment in ("", TASK) and request.env_kwargs != Request.env_kwargs:
        raise InputError(
            f"--env_kwargs={request.env_kwargs:.80}: belongs to --env_id; name an environment of "
            "gymnasium there, or leave it out"
        )
    if request.environment:
        env_id = "" if request.environment == TASK else request.environment
        named = {"env_id": env_id, "env_kwargs": request.env_kwargs}
        with as_flags(_ENVIRONMENT):
            settings = configuration.resolve(settings.config | named)
    if not settings.environment:
        raise InputError(
            f"--workdir={workdir}: this run has no environment to act in; name one of gymnasium "
            f"with --env_id, or its task's with --env_id={TASK} where that has one"
        )
    return settings


def describe_means(result: Evaluation) -> str:
    """The mean of the members, then that of each; and of how many, where some do not count."""

    def told(mean: float, counts: np.ndarray, what: str) -> str:
        short = "" if counts.all() else f" ({counts.sum()} of {counts.size} {what})"
        return f"{mean:.1f}{short}"

    means, counts = result.means, result.lengths >= 0
    each = (told(mean, own, "count") for mean, own in zip(means, counts, strict=True))
    return f"{told(float(finite_mean(means)), ~np.isnan(means), 'members')}: {', '.join(each)}"


def is_foreign(environment: EnvSpec | None, settings: Settings) -> bool:
    """Whether the reference scores of a run say nothing about returns in an environment."""
    task = settings.task.environment
    own = {settings.environment, EnvSpec(task) if task else None} - {None}
    return bool(own) and environment not in own and not settings.config["reference_scores"]


def ways_to_act(algorithm: str, learner: Any, given: Mapping[str, Sequence[str]]) -> list[Any]:
    """The learner's settings with every combination of the given values, each once.

    With one candidate all temperatures act alike and count as one.

    Raises:
      InputError: the learner has no such setting, or a value is none that it can have.
    """
    entries = {entry.name: entry for entry in describe(type(learner))}
    values = {}
    for name, texts in given.items():
        if texts and name not in entries:
            raise InputError(f"--{name}: {algorithm} has no such setting; leave it out")
        if texts:
            values[name] = [_number(name, text, entries[name].default) for text in texts]
            for value in values[name]:
                check(entries[name], value, f"--{name}")
    ways = []
    for combination in itertools.product(*values.values()):
        way = dict(zip(values, combination, strict=True))
        if way.get("num_candidates") == 1:
            way.pop("selection_temperature", None)  # there is nothing to choose
        ways.append(dataclasses.replace(learner, **way))
    return list(dict.fromkeys(ways))


def executes_to_try(texts: Sequence[str], horizon: int) -> list[int]:
    """The given numbers of actions of a chunk, each once.

    Raises:
      InputError: one is no number from 1 to the horizon.
    """
    values = [_number(EXECUTE, text, 1) for text in texts]
    for value in values:
        if not 1 <= value <= horizon:
            raise InputError(
                f"--{EXECUTE}={value}: the policies choose {horizon} actions together "
                f"(config.horizon); give 1 to {horizon}"
            )
    return list(dict.fromkeys(values))


def _row(values: Mapping[str, Any], numbers: str) -> str:
    """A line of the table, with columns as wide as the names of the settings and samplers."""
    widths = {"sampler": max(map(len, SAMPLERS))}
    cells = (f"{value:>{widths.get(name, len(name))}}" for name, value in values.items())
    return " ".join(cells) + f"  {numbers}"


def _number(name: str, text: str, default: Any) -> Any:
    try:
        return type(default)(text)
    except ValueError as error:
        kind = "a whole number" if isinstance(default, int) else "a number"
        raise InputError(f"--{name}={text} must be {kind}, as in --{name}={default}") from error


if __name__ == "__main__":
    define_flags()
    launch.run(main, required=("workdir",))
