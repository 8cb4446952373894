"""Files laid out as D4RL's, with the groups and quirks of each domain."""

import h5py
import numpy as np
import pytest

from edp_jax import data


def store(folder, task, content):
    path = folder / data.find_task(task).file_name
    path.parent.mkdir()
    with h5py.File(path, "w") as file:
        for key, value in content.items():
            file[key] = value  # "infos/goal" makes a group


@pytest.fixture
def load(paired):
    """load(folder, task) -> the steps of the task's file, its transitions and its summary."""

    def read(folder, task):
        raw, info = data.load(data.find_task(task), str(folder))
        return raw, paired(raw), info["summary"]

    return read


def ants(positions) -> dict:
    """Steps of an ant along `positions` [N], the rest of its 29 columns noise."""
    observations = np.random.default_rng(0).normal(size=(len(positions), 29)).astype(np.float32)
    observations[:, 0], observations[:, 1] = positions, 0
    content = {"observations": observations, "actions": np.zeros((len(positions), 8), np.float32)}
    content |= {
        "rewards": np.zeros(len(positions), np.float32),
        "terminals": np.zeros(len(positions), bool),
    }
    extra = {
        "infos/goal": np.zeros((len(positions), 2)),
        "infos/qpos": observations[:, :15],
        "infos/qvel": observations[:, 15:],
    }
    return content | extra


@pytest.mark.parametrize("version", ["v0", "v2"])
def test_antmaze_rewards_and_terminals_at_the_goal(tmp_path, load, version):
    # the ant stays near the goal, where each row pays 1 and is a terminal, up to the timeout
    content = ants([7.0, 7.2, 7.4, 7.6, 0.1, 0.2])
    content["rewards"][1:4], content["terminals"][1:4] = 1, True
    content["timeouts"] = np.array([0, 0, 0, 1, 0, 1], bool)
    store(tmp_path, f"antmaze-umaze-{version}", content)
    raw, transitions, summary = load(tmp_path, f"antmaze-umaze-{version}")
    np.testing.assert_array_equal(transitions.discount, [1, 0, 0, 0, 1])
    np.testing.assert_array_equal(transitions.next_observation[[0, 4]], raw.observations[[1, 5]])
    assert (summary["terminals"], summary["timeouts"], summary["observation_dim"]) == (3, 2, 29)


def test_antmaze_v0_timeouts_that_miss_an_end_do_not_join_two_episodes(tmp_path, load):
    # episodes of rows 0-2 and 3-5; the stored timeout comes a row late, as in D4RL's issue 77
    content = ants([18.0, 18.3, 18.6, 0.1, 0.3, 0.5]) | {
        "timeouts": np.array([0, 0, 0, 1, 0, 0], bool)
    }
    store(tmp_path, "antmaze-large-diverse-v0", content)
    raw, transitions, _ = load(tmp_path, "antmaze-large-diverse-v0")
    np.testing.assert_array_equal(np.flatnonzero(raw.timeouts), [2, 3])
    steps = np.linalg.norm(
        transitions.next_observation[:, :2] - transitions.observation[:, :2], axis=1
    )
    np.testing.assert_allclose(steps, [0.3, 0.3, 0.2], rtol=1e-5)
    assert (transitions.discount == 1).all()


def test_maze2d_is_one_trajectory_cut_where_a_waypoint_was_reached(tmp_path, load):
    # terminals are never set; timeouts mark where the controller that recorded it had a new goal
    content = {
        "observations": np.arange(20, dtype=np.float32).reshape(5, 4),
        "actions": np.zeros((5, 2), np.float32),
    }
    content |= {"rewards": np.array([0, 1, 1, 0, 0], np.float32), "terminals": np.zeros(5, bool)}
    content |= {
        "timeouts": np.arange(5) == 1,
        "infos/goal": np.ones((5, 2)),
        "infos/qpos": np.ones((5, 2)),
    }
    store(tmp_path, "maze2d-umaze-v1", content)
    _, transitions, summary = load(tmp_path, "maze2d-umaze-v1")
    np.testing.assert_array_equal(transitions.observation[:, 0], [0, 8, 12])
    np.testing.assert_array_equal(transitions.next_observation[:, 0], [4, 12, 16])
    assert (summary["terminals"], summary["timeouts"], summary["episodes"]) == (0, 1, 2)


def test_kitchen_without_timeouts_is_cut_after_280_steps(tmp_path, load):
    content = {"observations": np.arange(600, dtype=np.float32)[:, None] + np.zeros(60, np.float32)}
    content |= {"actions": np.zeros((600, 9), np.float32), "rewards": np.zeros(600, np.float32)}
    content |= {"terminals": np.arange(600) == 199, "infos": np.zeros(600, int)}
    store(tmp_path, "kitchen-mixed-v0", content)
    raw, transitions, _ = load(tmp_path, "kitchen-mixed-v0")
    np.testing.assert_array_equal(np.flatnonzero(raw.timeouts), [200 + 279])
    assert (
        transitions.size == 600 - 2
    )  # the row of the timeout, and the last, which nothing follows


def test_what_else_is_in_a_file_of_locomotion_is_left_alone(tmp_path, load):
    content = {
        "observations": np.zeros((4, 11)),
        "actions": np.zeros((4, 3)),
        "rewards": np.zeros(4),
    }
    content |= {
        "terminals": np.zeros(4, bool),
        "timeouts": np.arange(4) == 3,
        "next_observations": np.ones((4, 11)),
    }
    content |= {
        "infos/action_log_probs": np.zeros(4),
        "metadata/algorithm": "SAC",
        "metadata/policy/weight": np.zeros((11, 8)),
    }
    store(tmp_path, "hopper-medium-v2", content)
    _, transitions, _ = load(tmp_path, "hopper-medium-v2")
    np.testing.assert_array_equal(transitions.next_observation, np.ones((4, 11)))
