"""What is counted in a dataset, and how it is told."""

import json

import numpy as np
import pytest

from edp_jax import data
from edp_jax.data.summary import summarize


@pytest.fixture
def raw() -> data.RawDataset:
    """Four steps: an episode that ends in a terminal, and one that a timeout cuts."""
    steps = np.arange(4, dtype=np.float32)
    return data.RawDataset(
        observations=steps[:, None] + np.array([0.0, 100.0], np.float32),
        actions=np.linspace(-0.5, 0.5, 4, dtype=np.float32)[:, None],
        rewards=np.array([1, 2, 3, 6], np.float32),
        terminals=steps == 1,
        timeouts=steps == 3,
    )


def test_what_is_counted(raw):
    counted = summarize(raw)
    assert counted == {
        "understood": [],
        "steps": 4,
        "transitions": 3,
        "episodes": 2,
        "terminals": 1,
        "timeouts": 1,
        "observation_dim": 2,
        "action_dim": 1,
        "return": {"min": 3.0, "mean": 6.0, "max": 9.0},
        "observation_range": [0.0, 103.0],
        "action_range": [-0.5, 0.5],
        "constant_columns": [],
        "notes": [],
    }
    assert json.loads(json.dumps(counted)) == counted


def test_it_is_told_in_lines(raw):
    counted = summarize(raw) | {"transitions": 4, "constant_columns": [0, 1, 2, 7]}
    counted["notes"] = ["3 rows are odd"]
    assert data.describe(counted).splitlines() == [
        "  4 transitions in 2 episodes, 1 terminal, 1 timeout",
        "  return of an episode: min 3, mean 6, max 9",
        "  observations [2] from 0 to 103, constant columns: 0-2, 7",
        "  actions [1] from -0.5 to 0.5",
        "  note: 3 rows are odd",
    ]


@pytest.mark.parametrize(("transitions", "episodes"), [(3980, "20 episodes"), (3999, "1 episode")])
def test_steps_that_are_no_transitions_are_told_with_the_reason(raw, transitions, episodes):
    counted = summarize(raw) | {"steps": 4000, "transitions": transitions, "episodes": 20}
    assert data.describe(counted).splitlines()[:2] == [
        f"  {transitions:,} transitions of 4,000 steps: the last step of {episodes} has no next "
        "observation",
        "  4,000 steps in 20 episodes, 1 terminal, 1 timeout",
    ]


def test_rewards_that_are_all_0_are_told(raw):
    raw.rewards[:] = 0
    assert summarize(raw)["notes"][0].startswith("all rewards are 0")
