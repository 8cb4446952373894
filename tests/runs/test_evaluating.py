"""What a start says of the one before, which died in an evaluation."""

import types

import numpy as np
import pytest

from edp_jax.runs.evaluating import noted, take_death
from edp_jax.training import sharding


@pytest.fixture
def state(monkeypatch):
    monkeypatch.setattr(sharding, "first_value", lambda steps: int(steps[0]))
    return types.SimpleNamespace(step=np.array([2000, 2000]))


def test_the_next_start_says_once_that_a_process_died_in_an_evaluation(tmp_path, state):
    left = {}

    def evaluate(state):
        left["note"] = (tmp_path / "evaluating").read_bytes()  # what a process that dies leaves
        return "scores"

    assert noted(evaluate, str(tmp_path))(state) == "scores"
    assert take_death(str(tmp_path)) is None
    (tmp_path / "evaluating").write_bytes(left["note"])
    line = take_death(str(tmp_path))
    assert line.startswith("the last start died in its evaluation after 2,000 updates. If")
    assert "--config.env_id=none" in line and "\n" not in line
    assert take_death(str(tmp_path)) is None


def test_an_evaluation_that_raises_is_no_death(tmp_path, state):
    def evaluate(state):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        noted(evaluate, str(tmp_path))(state)
    assert take_death(str(tmp_path)) is None and not list(tmp_path.iterdir())
