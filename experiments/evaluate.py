"""Scores the newest policies of a run again, acting as they did or in other ways.

python -m experiments.evaluate --workdir=runs/first
python -m experiments.evaluate --workdir=runs/first --num_candidates=1,10 --selection_temperature=0,1,20 --sampler_calls=5,15

Prints a line per combination. Without any of those flags it repeats the run's last evaluation.
"""

import dataclasses
import itertools
import os
from collections.abc import Mapping, Sequence

import ml_collections
import numpy as np
from absl import flags

from configs import base
from edp_jax import InputError, TaskSpec, algorithms
from edp_jax.algorithms import AlgorithmConfig
from edp_jax.training import loop, outputs
from edp_jax.training.checkpoint import Checkpoints
from experiments import launch

ACTING = {  # settings of acting, which may differ from training's, and what they are
    "num_candidates": "Numbers of actions to choose from.",
    "selection_temperature": "Temperatures of that choice, in units of Q.",
    "sampler_calls": "Numbers of network calls per sampled action.",
}
_ROW = "{:>14} {:>21} {:>13}  {}"


def define_flags() -> None:
    flags.DEFINE_string("workdir", None, "Folder of the run.", required=True)
    flags.DEFINE_integer(
        "eval_episodes", None, "Episodes per seed; by default as many as in the run.", lower_bound=1
    )
    for name, meaning in ACTING.items():
        flags.DEFINE_list(name, [], f"{meaning} By default the run's.")


def main(_) -> None:
    given = {name: flags.FLAGS[name].value for name in ACTING}
    evaluate(
        os.path.abspath(os.path.expanduser(flags.FLAGS.workdir)), given, flags.FLAGS.eval_episodes
    )


def evaluate(workdir: str, given: Mapping[str, Sequence[str]], episodes: int | None = None) -> None:
    """Prints the scores of the newest checkpoint's policies for every combination of the `given` values of `ACTING`.

    Raises:
      InputError: there is no such run, no checkpoint in it, no environment for it, or a value is of no use.
    """
    record = outputs.read_record(workdir)
    if record is None:
        raise InputError(
            f"--workdir={workdir}: there is no run, since it has no config.json; name the folder of a run"
        )
    config = complete(record["config"])
    config.eval_episodes = episodes or config.eval_episodes
    settings = launch.resolve(config)
    if not settings.environment:
        raise InputError(
            f"--workdir={workdir}: this run has no environment to act in; train with --config.env_id"
        )
    ways = ways_to_act(settings.algorithm, given)
    for way in ways:
        algorithms.make(
            config.algorithm, way, TaskSpec(1, 1)
        )  # refuses what cannot be built, before anything is run
    checkpoints = Checkpoints(os.path.join(workdir, "checkpoints"))
    if checkpoints.latest_step is None:
        raise InputError(f"--workdir={workdir}: this run has no checkpoint yet; wait for its first")

    dataset = launch.load_dataset(settings, workdir, lambda line: None)
    spec = TaskSpec(dataset.observation_dim, dataset.action_dim)
    algorithm = algorithms.make(config.algorithm, settings.algorithm, spec)
    state = checkpoints.restore(
        loop.init_seeds(algorithm, [member.seed for member in settings.members])
    )
    members = "; ".join(map(str, settings.members))
    print(
        f"{config.algorithm} on {settings.task.name} after {checkpoints.latest_step:,} updates: {members}"
    )
    unit = "return" if dataset.reference_scores is None else "score"
    print(
        _ROW.format(
            *ACTING, f"{unit}, mean of {config.eval_episodes} episodes each: all, one by one"
        ),
        flush=True,
    )
    for way in ways:
        algorithm = algorithms.make(config.algorithm, way, spec)
        result = launch.make_evaluate(settings, dataset, algorithm, lambda: None)(state)
        each = (result.returns if result.scores is None else result.scores).mean(axis=1)
        numbers = f"{np.mean(each):.1f}: " + ", ".join(f"{value:.1f}" for value in each)
        print(_ROW.format(*(getattr(way, name) for name in ACTING), numbers), flush=True)


def complete(recorded: Mapping) -> ml_collections.ConfigDict:
    """A run's `recorded` config, with the defaults of its learner and task for keys that are newer than the run."""
    config = base.make_config(**{key: recorded[key] for key in ("task", "algorithm", "policy")})
    config.update(recorded)
    return config


def ways_to_act(
    config: AlgorithmConfig, given: Mapping[str, Sequence[str]]
) -> list[AlgorithmConfig]:
    """`config` with every combination of the `given` values; with 1 candidate the temperature makes no difference.

    Raises:
      InputError: a value is not a number, or the policy has no such settings.
    """
    if config.policy != "diffusion" and any(given.values()):
        raise InputError(
            f"--{', --'.join(ACTING)}: say nothing of a feed-forward policy; leave them out"
        )
    values = {name: _numbers(name, given[name]) or [getattr(config, name)] for name in ACTING}
    ways = [
        dict(zip(values, combination, strict=True))
        for combination in itertools.product(*values.values())
    ]
    first = values["selection_temperature"][0]
    ways = [
        way | ({"selection_temperature": first} if way["num_candidates"] == 1 else {})
        for way in ways
    ]
    return list(dict.fromkeys(dataclasses.replace(config, **way) for way in ways))


def _numbers(name: str, texts: Sequence[str]) -> list:
    kind, least = (float, 0) if name == "selection_temperature" else (int, 1)
    try:
        numbers = [kind(text) for text in texts]
    except ValueError:
        numbers = [-1]
    if not all(least <= number < np.inf for number in numbers):
        raise InputError(
            f"--{name}={','.join(texts)}: must be numbers of at least {least}, as in --{name}=1,10"
        )
    return numbers


if __name__ == "__main__":
    define_flags()
    launch.run(main)
