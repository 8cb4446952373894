"""Runs on data of Minari and of D4RL's own packages, evaluated in the environments they name."""

import csv
import json
import warnings
from collections import OrderedDict

import gymnasium
import numpy as np
import pytest

import edp_jax
from edp_jax import data, legacy
from edp_jax.evaluation import envs
from edp_jax.types import EnvSpec


class Reach(gymnasium.Env):
    """A goal task: the action, in [0, 4], is added to the position.

    The reward is minus the distance to the goal.
    """

    number = gymnasium.spaces.Box(-np.inf, np.inf, (1,), np.float64)
    observation_space = gymnasium.spaces.Dict(
        OrderedDict(observation=number, desired_goal=number, achieved_goal=number)
    )
    action_space = gymnasium.spaces.Box(0.0, 4.0, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.position, self.goal = 0.0, self.np_random.uniform(5, 10)
        return self.observe(), {}

    def step(self, action):
        assert self.action_space.contains(np.asarray(action, np.float32)), action
        self.position += float(action[0])
        return self.observe(), -abs(self.position - self.goal), False, False, {}

    def observe(self):
        values = {
            "observation": self.position,
            "desired_goal": self.goal,
            "achieved_goal": -self.position,
        }
        return {key: np.array([value]) for key, value in values.items()}


gymnasium.register("EdpReach-v0", f"{__name__}:Reach", max_episode_steps=10)


@pytest.fixture
def train(train_tiny):
    """train(task, **settings) -> what config.json says of the dataset, rows of evaluations.csv."""

    def run(task, **changes):
        folder = train_tiny(task, **changes)
        with open(folder / "evaluations.csv", newline="") as file:
            rows = list(csv.DictReader(file))
        return json.loads((folder / "config.json").read_text())["dataset"], rows

    return run


def test_a_minari_dataset_is_trained_on_and_evaluated_in_its_environment(
    tmp_path, monkeypatch, train
):
    minari = pytest.importorskip(
        "minari", reason="the optional package minari is not installed: pip install -e '.[test]'"
    )
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    for data_format in ("hdf5", "arrow"):
        collector = minari.DataCollector(gymnasium.make("EdpReach-v0"), data_format=data_format)
        for episode in range(3):
            collector.reset(seed=episode)
            for _ in range(10):
                collector.step(collector.action_space.sample())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # about an author and an algorithm
            collector.create_dataset(
                f"test/reach-{data_format}-v0", ref_min_score=-200.0, ref_max_score=0.0
            )
        task = data.find_task(f"minari:test/reach-{data_format}-v0")
        raw, _ = data.load(task, "unused")
        (env,) = envs.make(EnvSpec(task.environment), 1)
        np.testing.assert_array_equal(
            env.reset(seed=0)[0], raw.observations[0]
        )  # one order in training and evaluation
    dataset, rows = train("minari:test/reach-hdf5-v0")
    assert dataset["summary"]["transitions"] == 30 and dataset["summary"]["timeouts"] == 3
    assert (dataset["action_low"], dataset["action_high"], dataset["reference_scores"]) == (
        [0.0],
        [4.0],
        [-200.0, 0.0],
    )
    assert [row["length"] for row in rows] == ["10", "10"]
    for row in rows:
        assert float(row["score"]) == pytest.approx(100 * (float(row["return"]) + 200) / 200)
    actions = edp_jax.load_policy(str(tmp_path / "run" / "policy"))(
        np.random.default_rng(0).normal(size=(50, 3))
    )
    assert actions.min() >= 0.0 and 2.0 < actions.max() <= 4.0


def test_d4rls_own_packages_give_data_and_environment(tmp_path, monkeypatch, train):
    rng = np.random.default_rng(0)
    arrays = {
        "observations": rng.normal(size=(40, 3)),
        "actions": rng.uniform(-2, 2, (40, 1)),
        "rewards": rng.normal(size=40),
        "terminals": np.zeros(40, bool),
        "timeouts": np.arange(40) % 20 == 19,
    }
    monkeypatch.setattr(legacy, "load", {"swing-random-v2": arrays}.__getitem__)
    monkeypatch.setattr(
        legacy, "make_env", lambda name: gymnasium.make("Pendulum-v1", max_episode_steps=7)
    )
    dataset, rows = train("legacy:swing-random-v2")
    assert dataset["summary"]["episodes"] == 2 and dataset["path"] is None
    assert (dataset["action_low"], dataset["action_high"]) == ([-2.0], [2.0])  # the environment's
    assert [row["length"] for row in rows] == ["7", "7"] and rows[0]["score"] == ""
