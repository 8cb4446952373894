"""Makes a dataset by running policies in a gymnasium environment, in D4RL's layout or Minari's.

python -m experiments.collect --env_id=Pendulum-v1 --output=pendulum.hdf5 \\
    --policies=random,behaviours/pendulum-expert.npz

A policy is `random`, an .npz of `experiments.train_behaviour`, or the policy/ folder of a run of
`experiments.main`. Each contributes an equal share; one that is named twice contributes two.
Actions are sampled, and stored in the box of the environment.
"""

import dataclasses
import importlib.metadata
import json
import os
from collections.abc import Callable
from typing import Any

import numpy as np
from absl import flags

from edp_jax import InputError
from edp_jax.data import RawDataset, describe, minari
from edp_jax.data.boxes import has_bounds
from edp_jax.data.builtin import RANDOM
from edp_jax.data.folder import folder_made
from edp_jax.data.hdf5 import write_hdf5
from edp_jax.data.raw import from_arrays
from edp_jax.data.recording import Act, concatenate, record
from edp_jax.data.summary import summarize
from edp_jax.evaluation import adapters, envs
from edp_jax.types import EnvSpec

from . import launch
from .policies import load_act

_MOST_ENVS = 10


@dataclasses.dataclass(frozen=True)
class Plan:
    """What to record; the flags have the same names. Of `output` and `minari_id` one is empty."""

    env_id: str
    policies: tuple[str, ...] = (RANDOM,)
    num_transitions: int = 100_000
    output: str = ""
    minari_id: str = ""
    env_kwargs: str = "{}"
    seed: int = 0
    reference_scores: tuple[float, ...] = ()


def define_flags() -> None:
    flags.DEFINE_string(
        "env_id", None, "Gymnasium environment with a box of actions.", required=True
    )
    flags.DEFINE_list(
        "policies",
        list(Plan.policies),
        "random, .npz files of behaviour policies, policy/ folders of runs.",
    )
    flags.DEFINE_integer(
        "num_transitions", Plan.num_transitions, "Steps of all policies together.", lower_bound=2
    )
    flags.DEFINE_string("output", Plan.output, "The .hdf5 file to write, in D4RL's layout.")
    flags.DEFINE_string(
        "minari_id", Plan.minari_id, "Or the Minari dataset, (namespace/)name-v<number>."
    )
    flags.DEFINE_string(
        "env_kwargs", Plan.env_kwargs, "JSON object of the environment's keyword arguments."
    )
    flags.DEFINE_integer("seed", Plan.seed, "Seed of environments and actions.", lower_bound=0)
    flags.DEFINE_list(
        "reference_scores",
        list(map(str, Plan.reference_scores)),
        "Returns that count as 0 and 100, kept with the data.",
    )


def main(_) -> None:
    given = flags.FLAGS
    try:
        scores = tuple(map(float, given.reference_scores))
    except ValueError as error:
        listed = ",".join(given.reference_scores)
        remedy = "must be numbers, as in -1200,-150"
        raise InputError(f"--reference_scores={listed}: {remedy}") from error
    values: dict[str, Any] = {
        field.name: given[field.name].value for field in dataclasses.fields(Plan)
    }
    values["policies"] = tuple(map(os.path.expanduser, given.policies))
    values["output"], values["reference_scores"] = os.path.expanduser(given.output), scores
    collect(Plan(**values))


def collect(plan: Plan, progress: Callable[[str], None] = print) -> None:
    """Records what is planned and writes it.

    Args:
      plan: what to record.
      progress: takes lines that tell of the recording.

    Raises:
      InputError: something in the plan is of no use; nothing is written then.
    """
    _check(plan)
    environments = _environments(plan)
    acts = [load_act(name, environments[0]) for name in plan.policies]
    if plan.minari_id:
        env = environments[0].env  # without the conversion to float32
        if repr(adapters.key_sorted(env.observation_space)) != repr(env.observation_space):
            problem = f"Minari loses the order of {plan.env_id}'s observations"
            raise InputError(f"--minari_id: {problem}; use --output=FILE.hdf5")
        raw = _record(plan, environments, acts, progress)
        minari.write_minari(
            plan.minari_id, raw, env, algorithm=", ".join(plan.policies), description=_recipe(plan)
        )
        task = f"minari:{plan.minari_id}"
    else:
        folder = os.path.dirname(os.path.abspath(plan.output))
        with folder_made(folder, "give another file as --output"):
            raw = _record(plan, environments, acts, progress)
            write_hdf5(plan.output, raw, attributes={"recipe": _recipe(plan)})
        task = f"{plan.output} --config.env_id={plan.env_id}"
        task += "" if plan.env_kwargs == "{}" else f" --config.env_kwargs='{plan.env_kwargs}'"
    progress(f"written: {plan.minari_id or plan.output}\n{describe(summarize(raw))}")
    command = f"python -m experiments.main --config=edp_td3:{task} --workdir=DIR"
    progress(f"to train on it: {command}")


def _environments(plan: Plan) -> tuple:
    """Makes as many as record together; few enough that most episodes are whole.

    The last episode of each environment is cut off.
    """
    environment = EnvSpec(f"gymnasium:{plan.env_id}", plan.env_kwargs)
    episode = envs.make(environment, 1)[0].spec.max_episode_steps
    whole = plan.num_transitions // len(plan.policies) // episode
    return envs.make(environment, min(_MOST_ENVS, max(1, whole)))


def _record(
    plan: Plan, environments: tuple, acts: list[Act], progress: Callable[[str], None]
) -> RawDataset:
    ends = [plan.num_transitions * number // len(acts) for number in range(len(acts) + 1)]
    parts = []
    for index, (name, act) in enumerate(zip(plan.policies, acts, strict=True)):
        share, seed = ends[index + 1] - ends[index], len(acts) * plan.seed + index
        parts.append(record(environments, act, share, seed=seed, title=name, progress=progress))
    box, declared, recorded = environments[0].action_space, {}, concatenate(parts).arrays()
    if plan.reference_scores:
        declared["reference_scores"] = np.array(plan.reference_scores)
    if has_bounds(box.low, box.high, np.ptp(recorded["actions"], axis=0)):
        declared |= {"action_low": box.low, "action_high": box.high}
    return from_arrays(f"environment {plan.env_id!r}", recorded | declared)


def _check(plan: Plan) -> None:
    if bool(plan.output) == bool(plan.minari_id):
        raise InputError("--output, --minari_id: give one of them, such as --output=data.hdf5")
    if plan.minari_id:
        minari.check_new(plan.minari_id)
    elif not plan.output.endswith(".hdf5"):
        raise InputError(f"--output={plan.output}: must end in .hdf5")
    elif os.path.exists(plan.output):
        remedy = "name a new file, or delete that one"
        raise InputError(f"--output={plan.output}: exists already; {remedy}")
    if not 0 < len(plan.policies) <= plan.num_transitions:
        remedy = "give at least one, at most --num_transitions"
        raise InputError(f"--policies: {len(plan.policies)} of them; {remedy}")
    scores = plan.reference_scores
    if scores and not (len(scores) == 2 and scores[0] < scores[1]):
        listed = ",".join(map(str, scores))
        rule = "must be two numbers, the smaller one first"
        raise InputError(f"--reference_scores={listed}: {rule}")


def _recipe(plan: Plan) -> str:
    """The plan and the versions of what it was recorded with, as JSON."""
    packages = ("gymnasium", "mujoco", "numpy")
    versions = {name: importlib.metadata.version(name) for name in packages}
    return json.dumps(dataclasses.asdict(plan) | {"versions": versions})


if __name__ == "__main__":
    define_flags()
    launch.run(main)
