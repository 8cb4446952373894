"""A user's own file and environment, from the data to the deployed policy."""

import csv
import json

import gymnasium
import numpy as np
import pytest

import edp_jax
from edp_jax import InputError


@pytest.fixture(scope="module")
def recorded() -> dict:
    """Two episodes of Pendulum-v1 under random torques in [-2, 2]: 200 steps, no terminals."""
    env, rng = gymnasium.make("Pendulum-v1"), np.random.default_rng(0)
    steps = {key: [] for key in ("obs", "action", "reward", "done", "truncated")}
    for episode in range(2):
        observation, truncated = env.reset(seed=episode)[0], False
        while not truncated:
            action = rng.uniform(-2, 2, 1)
            following, reward, terminated, truncated, _ = env.step(action)
            for key, value in zip(
                steps, (observation, action, reward, terminated, truncated), strict=True
            ):
                steps[key].append(value)
            observation = following
    return {key: np.array(values) for key, values in steps.items()}


@pytest.fixture
def train(tmp_path, train_tiny):
    """train(content, **settings): a run on a file with these arrays."""

    def run(content, **changes):
        np.savez(tmp_path / "pendulum.npz", **content)
        train_tiny(str(tmp_path / "pendulum.npz"), **{"normalize_observations": True} | changes)

    return run


def test_from_the_users_file_to_the_deployed_policy(tmp_path, recorded, capsys, train):
    train(recorded, env_id="Pendulum-v1", reference_scores=(-1500.0, 0.0))
    output = capsys.readouterr().out
    assert "398 transitions of 400 steps: the last step of 2 episodes has no next" in output
    assert "400 steps in 2 episodes, 0 terminals, 2 timeouts" in output
    dataset = json.loads((tmp_path / "run" / "config.json").read_text())["dataset"]
    assert (dataset["action_low"], dataset["action_high"], dataset["reference_scores"]) == (
        [-2.0],
        [2.0],
        [-1500.0, 0.0],
    )
    assert dataset["summary"]["return"]["mean"] == pytest.approx(
        recorded["reward"].sum() / 2, rel=1e-6
    )

    with open(tmp_path / "run" / "evaluations.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["length"] for row in rows] == ["200", "200"]
    for row in rows:
        assert float(row["score"]) == pytest.approx(100 * (float(row["return"]) + 1500) / 1500)

    policy = edp_jax.load_policy(str(tmp_path / "run" / "policy"))
    actions = policy(recorded["obs"])
    assert actions.shape == (400, 1) and 1.0 < np.abs(actions).max() <= 2.0
    env = gymnasium.make("Pendulum-v1")
    observation, _ = env.reset(seed=0)
    assert env.action_space.contains(policy(observation))


def test_without_an_environment_the_box_has_to_be_given(tmp_path, recorded, train):
    with pytest.raises(
        InputError,
        match=r"action values outside their box, .* --config.action_low and --config.action_high",
    ):
        train(recorded)
    assert not (tmp_path / "run").exists()
    train(recorded, action_low=(-2.0,), action_high=(2.0,))
    actions = edp_jax.load_policy(str(tmp_path / "run" / "policy"))(recorded["obs"])
    assert 1.0 < np.abs(actions).max() <= 2.0
    assert not (tmp_path / "run" / "evaluations.csv").exists()


def test_a_run_that_goes_on_without_its_environment_keeps_the_box(tmp_path, recorded, train):
    """Half as large as Pendulum's, so that they lie in [-1, 1], the box without an environment."""
    small = recorded | {"action": recorded["action"] / 2}
    train(small, env_id="Pendulum-v1")
    train(small, env_id="none", num_steps=8)
    dataset = json.loads((tmp_path / "run" / "config.json").read_text())["dataset"]
    assert (dataset["action_low"], dataset["action_high"]) == ([-2.0], [2.0])


def test_the_box_of_the_file_goes_before_the_environments(tmp_path, recorded, train):
    train(recorded | {"action_low": [-2.5], "action_high": [2.5]}, env_id="Pendulum-v1")
    dataset = json.loads((tmp_path / "run" / "config.json").read_text())["dataset"]
    assert (dataset["action_low"], dataset["action_high"]) == ([-2.5], [2.5])


def test_observations_and_actions_are_scaled_alike_in_training_and_in_the_policy(
    tmp_path, recorded, train
):
    train(recorded, env_id="Pendulum-v1")
    with np.load(tmp_path / "run" / "policy" / "params.npz", allow_pickle=False) as stored:
        units = {
            name: stored[f"units/{name}"]
            for name in ("observation_mean", "observation_std", "action_low", "action_high")
        }
    kept = np.delete(
        recorded["obs"], [199, 399], axis=0
    )  # the last step of an episode cut by time has no next observation
    np.testing.assert_allclose(units["observation_mean"], kept.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(units["observation_std"], kept.std(axis=0), rtol=1e-5)
    np.testing.assert_array_equal([units["action_low"], units["action_high"]], [[-2.0], [2.0]])


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"env_id": "Pendulum-v1", "env_kwargs": "{'g': 9}"}, "must be a JSON object"),
        ({"env_id": "Pendulum-v1", "env_kwargs": "[1]"}, "must be a JSON object"),
        ({"env_kwargs": '{"g": 9}'}, "says nothing without an environment"),
        ({"reference_scores": (1.0,)}, "must be two numbers"),
        ({"reference_scores": (4.0, 0.0)}, "not a scale"),
        ({"action_low": (-2.0,)}, "config.action_high=.* is missing"),
        ({"action_low": (-2.0, -2.0), "action_high": (2.0,)}, "2 numbers, actions have 1"),
        ({"action_low": (-1.0,), "action_high": (1.0,)}, "action values outside their box"),
        ({"env_id": "MountainCarContinuous-v0"}, "3 observation and 1 action columns"),
    ],
)
def test_settings_of_no_use_are_refused_before_training(tmp_path, recorded, changes, says, train):
    changes = (
        {"action_low": (-2.0,), "action_high": (2.0,)} | changes
        if "reference_scores" in changes
        else changes
    )
    with pytest.raises(InputError, match=says) as error:
        train(recorded, **changes)
    assert "\n" not in str(error.value) and not (tmp_path / "run").exists()
