"""Scores the newest policies of a run again, acting as they did or in other ways.

python -m experiments.evaluate --workdir=runs/first
python -m experiments.evaluate --workdir=runs/first --num_candidates=1,10 \
  --selection_temperature=0,1,20 --sampler_calls=5,15

Prints a line per combination; with one candidate there is nothing to choose, so all temperatures
are one line. Without any of those flags it repeats the run's last evaluation.
"""

import dataclasses
import itertools
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from absl import flags

from edp_jax import InputError, TaskSpec, algorithms, configuration
from edp_jax.configuration import build
from edp_jax.evaluation import finite_mean
from edp_jax.runs import Run
from edp_jax.settings import check, describe
from edp_jax.training import process

from . import launch

ACTING = ("num_candidates", "selection_temperature", "sampler_calls", "starting_noise")
EXECUTE = "execute"  # of the run: actions of a chunk that are taken before the next choice


def define_flags() -> None:
    flags.DEFINE_string("workdir", None, "Folder of the run.")
    flags.DEFINE_integer(
        "eval_episodes", None, "Episodes per seed; by default as many as in the run.", lower_bound=1
    )
    for name in (*ACTING, EXECUTE):
        flags.DEFINE_list(name, [], f"Values of {name} to try; by default the run's.")


def main(_: Sequence[str]) -> None:
    process.check_devices_exist()
    given = {name: flags.FLAGS[name].value for name in (*ACTING, EXECUTE)}
    workdir = os.path.abspath(os.path.expanduser(flags.FLAGS.workdir))
    evaluate(workdir, given, flags.FLAGS.eval_episodes)


def evaluate(workdir: str, given: Mapping[str, Sequence[str]], episodes: int | None = None) -> None:
    """Prints the scores of the newest checkpoint's policies, one line per way of acting.

    Args:
      workdir: of the run.
      given: values of the settings `ACTING` and of `EXECUTE`, as text; see `ways_to_act`.
      episodes: per seed; None: as many as the run has.

    Raises:
      InputError: there is no such run, no checkpoint in it, no environment for it, or a value is of
        no use.
    """
    run = Run(workdir)
    config = dict(run.config)
    config["eval_episodes"] = episodes or config["eval_episodes"]
    settings = configuration.resolve(config)
    horizon = settings.preprocessing.horizon
    executes = executes_to_try(given.get(EXECUTE, ()), horizon) or [settings.execute or horizon]
    if not settings.environment:
        raise InputError(
            f"--workdir={workdir}: this run has no environment to act in; train with "
            "--config.env_id"
        )
    learner_given = {name: texts for name, texts in given.items() if name != EXECUTE}
    ways = ways_to_act(settings.algorithm, settings.learner, learner_given)
    for way in ways:  # refuses what cannot be built, before anything is run
        algorithms.make(settings.algorithm, way, TaskSpec(1, 1))
    dataset = build.load_dataset(settings, workdir, lambda line: None)
    if dataset.info["sha256"] != run.dataset["sha256"]:
        raise InputError(
            f"--workdir={workdir}: its dataset {settings.task.name} has changed since; restore it"
        )
    state = run.state(build.make_algorithm(settings, dataset))
    members = "; ".join(map(str, run.members))
    print(f"{settings.algorithm} on {settings.task.name} after {run.checkpoint_step:,} updates")
    print(members)
    for member, update in zip(run.members, np.asarray(state.diverged), strict=True):
        if update >= 0:
            print(f"{member} diverged in update {update:,} and does not act")
    unit = "return" if dataset.reference_scores is None else "score"
    heading = f"{unit}, mean of {config['eval_episodes']} episodes each: all, one by one"
    columns = ACTING if horizon == 1 else (EXECUTE, *ACTING)
    print(_row({name: name for name in columns}, heading), flush=True)
    for way, execute in itertools.product(ways, executes):
        algorithm = algorithms.make(settings.algorithm, way, dataset.spec)
        acting = dataclasses.replace(settings, execute=execute)
        result = build.make_evaluate(acting, dataset, algorithm)(state)
        for fault in result.faults:
            print(f"warning: {fault}", file=sys.stderr)
        each = result.means
        numbers = f"{finite_mean(each):.1f}: " + ", ".join(f"{value:.1f}" for value in each)
        values = {name: execute if name == EXECUTE else getattr(way, name, "-") for name in columns}
        print(_row(values, numbers), flush=True)


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
    """A line of the table, with columns as wide as the names of the settings."""
    return " ".join(f"{value:>{len(name)}}" for name, value in values.items()) + f"  {numbers}"


def _number(name: str, text: str, default: Any) -> Any:
    try:
        return type(default)(text)
    except ValueError as error:
        raise InputError(f"--{name}={text} must be a number, as in --{name}={default}") from error


if __name__ == "__main__":
    define_flags()
    launch.run(main, required=("workdir",))
