"""A simulator that hangs is left alone."""

import sys
import threading

import numpy as np
import pytest

from edp_jax.evaluation.patience import Patience


def fail():
    raise KeyError("no such joint")


def test_results_and_errors_come_back_in_turn():
    with Patience(60.0) as call:
        assert call(lambda: 3) == 3
        with pytest.raises(KeyError, match="no such joint"):
            call(fail)
        assert call(threading.get_ident) == call(threading.get_ident) != threading.get_ident()


def test_a_simulator_that_ends_the_program_does_not():
    with Patience(60.0) as call, pytest.raises(RuntimeError, match="SystemExit: 3"):
        call(lambda: sys.exit(3))


def test_what_does_not_return_in_time_is_left():
    never = threading.Event()
    with Patience(0.05) as call, pytest.raises(TimeoutError, match="takes longer than 0.05 s"):
        call(never.wait)
    never.set()


def test_one_can_be_stopped_while_waiting():
    never, questions = threading.Event(), []

    def check_stop():
        questions.append(1)
        if len(questions) == 2:
            raise InterruptedError

    with Patience(60.0, check_stop) as call, pytest.raises(InterruptedError):
        call(never.wait)
    never.set()
    assert len(questions) == 2


def test_threads_end_with_their_block():
    before = threading.active_count()
    for _ in range(5):
        with Patience(60.0) as call:
            call(lambda: np.zeros(1))
    for thread in threading.enumerate():
        if thread.name == "simulators" and thread is not threading.current_thread():
            thread.join(0.5)
    assert threading.active_count() <= before
