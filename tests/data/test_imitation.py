"""Trajectories as imitation saved them: `obs` have one row more per trajectory than `acts`."""

import os

import numpy as np
import pytest

from edp_jax.data.layout import Layout
from edp_jax.data.npz import read_npz
from edp_jax.types import InputError


class Trap:
    """Unpickling it would leave a folder behind."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (self.path,))


def content(**changes) -> dict[str, np.ndarray]:
    """Trajectories of 2, 3 and 1 steps; the second was cut."""
    observations = np.array([0, 1, 2, 10, 11, 12, 13, 20, 21.0])[:, None]
    arrays = {
        "obs": observations,
        "acts": np.linspace(-1, 1, 6)[:, None],
        "rews": np.arange(6.0),
        "terminal": np.array([True, False, True]),
        "indices": np.array([2, 5]),
    }
    return {key: value for key, value in (arrays | changes).items() if value is not None}


@pytest.fixture
def store(tmp_path):
    def write(arrays) -> str:
        np.savez_compressed(tmp_path / "final.npz", **arrays)
        return str(tmp_path / "final.npz")

    return write


def test_trajectories_are_taken_apart_and_infos_are_not_looked_at(store, tmp_path, paired):
    infos = np.array([Trap(str(tmp_path / "unpickled"))] * 6, object)
    raw = read_npz(store(content(infos=infos)))
    assert not (tmp_path / "unpickled").exists()
    np.testing.assert_array_equal(raw.observations[:, 0], [0, 1, 10, 11, 12, 20])
    np.testing.assert_array_equal(raw.next_observations[:, 0], [1, 2, 11, 12, 13, 21])
    np.testing.assert_array_equal(np.flatnonzero(raw.terminals), [1, 5])
    np.testing.assert_array_equal(np.flatnonzero(raw.timeouts), [4])
    np.testing.assert_array_equal(raw.rewards, np.arange(6))
    assert paired(raw).size == 6
    assert "imitation, 3 trajectories" in raw.understood[0]
    assert "marks those that reach a time limit so, too" in raw.understood[0]


def test_rewards_may_be_missing_or_follow_from_a_rule(store):
    path = store(content(rews=None))
    raw = read_npz(path)
    assert not raw.has_rewards and not raw.rewards.any()
    raw = read_npz(path, layout=Layout(reward_rule="success_at_end"))
    assert raw.has_rewards and raw.rewards.tolist() == [0, 1, 0, 0, 1, 1]
    assert raw.terminals.tolist() == [0, 1, 0, 0, 1, 1]
    assert raw.notes[0].startswith("1 of 3 trajectories are not 'terminal': by the rule success_at")
    assert not any("by the rule" in note for note in read_npz(path).notes)


def test_a_single_trajectory(store):
    raw = read_npz(
        store(content(obs=np.arange(7.0)[:, None], indices=np.array([], int), terminal=[False]))
    )
    assert raw.timeouts.tolist() == [0, 0, 0, 0, 0, 1]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"obs": np.zeros((6, 1))}, "need 3 'terminal' and 9 'obs', not 3 and 6"),
        ({"terminal": np.array([True])}, "need 3 'terminal' and 9 'obs', not 1 and 9"),
        ({"terminal": np.array(["a", "b", "c"])}, "key 'terminal' has dtype <U1"),
        ({"indices": np.array([5, 2])}, "goes from row 5 to 2 of 6"),
        ({"indices": np.array([2, 6])}, "goes from row 6 to 6 of 6"),
        ({"indices": np.array(["a"])}, "no row numbers"),
        ({"acts": np.zeros(6, np.int64)}, "'acts' are discrete"),
        ({"acts": np.zeros(6)}, r"'actions' has shape \[6\]; store it as"),
        ({"obs": np.float32(1)}, "not 3 and 1"),
        ({"obs": np.zeros((9, 4, 4, 3), np.uint8)}, "images are not read"),
        ({"obs": np.array([Trap("unpickled")] * 9, object)}, "'obs' holds Python objects"),
        ({"rews": np.zeros(5)}, "unequal length"),
    ],
)
def test_files_of_no_use_are_refused(store, changes, says):
    with pytest.raises(InputError, match=says) as error:
        read_npz(store(content(**changes)))
    assert "\n" not in str(error.value) and len(str(error.value)) <= 300
