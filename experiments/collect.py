"""Makes a dataset by rolling out policies in a gymnasium environment, in D4RL's layout or Minari's.

python -m experiments.collect --env_id=Pendulum-v1 --policies=random,behaviours/pendulum-expert.npz --output=pendulum.hdf5

A policy is `random`, an .npz of `experiments.train_behaviour`, or the policy/ folder of a run of `experiments.main`; each
contributes an equal share, and one that is named twice two shares. Actions are sampled and stored in the environment's own box.
"""

import dataclasses
import importlib.metadata
import json
import os
from collections.abc import Callable

import numpy as np
from absl import flags

from edp_jax import InputError
from edp_jax.data import RawDataset, minari, preprocess
from edp_jax.data.builtin import RANDOM
from edp_jax.data.d4rl import write_hdf5
from edp_jax.data.folder import folder_made
from edp_jax.data.raw import from_arrays
from edp_jax.data.recording import Act, concatenate, record
from edp_jax.evaluation import adapters, envs
from edp_jax.types import EnvSpec
from experiments import launch
from experiments.policies import load_act

_MOST_ENVS = 10


@dataclasses.dataclass(frozen=True)
class Plan:
    """What to record, as the flags of the same names say; `output` or `minari_id` is empty."""

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
        list(Plan.reference_scores),
        "Returns that count as 0 and 100, kept with the data.",
    )


def main(_) -> None:
    given = flags.FLAGS
    try:
        scores = tuple(map(float, given.reference_scores))
    except ValueError as error:
        raise InputError(
            f"--reference_scores={','.join(given.reference_scores)}: must be numbers, as in -1200,-150"
        ) from error
    policies = tuple(map(os.path.expanduser, given.policies))
    changes = {
        "policies": policies,
        "output": os.path.expanduser(given.output),
        "reference_scores": scores,
    }
    collect(
        Plan(
            **{field.name: given[field.name].value for field in dataclasses.fields(Plan)} | changes
        )
    )


def collect(plan: Plan, progress: Callable[[str], None] = print) -> None:
    """Records what is planned and writes it.

    Raises:
      InputError: something in the plan is of no use; nothing is written then.
    """
    _check(plan)
    environments = _environments(plan)
    acts = [load_act(name, environments[0]) for name in plan.policies]
    if plan.minari_id:
        env = environments[0].env  # without the conversion to float32
        if repr(adapters.key_sorted(env.observation_space)) != repr(env.observation_space):
            raise InputError(
                f"--minari_id: Minari loses the order of {plan.env_id}'s observations; use --output=FILE.hdf5"
            )
        raw = _record(plan, environments, acts, progress)
        minari.write_minari(
            plan.minari_id, raw, env, algorithm=", ".join(plan.policies), description=_recipe(plan)
        )
        task = f"minari:{plan.minari_id}"
    else:
        with folder_made(
            os.path.dirname(os.path.abspath(plan.output)), "give another file as --output"
        ):
            raw = _record(plan, environments, acts, progress)
            write_hdf5(plan.output, raw, attributes={"recipe": _recipe(plan)})
        task = f"{plan.output} --config.env_id={plan.env_id}"
        task += "" if plan.env_kwargs == "{}" else f" --config.env_kwargs='{plan.env_kwargs}'"
    progress(
        f"written: {plan.minari_id or plan.output}\n{preprocess.describe(preprocess.summarize(raw))}"
    )
    progress(
        f"to train on it: python -m experiments.main --config=configs/edp_td3.py:{task} --workdir=DIR"
    )


def _environments(plan: Plan) -> tuple:
    """As many as run in step without cutting most of the episodes off: each one's last is."""
    environment = EnvSpec(f"gymnasium:{plan.env_id}", plan.env_kwargs)
    episode = envs.make(environment, 1)[0].spec.max_episode_steps
    return envs.make(
        environment, min(_MOST_ENVS, max(1, plan.num_transitions // len(plan.policies) // episode))
    )


def _record(
    plan: Plan, environments: tuple, acts: list[Act], progress: Callable[[str], None]
) -> RawDataset:
    parts = []
    for index, (name, act) in enumerate(zip(plan.policies, acts, strict=True)):
        share = plan.num_transitions * (index + 1) // len(
            acts
        ) - plan.num_transitions * index // len(acts)
        seed = len(acts) * plan.seed + index
        parts.append(record(environments, act, share, seed=seed, title=name, progress=progress))
    box = environments[0].action_space
    declared = (
        {"reference_scores": np.array(plan.reference_scores)} if plan.reference_scores else {}
    )
    if np.isfinite([box.low, box.high]).all():
        declared |= {"action_low": box.low, "action_high": box.high}
    recorded = {key: value for key, value in vars(concatenate(parts)).items() if value is not None}
    return from_arrays(f"environment {plan.env_id!r}", recorded | declared)


def _check(plan: Plan) -> None:
    if bool(plan.output) == bool(plan.minari_id):
        raise InputError("--output, --minari_id: give one of them, such as --output=data.hdf5")
    if plan.minari_id:
        minari.check_new(plan.minari_id)
    elif not plan.output.endswith(".hdf5"):
        raise InputError(f"--output={plan.output}: must end in .hdf5")
    elif os.path.exists(plan.output):
        raise InputError(
            f"--output={plan.output}: exists already; name a new file, or delete that one"
        )
    if not 0 < len(plan.policies) <= plan.num_transitions:
        raise InputError(
            f"--policies: {len(plan.policies)} of them; give at least one, at most --num_transitions"
        )
    scores = plan.reference_scores
    if scores and not (len(scores) == 2 and scores[0] < scores[1]):
        raise InputError(
            f"--reference_scores={','.join(map(str, scores))}: must be two numbers, the smaller one first"
        )


def _recipe(plan: Plan) -> str:
    """The plan and the versions of what it was recorded with, as JSON."""
    packages = ("gymnasium", "mujoco", "numpy")
    return json.dumps(
        dataclasses.asdict(plan)
        | {"versions": {name: importlib.metadata.version(name) for name in packages}}
    )


if __name__ == "__main__":
    define_flags()
    launch.run(main)
