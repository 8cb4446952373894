"""Action chunks from the command to the simulator: training, scoring again, recording."""

import itertools

import numpy as np
import pytest

from edp_jax import InputError, configuration, data
from edp_jax.data.hdf5 import read_hdf5
from edp_jax.runs import Run
from experiments import collect, evaluate, main

from .conftest import TINY, NoSignals


@pytest.fixture
def train(tmp_path):
    """train(**settings): clones random actions of Pendulum, in tmp_path/run."""
    steps = np.arange(120)
    rng = np.random.default_rng(0)
    arrays = {
        "observations": rng.normal(size=(120, 3)),
        "actions": rng.uniform(-2, 2, (120, 1)),
        "rewards": np.zeros(120),
        "terminals": np.zeros(120, bool),
        "timeouts": steps % 30 == 29,
    }
    np.savez(tmp_path / "pendulum.npz", **arrays)
    learner = {key: TINY[key] for key in TINY if key not in ("num_timesteps", "sampler_calls")}
    options = learner | {"env_id": "Pendulum-v1", "env_kwargs": '{"max_episode_steps": 7}'}

    def run(**changes) -> Run:
        task = str(tmp_path / "pendulum.npz")
        config = configuration.make_config("bc", task, **(options | changes))
        main.train(configuration.resolve(config), str(tmp_path / "run"), NoSignals())
        return Run(str(tmp_path / "run"))

    return run


def test_a_run_with_chunks_is_trained_scored_again_and_recorded(train, tmp_path, capsys):
    run = train(horizon=4, execute=2)
    assert "chunks of 4 actions: 12 of 116 reach" in capsys.readouterr().out
    assert run.evaluations.lengths[-1].tolist() == [[7, 7]]
    policy = run.policy()
    assert (policy.horizon, policy.execute) == (4, 2)
    assert policy(np.zeros(3)).shape == (2, 1) and policy(np.zeros((5, 3))).shape == (5, 2, 1)

    two = evaluate.Request(episodes=2)
    evaluate.evaluate(run.workdir, {"execute": ["2", "4", "2"]}, two)
    *_, head, first, second, _ = capsys.readouterr().out.splitlines()
    assert head.split()[0] == "execute" and [first.split()[0], second.split()[0]] == ["2", "4"]
    assert first.split()[6] == f"{run.summary['last']['mean']:.1f}:"
    for wrong in ("0", "5"):
        with pytest.raises(InputError, match=f"--execute={wrong}: .* give 1 to 4"):
            evaluate.evaluate(run.workdir, {"execute": [wrong]})

    collect.collect(
        collect.Plan(
            "Pendulum-v1",
            (f"{run.workdir}/policy",),
            14,
            str(tmp_path / "data.hdf5"),
            env_kwargs='{"max_episode_steps": 7}',
        )
    )
    raw = read_hdf5(str(tmp_path / "data.hdf5"))  # two environments, an episode of 7 steps each
    for episode, begin in itertools.product((0, 7), (0, 2, 4)):
        planned = policy(raw.observations[episode + begin])
        taken = raw.actions[episode + begin : episode + begin + 2]
        np.testing.assert_allclose(taken, planned, atol=1e-4)

    longer = train(horizon=4, execute=3, num_steps=6)
    assert longer.policy().execute == 3 and longer.summary["num_steps"] == 6
    with pytest.raises(InputError, match="holds a run with horizon=4, not 3"):
        train(horizon=3)


def test_a_horizon_beyond_the_longest_episode_is_refused(train, tmp_path):
    with pytest.raises(InputError, match="horizon=30: the longest run .* is 29"):
        train(horizon=30)
    assert not (tmp_path / "run").exists()


def test_shuffled_steps_have_no_chunks(tmp_path):
    rng = np.random.default_rng(0)
    path = str(tmp_path / "shuffled.npz")
    np.savez(
        path,
        observations=rng.normal(size=(50, 2)),
        next_observations=rng.normal(size=(50, 2)),
        actions=rng.uniform(-1, 1, (50, 1)),
        rewards=np.zeros(50),
        terminals=np.zeros(50, bool),
    )
    with pytest.raises(InputError, match="horizon=2: the longest run .* is 1"):
        data.load_dataset(path, horizon=2)
    assert data.load_dataset(path).size == 50
