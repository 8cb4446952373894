"""Whole runs in this process: what a folder refuses, what it takes up again, and runs without an environment."""

import csv
import json
import os

import h5py
import numpy as np
import pytest

import edp_jax
from configs import base, edp_td3
from edp_jax import InputError
from edp_jax.algorithms import AlgorithmConfig
from edp_jax.training.run import Stopped
from experiments import evaluate, launch, main

TINY = {
    "hidden_dims": (8, 8),
    "num_timesteps": 10,
    "sampler_calls": 2,
    "batch_size": 8,
    "seeds": (0, 1),
    "num_steps": 4,
    "log_every": 1,
    "eval_every": 2,
    "eval_episodes": 2,
    "checkpoint_every": 2,
}


class Signals:
    """Asks to stop at the `stop_at`-th check."""

    def __init__(self, stop_at: int | None = None):
        self.stop_at, self.checks = stop_at, 0

    def check(self) -> None:
        self.checks += 1
        if self.checks == self.stop_at:
            raise Stopped


def write_dataset(path, observation_dim=11, size=60):
    rng = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        file["observations"] = rng.normal(size=(size, observation_dim)).astype(np.float32)
        file["actions"] = rng.uniform(-1, 1, (size, 3)).astype(np.float32)
        file["rewards"] = rng.normal(size=size).astype(np.float32)
        file["terminals"] = np.arange(size) % 20 == 19
        file["timeouts"] = np.zeros(size, bool)


@pytest.fixture
def folder(tmp_path):
    write_dataset(tmp_path / "hopper_medium-v2.hdf5")
    return tmp_path


def train(folder, workdir="run", task="hopper-medium-v2", signals=None, **changes):
    config = edp_td3.get_config(task)
    config.update({**TINY, "data_dir": str(folder), **changes})
    main.train(launch.resolve(config), str(folder / workdir), signals or Signals())


def contents(folder):
    with np.load(folder / "policy" / "params.npz", allow_pickle=False) as params:
        arrays = {name: params[name] for name in params}
    return arrays, {
        name: (folder / name).read_bytes() for name in ("metrics.csv", "evaluations.csv")
    }


def test_a_run_stopped_in_an_evaluation_ends_like_one_that_was_not(folder):
    train(folder, "whole")
    with pytest.raises(Stopped):
        train(folder, "stopped", signals=Signals(stop_at=5))
    train(folder, "stopped")
    (arrays, tables), (expected_arrays, expected_tables) = (
        contents(folder / "stopped"),
        contents(folder / "whole"),
    )
    assert tables == expected_tables
    for name, expected in expected_arrays.items():
        np.testing.assert_array_equal(arrays[name], expected)
    starts = json.loads((folder / "stopped" / "config.json").read_text())["starts"]
    assert [start["step"] for start in starts] == [0, 2]


def acting(num_candidates=(), selection_temperature=(), sampler_calls=()):
    given = {
        "num_candidates": num_candidates,
        "selection_temperature": selection_temperature,
        "sampler_calls": sampler_calls,
    }
    return {name: list(map(str, values)) for name, values in given.items()}


def test_a_run_is_evaluated_again_as_it_was_and_acting_in_other_ways(folder, capsys):
    train(folder)
    capsys.readouterr()
    evaluate.evaluate(
        str(folder / "run"), acting(num_candidates=(1, 10), selection_temperature=(0, 1))
    )
    title, head, *rows = capsys.readouterr().out.splitlines()
    assert title == "td3 on hopper-medium-v2 after 4 updates: seed 0; seed 1"
    assert head.split()[:4] == [
        "num_candidates",
        "selection_temperature",
        "sampler_calls",
        "score,",
    ]
    assert [row.split()[:3] for row in rows] == [
        ["1", "0.0", "2"],
        ["10", "0.0", "2"],
        ["10", "1.0", "2"],
    ]
    last = json.loads((folder / "run" / "summary.json").read_text())["last"]["mean"]
    assert rows[2].split()[3] == f"{last:.1f}:" and len({row.split()[3] for row in rows}) == 3

    path = folder / "run" / "config.json"
    record = json.loads(path.read_text())
    del record["config"]["data_placement"]  # a key newer than the run
    path.write_text(json.dumps(record))
    evaluate.evaluate(str(folder / "run"), acting(), episodes=1)
    assert capsys.readouterr().out.splitlines()[-1].split()[:3] == ["10", "1.0", "2"]
    with pytest.raises(InputError, match="sampler_calls=11 is outside 1..10"):
        evaluate.evaluate(str(folder / "run"), acting(sampler_calls=(11,)))
    with pytest.raises(InputError, match="there is no run"):
        evaluate.evaluate(str(folder), acting())


@pytest.mark.parametrize(("policy", "layer_norm"), [("gaussian", True), ("diffusion", False)])
def test_a_key_newer_than_a_run_has_the_default_of_that_runs_learner(policy, layer_norm):
    recorded = base.make_config(
        "builtin/hopper-medium-expert", algorithm="crr", policy=policy
    ).to_dict()
    del recorded["critic_layer_norm"]
    config = evaluate.complete(recorded | {"eta": 3.0})
    assert (config.critic_layer_norm, config.eta) == (layer_norm, 3.0)


@pytest.mark.parametrize(
    ("policy", "given", "says"),
    [
        (
            "diffusion",
            acting(num_candidates=(0,)),
            "--num_candidates=0: must be numbers of at least 1",
        ),
        (
            "diffusion",
            acting(selection_temperature=("hot", 1)),
            "--selection_temperature=hot,1: must be numbers of at least 0",
        ),
        ("gaussian", acting(sampler_calls=(5,)), "say nothing of a feed-forward policy"),
    ],
)
def test_ways_to_act_that_are_refused(policy, given, says):
    with pytest.raises(InputError, match=says):
        evaluate.ways_to_act(AlgorithmConfig(policy=policy), given)


def test_what_a_folder_of_another_run_refuses(folder, capsys):
    train(folder)
    with pytest.raises(InputError, match="eta=1.0, not 0.5"):
        train(folder, eta=0.5)
    with pytest.raises(InputError, match="holds 4 updates already"):
        train(folder, num_steps=2)
    train(folder)
    assert "finished already" in capsys.readouterr().out
    (folder / "run" / "summary.json").unlink()  # killed before the last files were written
    train(folder)
    assert json.loads((folder / "run" / "summary.json").read_text())["num_steps"] == 4
    write_dataset(folder / "hopper_medium-v2.hdf5", size=61)
    with pytest.raises(InputError, match="has changed since"):
        train(folder)
    (folder / "run" / "config.json").write_text("{")
    with pytest.raises(InputError, match="not the config.json of a run"):
        train(folder)
    (folder / "run" / "config.json").unlink()
    with pytest.raises(InputError, match="checkpoints but no config.json"):
        train(folder)


def test_data_of_another_size_than_the_environment_is_refused_before_training(folder):
    write_dataset(folder / "hopper_medium-v2.hdf5", observation_dim=5)
    with pytest.raises(
        InputError,
        match="5 observation and 3 action columns, but environment 'hopper' has 11 and 3",
    ):
        train(folder)
    assert not (folder / "run").exists()


def test_a_file_without_an_environment_is_trained_on_and_not_evaluated(folder, capsys):
    train(folder, task=str(folder / "hopper_medium-v2.hdf5"))
    assert "nothing was evaluated" in capsys.readouterr().out
    assert {"metrics.csv", "summary.json", "learning_curve.png", "policy"} <= set(
        os.listdir(folder / "run")
    )
    assert not (folder / "run" / "evaluations.csv").exists()


def test_a_sweep_is_a_column_a_curve_and_a_policy_of_its_own(folder, capsys):
    train(folder, sweep={"eta": (0.0, 20.0)}, ema_period=1)
    printed = capsys.readouterr().out
    assert "eta 0.0: score: last" in printed and "eta 20.0: score: last" in printed
    for table, rows in (("metrics.csv", 16), ("evaluations.csv", 16)):
        with open(folder / "run" / table, newline="") as file:
            read = list(csv.DictReader(file))
        assert len(read) == rows  # 4 steps, or 2 evaluations of 2 episodes, of 2 seeds at 2 points
        assert list(read[0])[:3] == ["step", "seed", "eta"] and {row["eta"] for row in read} == {
            "0.0",
            "20.0",
        }
    points = json.loads((folder / "run" / "summary.json").read_text())["points"]
    assert [point["sweep"] for point in points] == [{"eta": 0.0}, {"eta": 20.0}]
    assert all(len(point["per_seed"]["last"]) == 2 for point in points)
    policies = [
        edp_jax.load_policy(str(folder / "run" / "policy"), seed=1, eta=eta) for eta in (0.0, 20.0)
    ]
    observation = np.random.default_rng(0).normal(
        size=(50, 11)
    )  # many: an untrained policy often ends in a corner of the box
    assert not np.array_equal(*(policy(observation) for policy in policies))


def test_data_options_reach_the_learner(folder):
    """Rewards are scaled and shifted before they are summed over n steps; rows are drawn by return."""
    config = edp_td3.get_config("hopper-medium-v2")
    config.update({**TINY, "data_dir": str(folder)})
    plain = launch.load_dataset(launch.resolve(config), str(folder), lambda line: None)
    config.update(reward_scale=2.0, reward_shift=1.0, n_step=3, discount=0.5, return_weighting=0.1)
    changed = launch.load_dataset(launch.resolve(config), str(folder), lambda line: None)
    r = plain.transitions.reward
    np.testing.assert_allclose(
        changed.transitions.reward[0], np.dot(2 * r[:3] + 1, [1, 0.5, 0.25]), rtol=1e-5
    )
    np.testing.assert_allclose(
        changed.transitions.discount[[0, 17, 18, 19]], [0.25, 0, 0, 0]
    )  # an episode has 20 steps
    assert plain.weights is None and len(set(np.round(changed.weights * 1e12))) == 3  # episodes
    train(folder, reward_scale=2.0, n_step=3, return_weighting=0.1)
    assert (folder / "run" / "summary.json").exists()
