"""An online phase: a run that goes on in its environment, stopped anywhere and started again."""

import dataclasses
import os
import shutil
from typing import NamedTuple

import jax
import numpy as np
import pytest

from edp_jax import Units, algorithms
from edp_jax.data.rewards import RewardTransform
from edp_jax.training import tables
from edp_jax.training.checkpoint import Checkpoints, newest_sound, read_notes
from edp_jax.training.evaluator import Evaluation
from edp_jax.training.hosts import Stopped
from edp_jax.training.interaction import Episodes, Interaction
from edp_jax.training.online import Online
from edp_jax.training.rounds import Rounds
from edp_jax.training.run import Schedule, run
from edp_jax.training.trainer import Trainer
from edp_jax.types import unpack
from tests.training.toy import Drift

SEEDS = (3, 4)
ROUNDS = Rounds(begin=4, number=3, steps=5, updates=4, warmup=3)
TABLES = ("metrics.csv", "evaluations.csv", "episodes.csv")


class Data(NamedTuple):
    """What an online phase reads of a dataset."""

    rows: np.ndarray
    spec: object
    weights: None
    units: Units
    reward_transform: RewardTransform


@pytest.fixture(scope="module")
def parts(tiny_rows):
    rows, box = tiny_rows(), np.full(2, 2, np.float32)
    units = Units(np.zeros(3, np.float32), np.ones(3, np.float32), -box, box)
    data = Data(*rows, units, RewardTransform(0.5))
    settings = algorithms.settings("td3_bc", hidden_dims=(16, 16))
    learner = algorithms.make("td3_bc", settings, rows.spec)
    return learner, data, Trainer(learner, rows, seeds=SEEDS, batch_size=8)


@pytest.fixture(scope="module")
def start(parts):
    """start(workdir, **options) -> Outcome and Online, both new."""
    learner, data, trainer = parts

    def evaluate(state) -> Evaluation:
        values = np.asarray(jax.tree.leaves(trainer.policy_params(state))[0])
        returns = values.reshape(len(SEEDS), -1)[:, :2].astype(np.float64)
        return Evaluation(returns, np.full(returns.shape, 7), 2 * returns)

    def start(workdir, *, simulator=Drift, **options):
        online = Online(
            trainer.source,
            data,
            Interaction([Episodes(simulator(), seed) for seed in SEEDS]),
            ROUNDS,
            learner,
            num_members=len(SEEDS),
            capacity=12,
            share=0.5,
            noise=0.5,
        )
        folder = os.path.join(workdir, "checkpoints")
        outcome = run(
            trainer,
            str(workdir),
            Schedule(ROUNDS.begin, 2, 8, 8, ROUNDS),
            checkpoints=Checkpoints(folder, newest_sound(folder)),
            online=online,
            **({"evaluate": evaluate} | options),
        )
        return outcome, online

    return start


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, start):
    folder = tmp_path_factory.mktemp("uninterrupted")
    return *start(folder), folder


def test_members_learn_from_the_steps_that_they_take(uninterrupted, parts):
    """3 steps of warm-up and 3 rounds of 5, in two environments; 4 + 3 x 4 updates."""
    outcome, online, folder = uninterrupted
    assert (outcome.step, outcome.finished) == (16, True)
    evaluations = (folder / "evaluations.csv").read_text().splitlines()
    times = dict.fromkeys(tuple(row.split(",")[:2]) for row in evaluations[1:])
    assert list(times) == [("4", "0"), ("8", "8"), ("16", "18")]
    learner, data, trainer = parts
    offline, _ = trainer.train(trainer.init(), 16)
    params, theirs = (jax.tree.leaves(trainer.policy_params(s)) for s in (outcome.state, offline))
    assert (np.asarray(params[0]) != np.asarray(theirs[0])).any()
    for member in range(2):
        steps = unpack(online.steps_of(member), data.spec)
        assert steps.size == 12 and (np.abs(steps.action) <= 2).all()
        # the 12 newest of 18, in their order: a step begins where the one before led, or anew
        led = (steps.observation[1:] == steps.next_observation[:-1]).all(axis=1)
        rows = (folder / "episodes.csv").read_text().splitlines()[1:]
        ends = [int(row.split(",")[1]) for row in rows if row.split(",")[2] == str(SEEDS[member])]
        assert (6 + 1 + np.flatnonzero(~led)).tolist() == [end for end in ends if 6 < end < 18]


@pytest.mark.parametrize(
    ("call", "error"), [(2, Stopped), (4, Stopped), (4, KeyboardInterrupt)], ids=str
)
def test_stopped_anywhere_it_goes_on_bit_for_bit(tmp_path, start, uninterrupted, call, error):
    """At the switch; after the second round, with its state saved and without."""
    calls = iter(range(1, 100))

    def check_stop():
        if next(calls) == call:
            raise error

    with pytest.raises(error):
        start(tmp_path, check_stop=check_stop)
    outcome, online = start(tmp_path)
    expected, whole, reference = uninterrupted
    for ours, theirs in zip(*map(jax.tree.leaves, (outcome.state, expected.state)), strict=True):
        if jax.dtypes.issubdtype(ours.dtype, jax.dtypes.prng_key):
            ours, theirs = jax.random.key_data(ours), jax.random.key_data(theirs)
        np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs))
    for table in TABLES:
        assert (tmp_path / table).read_bytes() == (reference / table).read_bytes()
    for member in range(2):
        np.testing.assert_array_equal(online.steps_of(member), whole.steps_of(member))


def test_a_simulator_that_does_not_repeat_itself_is_told(tmp_path, start, capsys):
    calls = iter(range(1, 100))

    def check_stop():
        if next(calls) == 3:
            raise Stopped

    def simulator():
        return Drift(forgetful=True, edge=100.0)

    with pytest.raises(Stopped):
        start(tmp_path, simulator=simulator, check_stop=check_stop)
    outcome, _ = start(tmp_path, simulator=simulator)
    told = [line for line in capsys.readouterr().err.splitlines() if "repeat itself" in line]
    assert outcome.finished and len(told) == 2
    assert told[0].startswith("warning: seed 3: its simulator does not repeat itself")


def test_lost_rows_of_the_episodes_are_noticed(tmp_path, uninterrupted):
    _, _, reference = uninterrupted
    shutil.copytree(reference, tmp_path / "copy")
    table = tmp_path / "copy" / "episodes.csv"
    notes = read_notes(str(tmp_path / "copy" / "checkpoints"), 16)
    assert tables.find_disagreement(str(tmp_path / "copy"), 16, notes) is None
    table.write_text("".join(table.read_text().splitlines(keepends=True)[:-1]))
    assert "episodes.csv has" in tables.find_disagreement(str(tmp_path / "copy"), 16, notes)


def test_a_member_that_has_diverged_does_not_act(start, parts, tmp_path):
    _, online = start(tmp_path)
    _, _, trainer = parts
    before = [len(online.steps_of(member)) for member in range(2)]
    state = dataclasses.replace(trainer.init(), diverged=np.array([1, -1], np.int32))
    rows, counts = online._collect(online._copy(state), 0, 4)
    assert before == [12, 12] and counts.tolist() == [0, 4] and not rows[0].any()
