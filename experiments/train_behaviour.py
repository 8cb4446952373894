"""Trains behaviour policies online, which `experiments.collect` makes a dataset with.

python -m experiments.train_behaviour --env_id=Pendulum-v1 --output_dir=behaviours \\
    --num_steps=20000 --learning_starts=1000

This is the only program that needs the extra `collect`, which downloads about 5.4 GB: it brings
PyTorch with it.

Soft Actor-Critic (sbx-rl) learns in any gymnasium environment with a box of actions. At every
evaluation its actor is kept as <name>-step_<n>.npz. The best one so far is <name>-expert.npz too,
and the one whose return is nearest to a third of the way from random actions to the best is
<name>-medium.npz. Both are there from the first evaluation on, so that the training can be stopped
at any time. An agent that stands still may earn a medium return and teach nothing. The lengths of
episodes that are printed tell; then take the file of another step.
"""

import glob
import importlib.metadata
import os
import re
import time
from typing import Any

import numpy as np
from absl import flags

from edp_jax import InputError
from edp_jax.data.behaviour import Behaviour
from edp_jax.data.folder import folder_made
from edp_jax.errors import not_installed, program
from edp_jax.evaluation import envs
from edp_jax.types import EnvSpec

from . import launch
from .keeper import Keeper

_EPISODES = 10  # per evaluation


def define_flags() -> None:
    flags.DEFINE_string(
        "env_id", None, "Gymnasium environment with a box of actions.", required=True
    )
    flags.DEFINE_string("env_kwargs", "{}", "JSON object of its keyword arguments.")
    flags.DEFINE_string("output_dir", "behaviours", "Folder the .npz files are written to.")
    flags.DEFINE_integer("num_steps", 1_000_000, "Environment steps.", lower_bound=1)
    flags.DEFINE_integer("seed", 0, "Seed of the learner and of its environment.", lower_bound=0)
    flags.DEFINE_integer(
        "evaluate_every", 10_000, "Environment steps between two evaluations.", lower_bound=1
    )
    flags.DEFINE_integer(
        "learning_starts", 10_000, "Steps of random actions before the first update.", lower_bound=1
    )
    flags.DEFINE_integer("batch_size", 128, "Transitions per update.", lower_bound=1)
    flags.DEFINE_integer(
        "update_every",
        8,
        "Environment steps between two compiled loops of as many updates.",
        lower_bound=1,
    )
    flags.DEFINE_float(
        "learning_rate",
        5e-4,
        "Learning rate of actor, critics and entropy coefficient.",
        lower_bound=0.0,
    )


def name_of(env_id: str) -> str:
    """How the names of an environment's files begin.

    It is "hopper" for Hopper-v4 and "reach" for my_module:lab/Reach-v0.
    """
    return re.split("[:/]", env_id)[-1].split("-")[0].lower()


def actor_of(model: Any) -> Behaviour:
    """The actor of a model of sbx in numpy; its two heads become one last layer."""
    params = model.policy.actor_state.params["params"]
    *hidden, mean, log_std = [params[f"Dense_{index}"] for index in range(len(params))]
    names = ("kernel", "bias")
    head = {name: np.concatenate([mean[name], log_std[name]], axis=-1) for name in names}
    layers = (*hidden, head)
    return Behaviour(
        tuple((np.asarray(layer["kernel"]), np.asarray(layer["bias"])) for layer in layers)
    )


def main(_) -> None:
    given = flags.FLAGS
    try:
        from sbx import SAC
        from stable_baselines3.common.callbacks import BaseCallback
    except ImportError as error:
        raise not_installed(program("train_behaviour"), error, "collect") from error

    environment = EnvSpec(f"gymnasium:{given.env_id}", given.env_kwargs)
    name, folder = name_of(given.env_id), os.path.expanduser(given.output_dir)
    environments = envs.make(environment, _EPISODES)
    if present := glob.glob(f"{glob.escape(folder)}/{name}-*.npz"):
        raise InputError(
            f"--output_dir={given.output_dir}: {present[0]} is there already; name a new folder"
        )
    metadata = {
        "env_id": given.env_id,
        "env_kwargs": given.env_kwargs,
        "algorithm": "SAC",
        "seed": given.seed,
    }
    packages = ("sbx-rl", "mujoco", "gymnasium")
    metadata |= {package: importlib.metadata.version(package) for package in packages}
    keeper = Keeper(folder, name, environments, metadata)
    print(f"random actions: {keeper.random_return:.6g}", flush=True)
    start = time.monotonic()

    class KeepActors(BaseCallback):
        def _on_step(self) -> bool:
            step = self.num_timesteps
            if step % given.evaluate_every == 0 or step == given.num_steps:
                line = keeper.keep(step, actor_of(self.model))
                print(f"{time.monotonic() - start:6.0f} s  {line}", flush=True)
            return True

    model = SAC(
        "MlpPolicy",
        envs.make(environment, 1)[0],
        train_freq=given.update_every,
        gradient_steps=given.update_every,
        learning_starts=given.learning_starts,
        learning_rate=given.learning_rate,
        batch_size=given.batch_size,
        policy_delay=2,
        policy_kwargs={"net_arch": {"pi": [128, 128], "qf": [192, 192]}},
        seed=given.seed,
    )
    with folder_made(folder, "give another one as --output_dir"):
        model.learn(given.num_steps, callback=KeepActors())


if __name__ == "__main__":
    define_flags()
    launch.run(main)
