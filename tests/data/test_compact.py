"""OGBench's compact layout, and its names: what holds without its package."""

import sys

import numpy as np
import pytest

from edp_jax import configuration, data
from edp_jax.data.npz import read_npz
from edp_jax.evaluation import envs
from edp_jax.types import EnvSpec, InputError

# two trajectories, of three steps and of two, each with a last row that is no step
OBSERVATIONS = np.array([0, 1, 2, 3, 10, 11, 12], np.float32)[:, None]
ARRAYS = {
    "observations": OBSERVATIONS,
    "actions": np.linspace(-1, 1, 7, dtype=np.float32)[:, None],
    "rewards": np.array([-1, 0, -1, 9, -1, -1, 9], np.float32),
    "masks": np.array([1, 0, 1, 0, 1, 1, 0], np.float32),
    "terminals": np.array([0, 0, 1, 1, 0, 1, 1], np.float32),
    "valids": np.array([1, 1, 1, 0, 1, 1, 0], np.float32),
}


def store(folder, **changes) -> str:
    path = str(folder / "mine.npz")
    content = ARRAYS | changes
    np.savez(path, **{key: value for key, value in content.items() if value is not None})
    return path


def test_the_last_row_of_a_trajectory_is_only_a_next_observation(tmp_path, paired):
    raw = read_npz(store(tmp_path))
    rows = paired(raw)
    assert rows.observation[:, 0].tolist() == [0, 1, 2, 10, 11]
    assert rows.next_observation[:, 0].tolist() == [1, 2, 3, 11, 12]
    np.testing.assert_array_equal(rows.action, ARRAYS["actions"][[0, 1, 2, 4, 5]])
    assert rows.reward.tolist() == [-1, 0, -1, -1, -1]
    assert rows.discount.tolist() == [1, 0, 1, 1, 1]  # the task is done in row 1, on the way
    assert np.flatnonzero(raw.timeouts).tolist() == [2, 4]
    assert not raw.whole_episodes
    assert "compact layout" in raw.understood[0]
    assert raw.notes == ("1 steps end the task inside an episode, which is divided there",)


def test_equally_long_trajectories_are_no_hidden_time_limit(tmp_path):
    """Masks say that the task is done there: no line may doubt it."""
    steps = np.tile(np.append(np.ones(12), 0), 3)
    ends = np.tile(np.append(np.zeros(11), [1, 1]), 3)
    raw = read_npz(
        store(
            tmp_path,
            observations=np.arange(39.0)[:, None],
            actions=np.zeros((39, 1)),
            rewards=np.zeros(39),
            masks=1 - ends,
            terminals=ends,
            valids=steps,
        )
    )
    assert raw.terminals.sum() == 3 and raw.whole_episodes and raw.notes == ()


def test_flags_may_be_columns(tmp_path):
    columns = {key: ARRAYS[key][:, None] for key in ("valids", "terminals", "masks")}
    raw, wanted = read_npz(store(tmp_path, **columns)), read_npz(store(tmp_path))
    for key, array in wanted.arrays().items():
        np.testing.assert_array_equal(raw.arrays()[key], array)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"valids": 1}, r"unequal length \(observations 7, .*, valids 1\)"),
        ({"valids": np.ones((7, 2))}, r"'valids' has shape \[7, 2\]; store one flag per row"),
        ({"masks": None}, "'valids' belongs to .* store 'terminals' and 'masks'"),
        ({"terminals": None, "dones_float": ARRAYS["terminals"]}, "store 'terminals' and 'masks'"),
        ({"next_observations": OBSERVATIONS}, "and no other ends or next observations"),
        ({"timeouts": np.zeros(7)}, "and no other ends or next observations"),
        ({"terminals": 1 - ARRAYS["valids"]}, "row 2 is not as in OGBench's layout"),
        ({"valids": np.array([1, 1, 1, 0, 1, 1, 1])}, "row 5 is not as in"),
        ({"valids": np.array([0, 1, 1, 0, 1, 1, 0])}, "row 0 is not as in"),
        ({"valids": np.array([1, 1, 0, 0, 1, 1, 0])}, "row 1 is not as in"),
        ({"valids": np.ones(6)}, r"unequal length \(observations 7, .*, valids 6\)"),
        ({"valids": np.full(7, 0.5)}, "'valids' holds 7 values that are neither 0 nor 1"),
        ({"rewards": None}, "no key 'rewards'"),
    ],
)
def test_other_layouts_are_refused_in_one_line(tmp_path, changes, message):
    folder = tmp_path / ("a folder with a long name" * 4)
    folder.mkdir()
    with pytest.raises(InputError, match=message) as error:
        read_npz(store(folder, **changes))
    assert len(str(error.value)) <= 300 and "\n" not in str(error.value)


def test_a_file_of_ogbench_itself_is_told_how_to_be_named(tmp_path):
    kept = {key: ARRAYS[key] for key in ("observations", "actions", "terminals")}
    folder = tmp_path / ("a folder with a long name" * 4)
    folder.mkdir()
    np.savez(folder / "cube.npz", **kept, qpos=OBSERVATIONS, qvel=OBSERVATIONS)
    with pytest.raises(InputError, match="no rewards: .* ogbench:<dataset>-singletask-v0") as error:
        read_npz(folder / "cube.npz")
    assert len(str(error.value)) <= 300


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("cube-single-play-singletask-task2-v0", "cube-single-play-v0.npz"),
        ("pointmaze-medium-navigate-singletask-v0", "pointmaze-medium-navigate-v0.npz"),
        ("puzzle-3x3-play-singletask-task5-v0", "puzzle-3x3-play-v0.npz"),
    ],
)
def test_a_name_leads_to_its_file_and_environment(tmp_path, monkeypatch, name, file):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    task = data.find_task(f"ogbench:{name}")
    assert (task.file_name, task.environment) == (file, f"ogbench:{name}")
    assert task.reference_scores == (0, 1)  # of an episode's success: the score is its rate
    assert data.find_file(task, str(tmp_path)) is None
    for folder in ("home/.ogbench/data", "ogbench", "."):  # the later ones come first
        place = tmp_path / folder / file
        place.parent.mkdir(parents=True, exist_ok=True)
        place.touch()
        assert data.find_file(task, str(tmp_path)) == str(tmp_path / folder / file).replace(
            "/./", "/"
        )
    settings = configuration.resolve(configuration.make_config("fql", task.name))
    assert settings.task == task and settings.environment.name == task.name


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cube-single-play-v0", "without 'singletask' a dataset has goals and no rewards"),
        ("cube-single-play-oraclerep-v0", "without 'singletask'"),
        ("cube-single-play-singletask-task6-v0", "task1-v0 to task5"),
        ("visual-cube-single-play-singletask-v0", "images are not read"),
    ],
)
def test_names_without_a_task_are_refused(name, message):
    with pytest.raises(InputError, match=message):
        data.find_task(f"ogbench:{name}")


def test_without_its_package_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ogbench", None)  # an import fails
    task = data.find_task("ogbench:cube-single-play-singletask-v0")
    with pytest.raises(InputError, match=r"pip install -e '.\[ogbench\]'"):
        data.load(task, str(tmp_path))
    assert not list(tmp_path.iterdir())  # nothing was downloaded
    pytest.importorskip("gymnasium_robotics", reason="needs the extra simulators")
    with pytest.raises(InputError, match=r"pip install -e '.\[ogbench\]'"):
        envs.make(EnvSpec(task.environment), 1)
