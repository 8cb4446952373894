"""NeoRL's npz files: trajectories told by `index`, in both forms that are around."""

import numpy as np
import pytest

from edp_jax.data.npz import read_npz
from edp_jax.types import InputError


def content(**changes) -> dict[str, np.ndarray]:
    """Trajectories of 4, 3 and 3 steps; the second ends the task."""
    steps = np.arange(10.0) + np.repeat([0, 100, 200], [4, 3, 3])
    arrays = {
        "obs": np.stack([steps, -steps], axis=1),
        "next_obs": np.stack([steps + 1, -steps - 1], axis=1),
        "action": np.linspace(-1, 1, 10)[:, None],
        "reward": steps[:, None],
        "done": (np.arange(10) == 6)[:, None].astype(float),
        "index": np.array([0, 4, 7]),
    }
    return {key: value for key, value in (arrays | changes).items() if value is not None}


@pytest.fixture
def store(tmp_path):
    def write(arrays) -> str:
        np.savez(tmp_path / "neorl.npz", **arrays)
        return str(tmp_path / "neorl.npz")

    return write


@pytest.mark.parametrize("index", [[0, 4, 7], [4, 7, 10], [0, 4, 7, 10], [[4.0], [7.0], [10.0]]])
def test_first_rows_and_ends_of_trajectories_are_understood(store, paired, index):
    raw = read_npz(store(content(index=np.array(index))))
    np.testing.assert_array_equal(np.flatnonzero(raw.terminals), [6])
    np.testing.assert_array_equal(np.flatnonzero(raw.timeouts), [3, 9])
    transitions = paired(raw)
    np.testing.assert_array_equal(transitions.discount, np.arange(10) != 6)
    np.testing.assert_array_equal(transitions.next_observation[3], [4, -4])  # the stored one
    assert raw.understood == (
        "format: NeoRL, 3 trajectories by 'index', those without an end of the task are cut",
    )


def test_done_inside_a_trajectory_divides_it(store):
    raw = read_npz(store(content(done=(np.arange(10) == 1).astype(float))))
    np.testing.assert_array_equal(np.flatnonzero(raw.terminals), [1])
    assert "1 steps end the task inside an episode" in raw.notes[0] and not raw.whole_episodes


def test_truncated_steps_of_neorl_2_are_cuts(store):
    """Its `done` may be set where `truncated` is."""
    flags = {"done": np.isin(np.arange(10), [3, 6]), "truncated": np.isin(np.arange(10), [3, 9])}
    for index in (np.array([0, 4, 7]), None):  # newer files may lack it
        raw = read_npz(store(content(**flags, index=index)))
        np.testing.assert_array_equal(np.flatnonzero(raw.terminals), [6])
        np.testing.assert_array_equal(np.flatnonzero(raw.timeouts), [3, 9])


def test_one_trajectory(store):
    rows = np.arange(20.0).reshape(10, 2)
    raw = read_npz(store(content(index=np.array([0]), obs=rows, next_obs=None)))
    np.testing.assert_array_equal(np.flatnonzero(raw.timeouts), [9])


@pytest.mark.parametrize(
    ("index", "says"),
    [
        ([4, 7], "'index' goes from 4 to 7; store the first rows"),
        ([1, 4, 7, 11], "'index' goes from 1 to 11"),
        ([0, 7, 4], "goes from row 7 to 4 of 10"),
        ([0, 4, 4], "goes from row 4 to 4 of 10"),
        ([0, 4, 12], "goes from row 12 to 10 of 10"),
        ([0, 4.5], "holds no row numbers"),
        ([], "'index' has no numbers"),
        (["a"], "'index' has no numbers"),
        ([0, np.nan], "holds no row numbers"),
        (range(10), "'index' names every row"),
    ],
)
def test_an_index_of_no_use_is_refused(store, index, says):
    with pytest.raises(InputError, match=says):
        read_npz(store(content(index=np.array(index))))


def test_missing_arrays_are_named(store):
    with pytest.raises(InputError, match="no key 'rewards'"):
        read_npz(store(content(reward=None)))
    with pytest.raises(InputError, match="'index' holds Python objects"):
        read_npz(store(content(index=np.array([0, None], object))))
