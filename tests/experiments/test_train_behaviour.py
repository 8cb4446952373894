"""Behaviour policies that are trained to be recorded, and which of them are kept."""

import importlib.util
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from edp_jax.data.behaviour import Behaviour, read_behaviour
from edp_jax.data.hdf5 import read_hdf5
from experiments import collect
from experiments.keeper import Keeper
from experiments.train_behaviour import name_of

ROOT = pathlib.Path(__file__).parents[2]


def constant(action) -> Behaviour:
    """Always tanh(`action`), with next to no noise."""
    return Behaviour(((np.zeros((1, 2), np.float32), np.array([action, -20.0], np.float32)),))


def train_behaviour(*arguments):
    line = [sys.executable, "-m", "experiments.train_behaviour", *arguments]
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)


def test_names_of_files():
    assert [name_of(env_id) for env_id in ("Hopper-v4", "my_module:lab/Reach-v0")] == [
        "hopper",
        "reach",
    ]


def test_the_expert_is_the_best_and_medium_a_third_of_the_way(tmp_path):
    """In a one-step world whose return is the action, in [0, 10]: random actions earn about 5."""

    class World:
        action_space = type(
            "Box", (), {"shape": (1,), "low": np.array([0.0]), "high": np.array([10.0])}
        )

        def reset(self, *, seed=None):
            return np.zeros(1), {}

        def step(self, action):
            return np.zeros(1), float(action[0]), True, False, {}

    keeper = Keeper(str(tmp_path), "world", [World() for _ in range(500)], {"algorithm": "by hand"})
    assert keeper.random_return == pytest.approx(5.0, abs=4 * 10 / np.sqrt(12 * 500))

    def kept(stage):
        with np.load(tmp_path / f"world-{stage}.npz") as file:
            return int(file["steps"]), str(file["algorithm"])

    for step, action in ((1, 0.0), (2, 0.3), (3, 0.9), (4, 0.7)):  # returns 5, 6.5, 9.5, 8.5
        line = keeper.keep(step, constant(np.arctanh(action)))
        assert kept("expert") == (min(step, 3), "by hand")
    assert line.startswith("step 4  sampled 8.5 ") and line.endswith("in 1 steps")
    assert kept("medium")[0] == 2  # a third of the way from 5 to 9.5 is 6.5
    assert read_behaviour(str(tmp_path / "world-step_4.npz")).layers[0][1][0] == np.float32(
        np.arctanh(0.7)
    )


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("sbx") is None, reason="needs the extra [collect]")
def test_soft_actor_critic_leaves_behaviour_policies(tmp_path):
    arguments = (
        "--env_id=Pendulum-v1",
        f"--output_dir={tmp_path}/out",
        "--learning_starts=100",
        "--evaluate_every=200",
    )
    result = train_behaviour(*arguments, "--num_steps=300")
    assert result.returncode == 0, result.stderr
    assert (
        "random actions:" in result.stdout
        and "step 200  sampled" in result.stdout
        and "step 300  sampled" in result.stdout
    )
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {
        f"pendulum-{stage}.npz" for stage in ("step_200", "step_300", "medium", "expert")
    }
    policies = (f"{tmp_path}/out/pendulum-expert.npz",)
    plan = collect.Plan("Pendulum-v1", policies, 200, output=f"{tmp_path}/data.hdf5")
    collect.collect(plan, lambda line: None)
    assert np.abs(read_hdf5(plan.output).actions).max() <= 2
    again = train_behaviour(*arguments)
    assert again.returncode == 2 and "is there already; name a new folder" in again.stderr
