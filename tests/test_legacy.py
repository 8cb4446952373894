"""The legacy stack against stubs with the signatures of gym 0.23, d4rl 1.1 and mujoco-py 2.1."""

import sys
import types
import urllib.error

import numpy as np
import pytest

from edp_jax import legacy
from edp_jax.evaluation import envs, rollout
from edp_jax.types import EnvSpec, InputError


class GymEnv:
    """As of gym 0.23: `seed` and `reset` apart, steps of four.

    Ends by itself after `length` steps, or TimeLimit cuts it after 4.
    """

    action_space = types.SimpleNamespace(low=np.full(2, -1.0), high=np.full(2, 1.0), shape=(2,))
    observation_space = types.SimpleNamespace(shape=(3,))

    def __init__(self, length):
        self.length, self.generator = length, np.random.default_rng()

    def seed(self, seed=None):
        self.generator = np.random.default_rng(seed)
        return [seed]

    def reset(self):
        self.steps = 0
        return np.array(
            [self.generator.normal(), np.random.uniform(), 0.0]
        )  # D4RL's AntMaze draws from the global generator

    def step(self, action):
        self.steps += 1
        ended, info = self.steps == self.length, {}
        if self.steps == 4:
            info["TimeLimit.truncated"] = not ended
        return (
            np.array([0.0, 0.0, self.steps]),
            np.float64(action.sum()),
            ended or self.steps == 4,
            info,
        )

    dataset_url, dataset_filepath = (
        "http://somewhere/long.hdf5",
        "/data/long.hdf5",
    )  # as OfflineEnv has them
    ref_min_score, ref_max_score, spec = -3.0, 7.0, types.SimpleNamespace(max_episode_steps=4)

    def get_dataset(self, h5path=None):
        return {
            "observations": np.zeros((5, 3), np.float32),
            "terminals": np.zeros(5, bool),
            "metadata/algorithm": b"SAC",
        }


@pytest.fixture
def stack(monkeypatch):
    gym, error = types.ModuleType("gym"), types.ModuleType("gym.error")
    error.Error = type("Error", (Exception,), {})
    error.NameNotFound = type("NameNotFound", (error.Error,), {})
    lengths = {"short-v0": 2, "exact-v0": 4, "long-v0": 9}

    def make(name):
        if name not in lengths:
            raise error.NameNotFound(f"Environment {name}\ndoesn't exist.")
        return GymEnv(lengths[name])

    gym.error, gym.make = error, make
    for name, module in [
        ("gym", gym),
        ("d4rl", types.ModuleType("d4rl")),
        ("mujoco_py", types.ModuleType("mujoco_py")),
    ]:
        monkeypatch.setitem(sys.modules, name, module)
    yield
    envs.make.cache_clear()


def ends(name):
    env = legacy.make_env(name)
    env.reset(seed=0)
    steps = [env.step(np.ones(2)) for _ in range(4)]
    assert [step[0][2] for step in steps] == [1, 2, 3, 4] and all(step[1] == 2.0 for step in steps)
    return [step[2:4] for step in steps]


def test_an_end_a_time_limit_and_both_at_once(stack):
    running, end, cut = (False, False), (True, False), (False, True)
    assert ends("short-v0")[:2] == [running, end]
    assert ends("long-v0") == [running, running, running, cut]
    assert ends("exact-v0") == [running, running, running, end]


def test_reset_is_seeded_and_float32(stack):
    env = legacy.make_env("long-v0")
    first, info = env.reset(seed=3)
    assert first.dtype == np.float32 and info == {}
    np.testing.assert_array_equal(env.reset(seed=3)[0], first)
    assert np.all(env.reset(seed=4)[0][:2] != first[:2])
    assert np.all(env.reset()[0][:2] != first[:2])


def test_load_gives_arrays_under_the_keys_of_d4rl(stack):
    dataset = legacy.load("long-v0")
    assert set(dataset) == {
        "observations",
        "terminals",
        "metadata/algorithm",
        "reference_scores",
        "max_episode_steps",
    }
    np.testing.assert_array_equal(dataset["reference_scores"], [-3, 7])
    assert dataset["max_episode_steps"] == 4
    assert all(isinstance(values, np.ndarray) for values in dataset.values())
    assert (dataset["observations"].shape, dataset["terminals"].dtype) == ((5, 3), bool)


def test_a_dataset_that_cannot_be_fetched_is_refused_in_one_line(stack, monkeypatch):
    def get_dataset(self, h5path=None):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(GymEnv, "get_dataset", get_dataset)
    with pytest.raises(
        InputError,
        match=r"no dataset \(.*no network.*\); .* http://somewhere/long.hdf5 at '/data/long.hdf5'",
    ):
        legacy.load("long-v0")


def test_an_environment_without_a_dataset_or_scores(stack, monkeypatch):
    monkeypatch.setattr(GymEnv, "ref_max_score", None)
    monkeypatch.setattr(GymEnv, "spec", None)
    assert not {"reference_scores", "max_episode_steps"} & set(legacy.load("long-v0"))
    for name in ("dataset_url", "dataset_filepath", "get_dataset"):  # an environment of gym itself
        monkeypatch.delattr(GymEnv, name)
    with pytest.raises(
        InputError,
        match=r"legacy:long-v0: no dataset \(.*get_dataset.*\); use a name of D4RL with one",
    ):
        legacy.load("long-v0")


def test_a_legacy_environment_is_evaluated_like_any_other(stack):
    spec = EnvSpec("legacy:long-v0")
    episodes = rollout(lambda o, step: np.full((1, 2, 2), 7.0), spec, seeds=np.array([[0, 1]]))
    np.testing.assert_array_equal(episodes.lengths, [[4, 4]])
    np.testing.assert_array_equal(episodes.returns, [[8.0, 8.0]])  # clipped to 1 in both columns


def test_unknown_name_is_refused_in_one_line(stack):
    with pytest.raises(
        InputError,
        match="legacy:nothing-v0: Environment nothing-v0 doesn't exist.; use a name of D4RL",
    ):
        legacy.load("nothing-v0")


def test_every_part_that_is_missing_is_named(stack, monkeypatch):
    monkeypatch.setitem(sys.modules, "d4rl", None)
    with pytest.raises(
        InputError, match=r"^legacy:long-v0 needs what cannot be imported: d4rl \(.*\); pip install"
    ) as error:
        legacy.make_env("long-v0")
    assert "mujoco_py" not in str(error.value)
    monkeypatch.setitem(sys.modules, "mujoco_py", None)
    with pytest.raises(
        InputError, match=r"mujoco_py \(.*\), d4rl \(.*\); pip install -e '.\[d4rl\]'"
    ):
        envs.make(EnvSpec("legacy:long-v0"), 1)


def test_mujoco_py_without_mujoco_counts_as_missing(stack, monkeypatch, tmp_path):
    (tmp_path / "mujoco_py.py").write_text(
        'raise Exception("\\nYou appear to be missing MuJoCo.\\n")'
    )
    monkeypatch.delitem(sys.modules, "mujoco_py")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(
        InputError, match=r"imported: mujoco_py \(You appear to be missing MuJoCo.\);"
    ) as error:
        legacy.load("long-v0")
    assert "\n" not in str(error.value)
