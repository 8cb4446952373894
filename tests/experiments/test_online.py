"""Online runs as programs start them: in one folder, from another run, and what is refused."""

import json
import shutil

import numpy as np
import pytest

from edp_jax import InputError, configuration, load_dataset
from edp_jax.training.progress import Progress
from experiments import main
from tests.experiments.conftest import NoSignals

TINY = {
    "hidden_dims": (8, 8),
    "batch_size": 8,
    "num_steps": 4,
    "log_every": 2,
    "eval_every": 40,
    "eval_episodes": 1,
    "seeds": (3, 5),
    "env_id": "Pendulum-v1",
    "env_kwargs": '{"max_episode_steps": 20}',
}
ONLINE = {"online_steps": 120, "online_warmup": 8, "online_noise": 0.1}


@pytest.fixture(scope="module")
def train(tmp_path_factory):
    """train(name, **settings) -> folder of a run, made or taken up."""
    base = tmp_path_factory.mktemp("online")
    rng = np.random.default_rng(0)
    np.savez(
        base / "data.npz",
        observations=rng.normal(size=(200, 3)),
        actions=rng.uniform(-2, 2, (200, 1)),
        rewards=rng.normal(size=200),
        terminals=np.zeros(200, bool),
        timeouts=np.arange(200) % 20 == 19,
        action_low=[-2.0],
        action_high=[2.0],
    )

    def train(name, **changes):
        task = str(base / "data.npz")
        config = configuration.make_config("td3_bc", task, **TINY | changes)
        main.train(configuration.resolve(config), str(base / name), NoSignals())
        return base / name

    return train


@pytest.fixture(scope="module")
def offline(train):
    return train("offline")


@pytest.fixture(scope="module")
def online(train):
    return train("online", **ONLINE, online_data=True)


def test_a_run_that_begins_from_another_is_as_one_run(train, offline, online):
    """Two rounds of 56 steps and updates after the warm-up of 8."""
    begun = train("begun", **ONLINE, init_from=str(offline))
    for name in ("evaluations.csv", "episodes.csv"):
        assert (begun / name).read_bytes() == (online / name).read_bytes()
    with (
        np.load(begun / "policy" / "params.npz") as ours,
        np.load(online / "policy" / "params.npz") as theirs,
    ):
        assert all((ours[name] == theirs[name]).all() for name in theirs)
    summary = json.loads((online / "summary.json").read_text())
    assert (summary["num_steps"], summary["online"]["env_steps"]) == (4 + 112, 120)
    assert summary["finished"]


def test_the_first_updates_of_each_phase_are_known_to_compile(train, monkeypatch):
    """Updates 2 and 4 on the data, then rounds of 56; a new start compiles once."""
    told = []

    def chunk_done(self, num_updates, seconds, *, compiled):
        told.append((num_updates, compiled))

    monkeypatch.setattr(Progress, "chunk_done", chunk_done)
    train("told", **ONLINE)
    assert told == [(2, True), (2, False), (56, True), (56, False)]
    told.clear()
    train("told", **ONLINE | {"online_steps": 232})
    assert told == [(56, True), (56, False)]


def test_collected_steps_are_a_dataset(online, train):
    """They are written anew where the folder was removed."""
    for seed in (3, 5):
        steps = load_dataset(str(online / "collected" / f"seed_{seed}.hdf5"), progress=len)
        assert steps.size == 120 and steps.info["summary"]["timeouts"] == 6
    shutil.rmtree(online / "collected")
    train("online", **ONLINE, online_data=True)
    assert load_dataset(str(online / "collected" / "seed_3.hdf5"), progress=len).size == 120


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"init_from": "nowhere"}, "nowhere holds no run"),
        ({"hidden_dims": (8,)}, r"that run has hidden_dims=\(8, 8\), not \(8,\)"),
        ({"seeds": (3, 4)}, "has no member seed 4, only seed 3; seed 5"),
        ({"num_steps": 3}, "4 updates are done there, more than num_steps=3"),
    ],
)
def test_a_run_that_does_not_fit_cannot_be_the_start_of_another(train, offline, changes, says):
    with pytest.raises(InputError, match=says) as error:
        train("refused", **ONLINE | {"init_from": str(offline)} | changes)
    assert len(str(error.value)) <= 300 + len(str(offline))


@pytest.mark.parametrize(
    ("name", "changes", "says"),
    [
        ("online", ONLINE | {"num_steps": 5}, "num_steps=4, not 5"),
        ("online", {}, "online_steps=120, not 0"),
        ("offline", ONLINE, "online_steps=0, not 120; use a new --workdir, where .*init_from"),
        ("online", ONLINE | {"online_steps": 60}, "holds 116 updates already, more than these 60"),
    ],
)
def test_the_phases_of_a_run_are_settled(train, offline, online, name, changes, says):
    with pytest.raises(InputError, match=says):
        train(name, **changes)
