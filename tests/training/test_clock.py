"""The times of a run add up over its starts."""

import pytest

from edp_jax import InputError
from edp_jax.training.clock import FILE_NAME, Clock

TRAINING, EVALUATION = {"critic/loss": 0.0}, {"evaluation/score": 0.0}


def run(folder, first_step, *events):
    """A start at 100 s; each event is (seconds it took, step, metrics)."""
    now = [100.0]
    clock = Clock(str(folder), first_step, now=lambda: now[0])
    for seconds, step, metrics in events:
        now[0] += seconds
        clock.write(step, (), metrics)
    return (folder / FILE_NAME).read_text().splitlines()


def test_a_row_has_the_time_since_the_run_began_and_that_of_evaluations(tmp_path):
    rows = run(tmp_path, 0, (3.0, 5, TRAINING), (2.0, 5, EVALUATION), (1.5, 10, TRAINING))
    assert rows == ["step,seconds,evaluating", "5,3.0,0.0", "10,6.5,2.0"]


def test_a_later_start_goes_on_from_its_checkpoint(tmp_path):
    """What the first start did after update 10 is done again, and its time is counted once."""
    run(tmp_path, 0, (3.0, 5, TRAINING), (4.0, 10, TRAINING), (9.0, 15, TRAINING))
    rows = run(tmp_path, 10, (1.0, 10, EVALUATION), (2.0, 15, TRAINING))
    assert rows[1:] == ["5,3.0,0.0", "10,7.0,0.0", "15,10.0,1.0"]


def test_a_run_that_began_without_a_clock_has_none(tmp_path):
    Clock(str(tmp_path), 10).write(15, (), TRAINING)
    assert not (tmp_path / FILE_NAME).exists()


def test_another_table_of_that_name_is_refused(tmp_path):
    (tmp_path / FILE_NAME).write_text("step,minutes\n5,3\n")
    with pytest.raises(InputError, match="times.csv: not the table of this run; restore or remove"):
        Clock(str(tmp_path), 5)
