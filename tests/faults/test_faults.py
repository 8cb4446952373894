"""Short forms of the programs here: what takes a moment."""

import numpy as np
import pytest

from edp_jax.evaluation import rollout
from edp_jax.types import EnvSpec
from tests.faults import __main__ as program
from tests.faults import runs, simulators
from tests.faults.bench import Bench

SEEDS = np.arange(4).reshape(2, 2)
QUICK = [fault for fault in (*simulators.STEPS, *simulators.RESETS) if "hangs" not in fault]


def stand(observation, call):
    return np.zeros((*observation.shape[:2], 1))


def play(fault: str, seconds: float = 60.0):
    simulators.Faulty.episodes = simulators.SOUND_EPISODES
    spec = EnvSpec("gymnasium:tests.faults.simulators:Faulty-v0", f'{{"fault": "{fault}"}}')
    return rollout(stand, spec, seeds=SEEDS, seconds=seconds)


def test_without_a_fault_every_episode_counts():
    assert (play("").lengths == 10).all()


@pytest.mark.parametrize("fault", QUICK)
def test_no_fault_of_a_simulator_becomes_a_number(fault):
    if fault in simulators.NOT_COUNTED:
        episodes = play(fault)
        assert len(episodes.faults) == 4 and (episodes.lengths == -1).all()
        assert np.isnan(episodes.returns).all()
    else:
        with pytest.raises(Exception):  # noqa: B017  (the caller of `rollout` takes all)
            play(fault)


@pytest.mark.parametrize("fault", ["hangs", "hangs at a reset"])
def test_a_simulator_that_hangs_is_given_up(fault):
    with pytest.raises(TimeoutError):
        play(fault, seconds=0.3)


def test_one_of_many_processes_gets_a_folder(tmp_path):
    assert (
        runs.locks(Bench(str(tmp_path)), 16) == "of 16 at once 1 trains, 15 are refused; all hold"
    )


def test_unknown_programs_are_refused(capsys):
    assert program.main(["lokcs"]) == 2
    assert "lokcs: unknown; use some of locks, checkpoints" in capsys.readouterr().err
