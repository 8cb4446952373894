"""Loading a task: where its file is looked for, what is reported, and the real data sets."""

import hashlib
import os
import shutil
import urllib.error
import urllib.request

import numpy as np
import pytest

from edp_jax import data, legacy
from edp_jax.data import d4rl, download, hdf5, preprocess, summary
from edp_jax.types import InputError


def small() -> data.RawDataset:
    return data.RawDataset(
        observations=np.zeros((4, 2), np.float32),
        actions=np.zeros((4, 1), np.float32),
        rewards=np.arange(4, dtype=np.float32),
        terminals=np.array([0, 0, 0, 1], bool),
        timeouts=np.zeros(4, bool),
    )


@pytest.fixture
def real(d4rl_dir):
    """real(task) -> what `load` gives of a file of D4RL."""
    return lambda name: data.load(data.find_task(name), str(d4rl_dir(name)))


@pytest.mark.parametrize(
    "place",
    [
        "gym_mujoco_v2/hopper_medium-v2.hdf5",
        "hopper_medium-v2.hdf5",
        "hopper-medium-v2/hopper_medium-v2.hdf5",
    ],
)
def test_file_is_found_in_each_place(tmp_path, place):
    hdf5.write_hdf5(tmp_path / place, small(), attributes={})
    raw, info = data.load(data.find_task("hopper-medium-v2"), str(tmp_path))
    content = (tmp_path / place).read_bytes()
    assert info == {
        "name": "hopper-medium-v2",
        "path": str(tmp_path / place),
        "sha256": hashlib.sha256(content).hexdigest(),
        "size_bytes": len(content),
        "observation_names": [],
        "action_names": [],
        "details": {},
        "summary": summary.summarize(raw),
    }


def test_home_folder_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    hdf5.write_hdf5(tmp_path / "hopper_medium-v2.hdf5", small(), attributes={})
    _, info = data.load(data.find_task("hopper-medium-v2"), "~")
    assert info["path"] == str(tmp_path / "hopper_medium-v2.hdf5")


def test_missing_file_that_cannot_be_downloaded(tmp_path, monkeypatch):
    def unreachable(*_, **__):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(urllib.request, "urlopen", unreachable)
    monkeypatch.setattr(download, "_PAUSE", 0)
    with pytest.raises(InputError) as error:
        data.load(data.find_task("hopper-medium-v2"), str(tmp_path), lambda line: None)
    message = str(error.value)
    assert (
        "https://rail.eecs.berkeley.edu/datasets/offline_rl/gym_mujoco_v2/hopper_medium-v2.hdf5"
        in message
    )
    assert (
        f"put the file at '{tmp_path}/gym_mujoco_v2/hopper_medium-v2.hdf5'" in message
        and "\n" not in message
    )
    assert "no network" in message and not list(tmp_path.iterdir())


def test_missing_file_is_downloaded_checked_and_found_the_next_time(tmp_path, monkeypatch, serve):
    hdf5.write_hdf5(tmp_path / "there.hdf5", small(), attributes={})
    content = (tmp_path / "there.hdf5").read_bytes()
    server = serve(content)
    name = "kitchen/mini_kitchen_microwave_kettle_light_slider-v0.hdf5"
    monkeypatch.setattr(d4rl, "URL", server.url)
    task = data.find_task("kitchen-complete-v0")
    with pytest.raises(
        InputError, match=f"the server has {len(content):,} bytes, the file should have 556,544"
    ):
        data.load(task, str(tmp_path / "data"), lambda line: None)
    assert not (tmp_path / "data").exists()
    monkeypatch.setitem(d4rl._KNOWN, name, (len(content), hashlib.sha256(content).hexdigest()))
    raw, info = data.load(task, str(tmp_path / "data"), lambda line: None)
    assert (
        info["path"] == str(tmp_path / "data" / name)
        and info["sha256"] == hashlib.sha256(content).hexdigest()
    )
    np.testing.assert_array_equal(raw.rewards, small().rewards)
    assert not any("D4RL's file" in note for note in raw.notes)
    with open(info["path"], "r+b") as file:
        file.seek(content.find(small().rewards.tobytes()))
        file.write(b"\1")
    changed, told = data.load(task, str(tmp_path / "data"), lambda line: None)
    assert (
        changed.rewards[0] != small().rewards[0]
        and "is not D4RL's file, or it is damaged" in (told["summary"]["notes"][0])
    )
    requests = len(server.requests)
    data.load(task, str(tmp_path / "data"), lambda line: None)
    assert len(server.requests) == requests and server.requests[-1].endswith(name)


def test_custom_file_is_read_from_its_own_path(tmp_path):
    hdf5.write_hdf5(tmp_path / "mine.hdf5", small(), attributes={})
    raw, info = data.load(data.find_task(str(tmp_path / "mine.hdf5")), str(tmp_path / "elsewhere"))
    assert info["path"] == str(tmp_path / "mine.hdf5")
    np.testing.assert_array_equal(raw.rewards, [0, 1, 2, 3])


def test_a_legacy_dataset_comes_from_d4rl_itself(tmp_path, monkeypatch):
    asked = []

    def load(name):
        asked.append(name)
        fields = {
            field: getattr(small(), field)
            for field in ("observations", "actions", "rewards", "terminals", "timeouts")
        }
        del fields["timeouts"]
        return fields | {
            "infos/qpos": np.zeros((4, 7)),
            "max_episode_steps": np.array(2),
            "reference_scores": np.array([-1, 5]),
        }

    monkeypatch.setattr(legacy, "load", load)
    task = data.find_task("legacy:hopper-medium-v2")
    raw, info = data.load(task, str(tmp_path))
    assert asked == ["hopper-medium-v2"] and task.environment == "legacy:hopper-medium-v2"
    assert task.reference_scores == data.find_task("hopper-medium-v2").reference_scores
    np.testing.assert_array_equal(raw.rewards, small().rewards)
    np.testing.assert_array_equal(
        raw.timeouts, [0, 1, 0, 0]
    )  # every two steps, but for the terminal
    np.testing.assert_array_equal(raw.reference_scores, [-1, 5])
    assert info["path"] is None and len(info["sha256"]) == 64 and info["summary"]["steps"] == 4


def test_built_in_dataset_is_made_below_the_data_folder(tmp_path, monkeypatch):
    def ensure(name, data_dir, progress):
        progress(f"making {name}")
        path = os.path.join(data_dir, "builtin", f"{name}.hdf5")
        hdf5.write_hdf5(path, small(), attributes={})
        return path

    monkeypatch.setattr("edp_jax.data.builtin.ensure", ensure)
    lines = []
    _, info = data.load(data.find_task("builtin/hopper-medium"), str(tmp_path), lines.append)
    assert info["name"] == "builtin/hopper-medium" and lines == ["making hopper-medium"]
    assert info["path"] == str(tmp_path / "builtin" / "hopper-medium.hdf5")


def test_truncated_copy_of_a_real_file_is_refused(tmp_path, real):
    _, info = real("kitchen-complete-v0")
    path = shutil.copy(info["path"], tmp_path)
    os.truncate(path, info["size_bytes"] // 2)
    with pytest.raises(InputError, match="truncated or damaged at 278272 bytes"):
        data.load(data.find_task("kitchen-complete-v0"), str(tmp_path))


def test_kitchen_complete(real, paired):
    raw, info = real("kitchen-complete-v0")
    assert info["sha256"] == "cd797c38cd52dfbe3f960cef73935cc724847abd189e47a703a7a2315ed60a81"
    found = info["summary"]
    counts = [found[key] for key in ("steps", "transitions", "episodes", "terminals", "timeouts")]
    assert counts == [3680, 3680, 19, 19, 0]
    assert (found["observation_dim"], found["action_dim"]) == (60, 9)
    assert (found["return"]["min"], found["return"]["max"]) == (304.0, 355.0)
    # Columns 30-59 hold the goal. In 23 of them np.std is exactly 0, in 7 it is a rounding error.
    assert found["constant_columns"] == list(range(30, 60))
    assert int((raw.observations.std(axis=0) == 0).sum()) == 23
    _, std = preprocess.normalization(raw.observations)
    np.testing.assert_array_equal(std[30:], np.ones(30))
    # Every demonstration ends in a terminal, so no transition is dropped.
    transitions = paired(raw)
    assert transitions.size == 3680 and int((transitions.discount == 0).sum()) == 19


def test_door_human(real, paired):
    raw, info = real("door-human-v0")
    assert info["sha256"] == "9df6345e28fcec8f44c0af4d6dacc6ef996958b39b568f53df85cf41dd03412b"
    found = info["summary"]
    counts = [found[key] for key in ("steps", "transitions", "terminals", "timeouts")]
    assert counts == [6729, 6729 - 25, 25, 25]
    low, high = data.find_task("door-human-v0").reference_scores
    # Timeouts fall inside the demonstrations, at step 200 of each; terminals end them.
    starts = np.append(0, np.flatnonzero(raw.terminals)[:-1] + 1)
    np.testing.assert_array_equal(np.flatnonzero(raw.timeouts), starts + 199)
    whole = np.add.reduceat(raw.rewards.astype(np.float64), starts).mean()
    np.testing.assert_allclose(
        [whole, 100 * (whole - low) / (high - low)], [795.7, 29.0], atol=0.05
    )
    # An episode ends at its timeout, so first and second parts alternate; the first have 200 steps.
    returns = preprocess.episode_returns(raw)
    assert len(returns) == 50
    np.testing.assert_allclose(
        [returns[::2].mean(), 100 * (returns[::2].mean() - low) / (high - low)],
        [170.4, 7.7],
        atol=0.05,
    )
    # The 25 timed-out steps have no next observation.
    transitions = paired(raw)
    assert transitions.size == 6729 - 25 and int((transitions.discount == 0).sum()) == 25
