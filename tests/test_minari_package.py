"""Minari's datasets name environments by import paths: only what gymnasium knows is made."""

import json
import sys

import gymnasium
import numpy as np
import pytest

from edp_jax import minari_package
from edp_jax.data.minari import read_minari
from edp_jax.evaluation import envs
from edp_jax.types import EnvSpec, InputError

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:minari.utils")
minari = pytest.importorskip(
    "minari", reason="the optional package minari is not installed: pip install -e '.[test]'"
)


@pytest.fixture
def metadata(tmp_path, monkeypatch):
    """metadata(**changes): a dataset test/pendulum-v0 whose metadata have these values."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    episode = minari.data_collector.EpisodeBuffer(
        observations=np.zeros((5, 3), np.float32),
        actions=np.linspace(-1, 1, 4, dtype=np.float32)[:, None],
        rewards=[0.0] * 4,
        terminations=[False] * 4,
        truncations=[False] * 3 + [True],
    )
    minari.create_dataset_from_buffers(
        "test/pendulum-v0",
        [episode, episode],
        env=gymnasium.make("Pendulum-v1"),
        eval_env=gymnasium.make("Pendulum-v1", g=5.0),
    )
    path = tmp_path / "minari/test/pendulum-v0/data/metadata.json"

    def change(**changes):
        content = json.loads(path.read_text()) | changes
        path.write_text(json.dumps({key: v for key, v in content.items() if v is not ...}))

    return change


def spec(**changes) -> str:
    """Pendulum's specification, as Minari stores it."""
    return json.dumps(json.loads(gymnasium.spec("Pendulum-v1").to_json()) | changes)


def test_the_environment_for_evaluation_is_made(metadata):
    env = envs.make(EnvSpec("minari:test/pendulum-v0"), 1)[0]
    assert env.unwrapped.g == 5.0 and env.observation_space.shape == (3,)


TRAP = [
    {"entry_point": "os:mkdir", "kwargs": {"path": "TRAP"}},
    {"id": "Mine-v0", "entry_point": "os:mkdir", "kwargs": {"path": "TRAP"}},
    {
        "additional_wrappers": [
            {"name": "W", "entry_point": "os:mkdir", "kwargs": {"path": "TRAP"}},
        ]
    },
]


@pytest.mark.parametrize("changes", TRAP)
@pytest.mark.parametrize("key", ["env_spec", "eval_env_spec"])
def test_code_that_a_dataset_names_is_not_run(metadata, tmp_path, key, changes):
    text = spec(**changes).replace("TRAP", str(tmp_path / "trap"))
    others = {"eval_env_spec": ...} if key == "env_spec" else {}
    metadata(**others | {key: text})
    with pytest.raises(InputError, match="code that data name is not run; .*--config.env_id"):
        minari_package.make_env("test/pendulum-v0")
    assert not (tmp_path / "trap").exists()
    assert len(read_minari("test/pendulum-v0").rewards) == 8  # the steps can be trained on


@pytest.mark.parametrize("missing", ["observation_space", "action_space"])
def test_code_is_not_run_to_learn_the_spaces_either(metadata, tmp_path, missing):
    metadata(env_spec=spec(**TRAP[0]).replace("TRAP", str(tmp_path / "trap")), **{missing: ...})
    with pytest.raises(InputError, match="code that data name is not run"):
        read_minari("test/pendulum-v0")
    assert not (tmp_path / "trap").exists()
    metadata(env_spec=spec())
    assert len(read_minari("test/pendulum-v0").rewards) == 8


@pytest.mark.parametrize("count", [10**12, -1, 2.0, None, True, "2"])
def test_a_number_of_episodes_that_the_files_cannot_hold_is_refused(metadata, count):
    metadata(total_episodes=count)
    with pytest.raises(InputError, match=r"says .* episodes, in files of \d+ bytes"):
        read_minari("test/pendulum-v0")


def test_episodes_and_steps_that_the_metadata_lose_are_told(metadata):
    metadata(total_episodes=1)
    raw = read_minari("test/pendulum-v0")
    assert len(raw.rewards) == 4
    assert "the metadata tell of 1 episodes, and there are 2" in raw.notes
    assert "the metadata tell of 8 steps, and there are 4" in raw.notes


@pytest.mark.parametrize("text", ["[" * 100_000, "{", "3", '{"id": ["a"], "entry_point": "b:c"}'])
def test_a_specification_that_is_none_is_refused_in_a_line(metadata, text):
    metadata(env_spec=None, eval_env_spec=None)
    with pytest.raises(InputError, match="the dataset names none; give one as --config.env_id"):
        minari_package.make_env("test/pendulum-v0")
    metadata(observation_space=..., env_spec=text)
    with pytest.raises(InputError, match="name no environment that can be understood"):
        read_minari("test/pendulum-v0")


def test_the_package_and_the_dataset_are_named_where_they_are_missing(metadata, monkeypatch):
    def fail(dataset_id):
        raise ConnectionError("no network")

    monkeypatch.setattr(minari.storage.hosting, "download_dataset", fail)
    with pytest.raises(InputError, match="minari:c/d-v0: no network; .* or put its folder at"):
        minari_package.make_env("c/d-v0")
    monkeypatch.setitem(sys.modules, "minari", None)
    with pytest.raises(InputError, match=r"import of minari .*; pip install -e '.\[minari\]'"):
        minari_package.make_env("test/pendulum-v0")
