"""d3rlpy's HDF5 files, written here as its `ReplayBuffer.dump` and `MDPDataset.dump` write them."""

import h5py
import numpy as np
import pytest

from edp_jax.data.hdf5 import read_hdf5
from edp_jax.types import InputError


def episode(index: int, *, steps: int = 3, terminated: bool = True) -> dict:
    rows = 100.0 * index + np.arange(steps)
    return {
        "observations": np.stack([rows, -rows], axis=1).astype(np.float32),
        "actions": np.full((steps, 1), index / 100, np.float32),
        "rewards": rows[:, None].astype(np.float32),
        "terminated": terminated,
    }


@pytest.fixture
def dump(tmp_path):
    """dump(episodes, **changes) -> the path of a file of version 2.1."""

    def write(episodes, **changes):
        content = {"columns": list(episodes[0]), "num_episodes": len(episodes), "version": "2.1"}
        for index, entries in enumerate(episodes):
            for key, value in entries.items():
                parts = value if isinstance(value, tuple) else None
                for part in range(len(parts or ())):
                    content[f"{key}_{index}_{part}"] = parts[part]
                if parts is None:
                    content[f"{key}_{index}"] = value
        path = str(tmp_path / "buffer.h5")
        with h5py.File(path, "w") as file:
            for key, value in (content | changes).items():
                if value is not None:
                    file.create_dataset(key, data=value)
        return path

    return write


def test_episodes_in_their_order_with_ends_and_cuts(dump, paired):
    raw = read_hdf5(dump([episode(index, terminated=index != 2) for index in range(11)]))
    assert raw.observation_dim == 2 and len(raw.rewards) == 33
    np.testing.assert_array_equal(raw.observations[29:31, 0], [902, 1000])  # 10 comes after 9
    np.testing.assert_array_equal(np.flatnonzero(raw.timeouts), [8])
    np.testing.assert_array_equal(np.flatnonzero(raw.terminals), np.delete(np.arange(2, 33, 3), 2))
    np.testing.assert_array_equal(raw.rewards[3:6], [100, 101, 102])
    assert "d3rlpy 2" in raw.understood[0]
    assert paired(raw).size == 32  # what followed the cut is not stored


def test_observations_that_are_tuples_stand_side_by_side(dump):
    parts = {"observations": (np.zeros((3, 2), np.float32), np.ones((3, 1), np.float32))}
    raw = read_hdf5(dump([episode(0) | parts, episode(1) | parts]))
    np.testing.assert_array_equal(raw.observations, [[0, 0, 1]] * 6)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (dict.fromkeys(("actions_0", "actions_1"), np.zeros((3, 1), int)), "are discrete"),
        ({"actions_1": None}, "'actions_1' is missing, 2 episodes are told of"),
        ({"num_episodes": 3}, "'actions_2' is missing, 3 episodes are told of"),
        ({"num_episodes": 1}, "'num_episodes' is '1', but there are actions of 2 episodes"),
        ({"num_episodes": -4}, "'num_episodes' is '-4', but"),
        ({"num_episodes": "two"}, "'num_episodes' is .*two.*, but"),
        ({"num_episodes": np.zeros(0, int)}, r"'num_episodes' is '\[\]', but"),
        ({"observations_1": None}, "no key 'observations_1'"),
        ({"observations_0": None}, "no key 'observations_0'"),
        ({"terminated_1": None}, "no key 'terminated_1'"),
        ({"terminated_0": [True, False]}, "'terminated_0' holds 2 flags; store one"),
        ({"terminated_0": 0.5}, "'terminated_0' holds 1 values that are neither 0 nor 1"),
        ({"rewards_1": np.zeros((2, 1))}, "'rewards_1' has 2 rows and 'actions_1' has 3"),
        ({"rewards_1": np.zeros((3, 2)), "rewards_0": np.zeros((3, 2))}, "'rewards_0' has 2 col"),
        ({"observations_1": np.zeros((3, 4))}, "'observations_1' has 4 columns, not 2"),
        ({"observations_0": np.zeros((3, 1, 8, 8), np.uint8)}, "images are not read"),
        ({"actions_0": 7.0}, r"'actions_0' has shape \[\]"),
    ],
)
def test_files_of_no_use_are_refused(dump, changes, says):
    with pytest.raises(InputError, match=says) as error:
        read_hdf5(dump([episode(0), episode(1)], **changes))
    assert "\n" not in str(error.value) and len(str(error.value)) <= 300


OLD = {
    "observations": np.arange(12.0).reshape(6, 2),
    "actions": np.linspace(-1, 1, 6)[:, None],
    "rewards": np.ones((6, 1)),
    "terminals": np.array([0, 0, 1, 0, 0, 0.0]),
    "episode_terminals": np.array([0, 0, 1, 0, 1, 0.0]),
    "discrete_action": False,
    "version": "1.0",
}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({}, None),
        ({"discrete_action": True, "actions": np.zeros(6, int)}, "actions are discrete"),
        ({"discrete_action": None, "actions": np.zeros((6, 1), int)}, "actions are discrete"),
        ({"discrete_action": 2}, "'discrete_action' holds 1 values that are neither 0 nor 1"),
        ({"mask": np.ones(6)}, "'mask' is not read"),
        ({"done": np.zeros(6)}, "'terminals' and 'done' both mark ends"),
        ({"episode_terminals": np.zeros(4)}, "'episode_terminals' has 4 rows and 'rewards' has 6"),
        ({"episode_terminals": np.full(6, 0.5)}, "'episode_terminals' holds 6 values"),
    ],
)
def test_version_1_marks_all_ends_apart_from_those_of_the_task(tmp_path, changes, says):
    with h5py.File(tmp_path / "old.h5", "w") as file:
        for key, value in (OLD | changes).items():
            if value is not None:
                file.create_dataset(key, data=value)
    if says is not None:
        with pytest.raises(InputError, match=says):
            read_hdf5(tmp_path / "old.h5")
        return
    raw = read_hdf5(tmp_path / "old.h5")
    np.testing.assert_array_equal(np.flatnonzero(raw.terminals), [2])
    np.testing.assert_array_equal(np.flatnonzero(raw.timeouts), [4, 5])


def test_version_1_with_what_else_says_how_episodes_go_on(tmp_path, paired):
    following = OLD["observations"] + np.array([[0.5], [2], [2], [2], [0.5], [0.5]])
    others = {"next_observations": following, "timeouts": np.eye(6)[0], "action_low": [-3.0]}
    with h5py.File(tmp_path / "old.h5", "w") as file:
        for key, value in (OLD | others | {"action_high": [3.0]}).items():
            file.create_dataset(key, data=value)
    raw = read_hdf5(tmp_path / "old.h5")
    np.testing.assert_array_equal(np.flatnonzero(raw.timeouts), [0, 4, 5])
    np.testing.assert_array_equal(paired(raw).next_observation, following)
    assert (raw.action_low, raw.action_high) == (-3, 3)
