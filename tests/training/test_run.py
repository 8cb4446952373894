"""A run in a folder: interrupted anywhere and started again, it leaves what an uninterrupted one leaves."""

import os
import signal

import jax
import numpy as np
import pytest

from edp_jax import TaskSpec, Transition, algorithms
from edp_jax.training import stream
from edp_jax.training.checkpoint import Checkpoints
from edp_jax.training.evaluator import Evaluation, episode_seeds
from edp_jax.training.members import grid
from edp_jax.training.run import Schedule, Stopped, StopSignals, run

SPEC = TaskSpec(3, 2)
CONFIG = algorithms.AlgorithmConfig(
    hidden_dims=(16, 16), num_timesteps=10, sampler_calls=3, ema_start=2
)
ALGORITHM = algorithms.make("td3", CONFIG, SPEC)
SEEDS = (3, 4)
TABLES = ("metrics.csv", "evaluations.csv")


def make_dataset() -> Transition:
    rng = np.random.default_rng(0)
    return Transition(
        observation=rng.normal(size=(40, 3)).astype(np.float32),
        action=rng.uniform(-1, 1, (40, 2)).astype(np.float32),
        reward=rng.normal(size=40).astype(np.float32),
        discount=np.ones(40, np.float32),
        next_observation=rng.normal(size=(40, 3)).astype(np.float32),
    )


def evaluate(state) -> Evaluation:
    """A stand-in for episodes: a number that depends on every averaged weight of the policy."""
    value = sum(
        np.asarray(leaf).reshape(len(SEEDS), -1).sum(axis=1)
        for leaf in jax.tree.leaves(state.actor.target_params)
    )
    returns = np.stack([value, value + 1.0], axis=1).astype(np.float64)
    return Evaluation(returns, np.full(returns.shape, 7), 2 * returns)


def arguments(workdir, checkpoints, dataset, schedule, evaluate, data_on_host=False) -> dict:
    fixed = {
        "algorithm": ALGORITHM,
        "members": grid(SEEDS, {}),
        "weights": None,
        "batch_size": 8,
        "workdir": str(workdir),
    }
    given = {
        "checkpoints": checkpoints,
        "dataset": dataset,
        "schedule": schedule,
        "evaluate": evaluate,
    }
    return given | fixed | {"data_on_host": data_on_host}


def start(
    workdir,
    num_steps=12,
    *,
    evaluate=evaluate,
    check_stop=lambda: None,
    log_every=2,
    data_on_host=False,
):
    checkpoints = Checkpoints(os.path.join(workdir, "checkpoints"))
    schedule = Schedule(num_steps, log_every=log_every, eval_every=4, checkpoint_every=4)
    hypers = algorithms.Hypers()
    given = arguments(workdir, checkpoints, make_dataset(), schedule, evaluate, data_on_host)
    return run(**given, hypers=hypers, check_stop=check_stop)[0]


def stop_at_call(number: int):
    """A check that raises Stopped when it is called for the `number`-th time."""
    calls = iter(range(1, 10**6))

    def check():
        if next(calls) == number:
            raise Stopped

    return check


def assert_same_run(state, workdir, reference_state, reference):
    for a, b in zip(jax.tree.leaves(state), jax.tree.leaves(reference_state), strict=True):
        if jax.dtypes.issubdtype(a.dtype, jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))
    for table in TABLES:
        assert (workdir / table).read_bytes() == (reference / table).read_bytes()


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted")
    return start(folder), folder


@pytest.mark.parametrize("call", [1, 2, 3, 5])
def test_a_run_stopped_by_a_signal_goes_on_bit_for_bit(tmp_path, uninterrupted, call):
    with pytest.raises(Stopped):
        start(tmp_path, check_stop=stop_at_call(call))
    assert_same_run(start(tmp_path), tmp_path, *uninterrupted)


def test_a_run_whose_data_stay_on_the_host_is_the_same_run_also_when_it_is_stopped(
    tmp_path, monkeypatch, uninterrupted
):
    monkeypatch.setattr(
        stream, "MAX_WINDOW", 5
    )  # windows end at 5, 10, 15; rows of the tables at 2, 4, ...
    with pytest.raises(Stopped):
        start(tmp_path, check_stop=stop_at_call(3), data_on_host=True)
    assert_same_run(start(tmp_path, data_on_host=True), tmp_path, *uninterrupted)


def test_a_run_killed_between_checkpoints_goes_on_bit_for_bit(tmp_path, uninterrupted):
    def killed():
        raise KeyboardInterrupt

    calls = iter(range(100))
    with pytest.raises(KeyboardInterrupt):
        start(
            tmp_path, check_stop=lambda: killed() if next(calls) == 4 else None
        )  # after update 10; the last save was at 8
    assert "\n10," in (tmp_path / "metrics.csv").read_text()
    assert_same_run(start(tmp_path), tmp_path, *uninterrupted)


def test_an_evaluation_cut_off_by_a_signal_is_made_up_for(tmp_path, uninterrupted):
    def stopped_evaluation(state):
        raise Stopped

    with pytest.raises(Stopped):
        start(tmp_path, evaluate=stopped_evaluation)
    assert not (tmp_path / "evaluations.csv").exists()
    assert_same_run(start(tmp_path), tmp_path, *uninterrupted)


def test_a_finished_run_can_be_made_longer(tmp_path, uninterrupted):
    start(tmp_path, num_steps=8)
    assert_same_run(start(tmp_path), tmp_path, *uninterrupted)


def test_tables_have_a_row_per_seed_and_step(uninterrupted):
    lines = (uninterrupted[1] / "metrics.csv").read_text().splitlines()
    assert lines[0].startswith("step,seed,")
    assert [line.split(",")[:2] for line in lines[1:5]] == [
        ["2", "3"],
        ["2", "4"],
        ["4", "3"],
        ["4", "4"],
    ]
    evaluations = (uninterrupted[1] / "evaluations.csv").read_text().splitlines()
    assert evaluations[0] == "step,seed,episode,return,length,score"
    assert len(evaluations) == 1 + 3 * 2 * 2  # evaluations x seeds x episodes


def test_without_an_environment_only_metrics_are_written(tmp_path):
    start(tmp_path, num_steps=4, evaluate=None)
    assert (tmp_path / "metrics.csv").exists()
    assert not (tmp_path / "evaluations.csv").exists()


def test_divergence_is_reported_with_its_seed(tmp_path, capfd):
    dataset = make_dataset()
    dataset = dataset.replace(
        reward=np.full_like(dataset.reward, np.float32(1e30))
    )  # its square is infinite in float32
    checkpoints = Checkpoints(str(tmp_path / "checkpoints"))
    schedule = Schedule(num_steps=4, log_every=2, eval_every=2, checkpoint_every=2)
    run(
        **arguments(tmp_path, checkpoints, dataset, schedule, None),
        hypers=algorithms.Hypers(),
        check_stop=lambda: None,
    )
    warnings = capfd.readouterr().err.splitlines()
    assert [line[:40] for line in warnings] == [
        f"warning: seed {seed} has diverged at update 2"[:40] for seed in SEEDS
    ]


def test_signals_become_a_wish_to_stop():
    with StopSignals() as signals:
        signals.check()
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(Stopped):
            signals.check()
        assert signal.getsignal(signal.SIGTERM) != signals._request  # a second one is not held back


def test_environment_seeds_are_distinct_and_repeatable():
    seeds = np.stack([episode_seeds((0, 1), step, 5) for step in (0, 1000)])
    assert len(np.unique(seeds)) == seeds.size
    np.testing.assert_array_equal(seeds[1], episode_seeds((0, 1), 1000, 5))
