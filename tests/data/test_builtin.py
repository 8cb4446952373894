import glob
import hashlib
import importlib.metadata
import os
import pathlib

import numpy as np
import pytest

from edp_jax import data
from edp_jax.data import builtin
from edp_jax.data.behaviour import Behaviour, save_behaviour
from edp_jax.data.hdf5 import read_hdf5
from edp_jax.data.reader import Request
from edp_jax.tasks import Task
from edp_jax.types import InputError

SMALL = builtin.Source("tiny", "Hopper-v4", 1000)


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A data folder for the 1000 + 1000 transitions of `tiny-dataset`.

    A random behaviour policy, shipped as `tiny`, makes them.
    """
    rng = np.random.default_rng(0)
    sizes = [(11, 16), (16, 6)]
    layers = tuple(
        (0.3 * rng.standard_normal(size, dtype=np.float32), np.zeros(size[1], np.float32))
        for size in sizes
    )
    shipped = tmp_path / "behaviours"
    shipped.mkdir()
    save_behaviour(
        str(shipped / "tiny.npz"), Behaviour(layers), {"env_id": "Hopper-v4", "steps": 0}
    )
    monkeypatch.setattr(builtin, "_FOLDER", str(shipped))
    monkeypatch.setitem(builtin.DATASETS, "tiny-dataset", (SMALL, SMALL))
    return tmp_path / "data"


def silent(message):
    del message


def test_unknown_dataset_names_a_near_one(tmp_path):
    with pytest.raises(
        InputError, match="'hopper-mediun' does not exist; use one of: hopper-medium"
    ):
        builtin.ensure("hopper-mediun", str(tmp_path))


def test_folder_that_cannot_be_made(tmp_path, tiny):
    (tmp_path / "file").write_text("")
    with pytest.raises(
        InputError, match="cannot be written to; give another one as --config.data_dir"
    ):
        builtin.ensure("tiny-dataset", str(tmp_path / "file"), silent)


def test_random_actions_need_no_policy(tiny):
    raw = builtin.collect(builtin.Source(builtin.RANDOM, "Hopper-v4", 1000), 0, silent)
    assert raw.actions.min() < -0.9 and raw.actions.max() > 0.9
    assert abs(raw.actions.mean()) < 4 / np.sqrt(
        3 * 3000
    )  # four standard deviations of a uniform's mean


def test_layout_is_that_of_d4rl(tiny):
    raw = read_hdf5(builtin.ensure("tiny-dataset", str(tiny), silent))
    assert raw.observations.shape == raw.next_observations.shape == (2000, 11)
    assert raw.actions.shape == (2000, 3)
    assert np.all(np.abs(raw.actions) <= 1)
    assert raw.terminals.any() and not np.any(raw.terminals & raw.timeouts)
    ends = raw.terminals | raw.timeouts
    # each of the 10 environments of a source leaves 100 consecutive steps, the last of them an end
    assert np.all(ends[99::100])
    np.testing.assert_array_equal(
        raw.next_observations[:-1][~ends[:-1]], raw.observations[1:][~ends[:-1]]
    )
    assert not np.any(
        np.all(raw.next_observations[:-1][ends[:-1]] == raw.observations[1:][ends[:-1]], axis=1)
    )
    assert not np.array_equal(
        raw.observations[:1000], raw.observations[1000:]
    )  # the second part has its own seeds


def test_episodes_are_cut_after_1000_steps(tiny, monkeypatch):
    class Standing:
        action_dim = 3

        def act(self, observation, rng):
            return np.zeros((len(observation), 3), np.float32)

    import gymnasium

    make = gymnasium.make
    forever = {"terminate_when_unhealthy": False}
    monkeypatch.setattr(
        gymnasium, "make", lambda env_id, **kwargs: make(env_id, **kwargs, **forever)
    )
    monkeypatch.setattr(builtin, "load_behaviour", lambda name: Standing())
    monkeypatch.setattr(builtin, "_NUM_ENVS", 1)
    raw = builtin.collect(builtin.Source("tiny", "Hopper-v4", 2500), 0, silent)
    np.testing.assert_array_equal(np.flatnonzero(raw.timeouts), [999, 1999, 2499])
    assert not raw.terminals.any()


def test_made_twice_it_is_the_same_and_once_it_is_kept(tiny, tmp_path):
    messages = []
    (tiny / "builtin").mkdir(parents=True)
    half = tiny / "builtin" / "tiny-dataset-x.hdf5.123.tmp"  # of a process that was killed
    half.write_bytes(b"half of it")
    os.utime(half, (0, 0))
    path = builtin.ensure("tiny-dataset", str(tiny), messages.append)
    assert messages[0].endswith(f"anew where it is stopped before its end; kept as {path}")
    assert any("100 %" in message for message in messages)
    messages.clear()
    assert builtin.ensure("tiny-dataset", str(tiny), messages.append) == path
    assert messages == []
    again = builtin.ensure("tiny-dataset", str(tmp_path / "elsewhere"), silent)
    assert os.path.basename(again) == os.path.basename(path)
    first, second = read_hdf5(path), read_hdf5(again)
    for name in (
        "observations",
        "actions",
        "rewards",
        "terminals",
        "timeouts",
        "next_observations",
    ):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    name = os.path.basename(path)
    assert sorted(os.listdir(tiny / "builtin")) == [name, f"{name}.sha256"]


def test_a_dataset_is_compared_with_the_checksum_of_the_day_it_was_made(tiny):
    path = pathlib.Path(builtin.ensure("tiny-dataset", str(tiny), silent))
    request = Request(Task("builtin/tiny-dataset", "custom", "builtin"), str(tiny), silent)
    digest, name = pathlib.Path(f"{path}.sha256").read_text().split()
    assert (digest, name) == (hashlib.sha256(path.read_bytes()).hexdigest(), path.name)
    raw, _ = builtin.read(request)
    assert not any("checksum" in note for note in raw.notes)
    content = bytearray(path.read_bytes())
    content[content.find(raw.rewards.tobytes()) + 2] ^= 1  # the last bits of a reward
    path.write_bytes(content)
    with pytest.raises(InputError, match="damaged, its sha256 is not the one .* made; delete it"):
        builtin.read(request)
    os.remove(f"{path}.sha256")  # of an older version
    assert "damage to the file would not be noticed; delete it" in builtin.read(request)[0].notes[0]


def test_rewards_are_those_of_the_simulator(tiny):
    import gymnasium

    raw = builtin.collect(SMALL, 5, silent)
    env = gymnasium.make("Hopper-v4")
    env.reset(seed=50)  # environment 0 of seed 5, 10 environments per seed
    for row in range(10):
        observation, reward, *_ = env.step(raw.actions[row])
        np.testing.assert_allclose(raw.next_observations[row], observation, rtol=1e-6)
        np.testing.assert_allclose(raw.rewards[row], reward, rtol=1e-6)


def test_the_name_follows_what_the_content_depends_on(tiny, monkeypatch):
    def path():
        return builtin.ensure("tiny-dataset", str(tiny), silent)

    with_two_sources = path()
    monkeypatch.setitem(builtin.DATASETS, "tiny-dataset", (SMALL,))
    with_one_source = path()
    monkeypatch.setattr(builtin.importlib.metadata, "version", lambda package: "0.0")
    with_other_versions = path()
    layers = ((np.zeros((11, 6), np.float32), np.zeros(6, np.float32)),)
    save_behaviour(builtin._behaviour_path("tiny"), Behaviour(layers), {})
    with_other_policy = path()
    assert len({with_two_sources, with_one_source, with_other_versions, with_other_policy}) == 4


def test_without_simulators_the_extra_is_named_and_nothing_counts_as_made(tiny, monkeypatch):
    def missing(package):
        raise importlib.metadata.PackageNotFoundError(package)

    monkeypatch.setattr(builtin.importlib.metadata, "version", missing)
    with pytest.raises(InputError, match=r"mujoco; pip install -e '.\[simulators\]'"):
        builtin.ensure("tiny-dataset", str(tiny), silent)
    assert data.find_file(data.find_task("builtin/hopper-medium"), str(tiny)) is None


@pytest.mark.parametrize("name", builtin.DATASETS)
def test_shipped_datasets_have_their_policies(name):
    import gymnasium

    env = gymnasium.make(builtin.DATASETS[name][0].env_id)
    sizes = env.observation_space.shape[0], env.action_space.shape[0]
    for source in builtin.DATASETS[name]:
        if source.behaviour != builtin.RANDOM:
            behaviour = builtin.load_behaviour(source.behaviour)
            assert (behaviour.observation_dim, behaviour.action_dim) == sizes
            assert all(np.isfinite(array).all() for layer in behaviour.layers for array in layer)
    assert len({source.num_transitions for source in builtin.DATASETS[name]}) == 1
    total = sum(source.num_transitions for source in builtin.DATASETS[name])
    assert total == {"medium-expert": 300_000, "medium-replay": 160_000}.get(
        name.partition("-")[2], 150_000
    )


def test_every_robot_has_the_five_qualities():
    qualities = ("medium", "medium-replay", "medium-expert", "expert", "random")
    robots = ("hopper", "halfcheetah", "walker2d")
    assert set(builtin.DATASETS) == {
        f"{robot}-{quality}" for robot in robots for quality in qualities
    }


@pytest.mark.parametrize("robot", ["hopper", "halfcheetah", "walker2d"])
def test_medium_replay_is_the_learner_from_its_random_start_to_the_medium_stage(robot):
    behaviours = [source.behaviour for source in builtin.DATASETS[f"{robot}-medium-replay"]]
    assert behaviours[0] == "random" and behaviours[-1] == f"{robot}-medium"
    steps = [int(name.removeprefix(f"{robot}-step_")) for name in behaviours[1:-1]]
    assert len(steps) >= 3 and steps == sorted(set(steps))


def test_shipped_policies_are_small_and_all_of_use():
    files = {
        path: os.path.getsize(path) for path in glob.glob(os.path.join(builtin._FOLDER, "*.npz"))
    }
    assert sum(files.values()) < 2_000_000
    used = {source.behaviour for sources in builtin.DATASETS.values() for source in sources} - {
        builtin.RANDOM
    }
    assert {builtin._behaviour_path(name) for name in used} == set(files)
