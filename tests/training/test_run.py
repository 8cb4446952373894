"""A run in a folder: interrupted anywhere and started again, it leaves what a whole one leaves."""

import csv
import os
import signal

import jax
import numpy as np
import pytest

from edp_jax import InputError
from edp_jax.training import tables
from edp_jax.training.checkpoint import Checkpoints, newest_sound, read_notes
from edp_jax.training.evaluator import Evaluation
from edp_jax.training.hosts import Stopped
from edp_jax.training.run import Outcome, Schedule, run
from edp_jax.training.signals import StopSignals
from edp_jax.training.trainer import Trainer

SEEDS = (3, 4)
TABLES = ("metrics.csv", "evaluations.csv")


def open_checkpoints(workdir) -> Checkpoints:
    folder = os.path.join(workdir, "checkpoints")
    return Checkpoints(folder, newest_sound(folder))


@pytest.fixture(scope="module")
def trainers(tiny_learner, tiny_rows):
    """By where the data are."""
    options = {"seeds": SEEDS, "batch_size": 8}
    return {
        place: Trainer(tiny_learner(), tiny_rows(), **options, data_placement=place)
        for place in ("device", "host")
    }


@pytest.fixture(scope="module")
def start(trainers):
    """start(workdir, num_steps) -> Outcome; what has left the run is appended to `left`."""

    def evaluate(state) -> Evaluation:
        """A stand-in for episodes: a number that depends on every weight that acts."""
        params = jax.tree.leaves(trainers["device"].policy_params(state))
        value = sum(np.asarray(leaf).reshape(len(SEEDS), -1).sum(axis=1) for leaf in params)
        returns = np.stack([value, value + 1.0], axis=1).astype(np.float64)
        return Evaluation(returns, np.full(returns.shape, 7), 2 * returns)

    def start(workdir, num_steps=12, *, place="device", left=None, periods=(2, 4, 4), **options):
        return run(
            trainers[place],
            str(workdir),
            Schedule(num_steps, *periods),
            checkpoints=open_checkpoints(workdir),
            leave=([] if left is None else left).append,
            **({"evaluate": evaluate} | options),
        )

    return start


def stop_at_call(number: int, error: type[BaseException] = Stopped):
    """A check that raises when it is called for the `number`-th time."""
    calls = iter(range(1, 10**6))

    def check():
        if next(calls) == number:
            raise error

    return check


def assert_same_run(outcome: Outcome, workdir, expected: Outcome, reference):
    for a, b in zip(*map(jax.tree.leaves, (outcome.state, expected.state)), strict=True):
        if jax.dtypes.issubdtype(a.dtype, jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))
    for table in TABLES:
        assert (workdir / table).read_bytes() == (reference / table).read_bytes()


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, start):
    folder = tmp_path_factory.mktemp("uninterrupted")
    return start(folder), folder


@pytest.mark.parametrize("call", [1, 2, 3, 5])
def test_a_run_stopped_by_a_signal_goes_on_bit_for_bit(tmp_path, start, uninterrupted, call):
    with pytest.raises(Stopped):
        start(tmp_path, check_stop=stop_at_call(call))
    assert_same_run(start(tmp_path), tmp_path, *uninterrupted)


def test_a_run_whose_data_are_on_the_host_is_the_same_run_also_when_it_is_stopped(
    tmp_path, start, uninterrupted
):
    """With data on the host, a run that was stopped equals one that was not, bit for bit.

    It also equals the run with its data on the device. Here that holds up to rounding only, because
    tests compile with another flag than users. tests/experiments/test_hosts.py compares the two bit
    for bit, without that flag.
    """
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    expected = start(whole, place="host")
    with pytest.raises(Stopped):
        start(stopped, check_stop=stop_at_call(3), place="host")
    assert_same_run(start(stopped, place="host"), stopped, expected, whole)
    parameters = [outcome.state.networks for outcome in (expected, uninterrupted[0])]
    for a, b in zip(*map(jax.tree.leaves, parameters), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-7)


def test_a_run_killed_between_checkpoints_goes_on_bit_for_bit(tmp_path, start, uninterrupted):
    """After update 10; the last save was at 8."""
    left = []
    with pytest.raises(KeyboardInterrupt):
        start(tmp_path, check_stop=stop_at_call(5, KeyboardInterrupt), left=left)
    assert "\n10," in (tmp_path / "metrics.csv").read_text() and not left
    assert_same_run(start(tmp_path), tmp_path, *uninterrupted)


def test_an_evaluation_cut_off_by_a_signal_is_made_up_for(tmp_path, start, uninterrupted):
    def stopped_evaluation(state):
        raise Stopped

    with pytest.raises(Stopped):
        start(tmp_path, evaluate=stopped_evaluation)
    assert not (tmp_path / "evaluations.csv").exists()
    assert_same_run(start(tmp_path), tmp_path, *uninterrupted)


def test_checkpoints_note_the_rows_that_were_written(tmp_path, start):
    """Also those of a start that went on: of two seeds, 2 episodes each."""
    for num_steps in (4, 8):
        start(tmp_path, num_steps=num_steps)
        notes = read_notes(str(tmp_path / "checkpoints"), num_steps)
        # the evaluation of a step comes after its checkpoint
        rows = {name: notes[name]["rows"] for name in TABLES}
        assert rows == {"metrics.csv": num_steps, "evaluations.csv": num_steps - 4}
        assert tables.find_disagreement(str(tmp_path), num_steps, notes) is None
    lines = (tmp_path / "evaluations.csv").read_text().splitlines(keepends=True)
    (tmp_path / "evaluations.csv").write_text("".join(lines[:2] + lines[3:]))
    said = tables.find_disagreement(str(tmp_path), 8, notes)
    assert said.endswith("evaluations.csv has 3 of its 4 rows up to update 7")


@pytest.mark.parametrize("last", ["", "8,4,1,99.0,1,99.0\n"])
def test_the_evaluation_of_a_checkpoint_is_made_again(tmp_path, start, uninterrupted, last):
    """Its rows may be lost or altered: the checkpoint was saved before them."""
    start(tmp_path, num_steps=8)
    lines = (tmp_path / "evaluations.csv").read_text().splitlines(keepends=True)
    (tmp_path / "evaluations.csv").write_text("".join([*lines[:-1], last]))
    assert_same_run(start(tmp_path), tmp_path, *uninterrupted)


def test_where_nothing_is_evaluated_any_more_the_rows_stay(tmp_path, start):
    start(tmp_path, num_steps=8)
    rows = (tmp_path / "evaluations.csv").read_bytes()
    start(tmp_path, evaluate=None)
    assert (tmp_path / "evaluations.csv").read_bytes() == rows


def test_failures_are_remembered(tmp_path, start):
    def broken(state):
        raise InputError("no display")

    start(tmp_path, num_steps=8, evaluate=broken)
    left = []
    start(tmp_path, left=left)  # the last one is made up for
    assert left[0].failures == ((4, "no display"),)


def test_a_finished_run_can_be_made_longer(tmp_path, start, uninterrupted):
    start(tmp_path, num_steps=8)
    assert_same_run(start(tmp_path), tmp_path, *uninterrupted)


def test_when_rows_are_written_may_change_on_the_way(tmp_path, start, uninterrupted):
    """Rows every 2, then every 3 updates, evaluations every 4, then every 3: the same training."""
    start(tmp_path, num_steps=8)
    outcome = start(tmp_path, periods=(3, 3, 3))
    for a, b in zip(*map(jax.tree.leaves, (outcome.state, uninterrupted[0].state)), strict=True):
        if not jax.dtypes.issubdtype(a.dtype, jax.dtypes.prng_key):
            np.testing.assert_array_equal(np.asarray(a), np.asarray(b))
    steps = {
        table: [int(line.split(",")[0]) for line in (tmp_path / table).read_text().splitlines()[1:]]
        for table in TABLES
    }
    assert steps["metrics.csv"][::2] == [2, 4, 6, 8, 9, 12]
    assert steps["evaluations.csv"][::4] == [4, 8, 9, 12]


def test_a_run_is_left_once_with_what_it_has_reached(tmp_path, start):
    left = []
    with pytest.raises(Stopped):
        start(tmp_path, check_stop=stop_at_call(3), left=left)
    assert [(outcome.step, outcome.finished) for outcome in left] == [(6, False)]
    assert left[0].state.step.tolist() == [6, 6] and left[0].updates_per_second > 0
    assert start(tmp_path, left=left) is left[1]
    assert (left[1].step, left[1].finished, left[1].failures) == (12, True, ())


def test_a_failing_evaluation_is_told_and_the_training_goes_on(
    tmp_path, start, uninterrupted, capfd
):
    def broken(state):
        raise InputError("environment 'x': RuntimeError: the simulator crashed")

    left = []
    start(tmp_path, evaluate=broken, left=left)
    reason = "environment 'x': RuntimeError: the simulator crashed"
    assert [(outcome.step, outcome.finished) for outcome in left] == [(12, True)]
    assert left[0].failures == ((4, reason), (8, reason), (12, reason))
    assert f"warning: evaluation at update 8: {reason}\n" in capfd.readouterr().err
    metrics = [folder / "metrics.csv" for folder in (tmp_path, uninterrupted[1])]
    assert metrics[0].read_bytes() == metrics[1].read_bytes()


def test_a_table_that_is_gone_ends_the_run_and_is_no_failed_evaluation(tmp_path, start):
    table = tmp_path / "evaluations.csv"
    with pytest.raises(InputError, match="evaluations.csv: something else has changed it"):
        start(tmp_path, check_stop=lambda: table.unlink(missing_ok=True))


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_the_state_is_saved_before_it_is_evaluated(tmp_path, start, uninterrupted, error):
    def killed(state):
        raise error

    with pytest.raises(error):
        start(tmp_path, evaluate=killed, periods=(2, 4, 100))
    assert newest_sound(str(tmp_path / "checkpoints")) == 4
    assert_same_run(start(tmp_path), tmp_path, *uninterrupted)  # the missed one is made up for


def test_a_writer_that_fails_is_told_once_and_costs_nothing(tmp_path, start, uninterrupted, capfd):
    class Broken:
        def write(self, step, members, metrics):
            raise OSError("no network")

    assert_same_run(start(tmp_path, writers=[Broken()]), tmp_path, *uninterrupted)
    assert capfd.readouterr().err.count("Broken gets no more metrics: no network") == 1


def test_tables_have_a_row_per_seed_and_step(uninterrupted):
    lines = (uninterrupted[1] / "metrics.csv").read_text().splitlines()
    assert lines[0].startswith("step,seed,")
    ids = [line.split(",")[:2] for line in lines[1:5]]
    assert ids == [["2", "3"], ["2", "4"], ["4", "3"], ["4", "4"]]
    evaluations = (uninterrupted[1] / "evaluations.csv").read_text().splitlines()
    assert evaluations[0] == "step,seed,episode,return,length,score"
    assert len(evaluations) == 1 + 3 * 2 * 2  # evaluations x seeds x episodes


def test_without_an_environment_only_metrics_are_written(tmp_path, start):
    start(tmp_path, num_steps=4, evaluate=None)
    assert (tmp_path / "metrics.csv").exists()
    assert not (tmp_path / "evaluations.csv").exists()


def test_a_member_that_diverged_is_told_once_and_where_all_have_the_run_ends(
    tmp_path, tiny_learner, tiny_rows, capfd
):
    dataset = tiny_rows()
    rows = dataset.rows.copy()
    rows[:, -2] = 1e30  # a reward whose square is infinite in float32
    trainer = Trainer(tiny_learner(), dataset._replace(rows=rows), seeds=SEEDS, batch_size=8)
    for _ in range(2):  # again when it is started again
        checkpoints = open_checkpoints(tmp_path)
        outcome = run(trainer, str(tmp_path), Schedule(6, 2, 2, 2), checkpoints=checkpoints)
        assert (outcome.step, outcome.finished, outcome.diverged.tolist()) == (2, False, [1, 1])
        assert checkpoints.latest_step == 2
    warnings = capfd.readouterr().err.splitlines()
    assert [line.partition(" and is")[0] for line in warnings] == [
        f"warning: seed {seed} has diverged in update 1" for seed in SEEDS
    ]


def test_values_beyond_all_returns_are_told_once(tmp_path, start, capfd):
    none = np.zeros(2)
    start(tmp_path, possible_returns=(none, none))
    with open(tmp_path / "metrics.csv", newline="") as file:
        above = [row for row in csv.DictReader(file) if float(row["critic/q_mean"]) > 0]
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 1 and len(above) > 1
    first = f"warning: seed {above[0]['seed']}: critic/q_mean is "
    assert lines[0].startswith(first) and f"at update {above[0]['step']}, " in lines[0]


@pytest.mark.parametrize(
    ("start", "num_steps", "periods", "expected"),
    [
        (0, 10, (4, 100, 100), [4, 8, 10]),
        (0, 12, (4, 6, 12), [4, 6, 8, 12]),
        (8, 12, (4, 6, 6), [12]),  # going on from 8
        (12, 12, (4, 4, 4), []),
        (0, 3, (100, 50, 100), [3]),
    ],
)
def test_where_a_run_stops_to_write_or_save(start, num_steps, periods, expected):
    assert list(Schedule(num_steps, *periods).stops(start)) == expected


def test_states_that_are_kept_for_good_are_saved_whatever_else_is_due():
    """Every 6 updates and at the end, between checkpoints every 8."""
    schedule = Schedule(20, 100, 100, 8, keep_every=6)
    stops = list(schedule.stops(0))
    assert stops == [6, 8, 12, 16, 18, 20] and all(map(schedule.saves, stops))
    assert [step for step in stops if schedule.keeps(step)] == [6, 12, 18, 20]
    assert not any(map(Schedule(20, 100, 100, 8).keeps, range(21)))


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU"])
def test_signals_become_a_wish_to_stop(capfd, name):
    number = getattr(signal, name)
    before = signal.getsignal(number)
    with StopSignals() as signals:
        signals.check()
        os.kill(os.getpid(), number)
        with pytest.raises(Stopped):
            signals.check()
        assert signal.getsignal(number) is signal.SIG_DFL  # a second one ends the process at once
    assert signal.getsignal(number) is before
    assert "once more to stop at once" in capfd.readouterr().err


def test_a_signal_that_is_ignored_stays_so():
    """nohup starts programs so that they ignore SIGHUP. If it counted, `check` would raise."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopSignals() as signals:
            os.kill(os.getpid(), signal.SIGHUP)
            signals.check()
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
