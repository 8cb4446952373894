"""The error of critics against their disagreement, on episodes that can be worked out by hand."""

import types

import gymnasium
import numpy as np
import pytest

from edp_jax import InputError
from edp_jax.confidence import Judged
from edp_jax.data.rewards import RewardTransform
from experiments import calibration
from experiments.calibration import Steps


class Countdown(gymnasium.Env):
    """Pays 1 per step and ends after `length` steps: the task's end, or a time limit."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (1,))
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,))

    def __init__(self, length: int, ends: bool):
        self.length, self.ends = length, ends

    def reset(self, *, seed=None, options=None):
        self.left = self.length
        return np.array([self.left]), {}

    def step(self, action):
        self.left -= 1
        over = not self.left
        return np.array([self.left]), 1.0, over and self.ends, over and not self.ends, {}


def play(*environments, adds_up: bool = False, chunk: int = 0):
    """Critics whose value is 100 less the observation, and their disagreement the call's number."""
    dataset = types.SimpleNamespace(reward_transform=RewardTransform(2.0))

    def judge(observation, call):
        shape = (len(observation), chunk, 1) if chunk else (len(observation), 1)
        value = 100.0 - observation[:, 0]
        return Judged(np.zeros(shape), value, np.full(len(observation), float(call)))

    seeds = range(len(environments))
    return calibration.play(judge, environments, seeds, dataset, discount=0.5, adds_up=adds_up)


def test_returns_by_hand():
    """Rewards of 2 in 3 steps: 2 + 1 + 0.5, 2 + 1, 2. After the end nothing is counted."""
    steps = play(Countdown(3, ends=True), Countdown(1, ends=True))
    np.testing.assert_allclose(steps.followed, [3.5, 2.0, 3.0, 2.0])
    np.testing.assert_allclose(steps.value, [97.0, 99.0, 98.0, 99.0])
    np.testing.assert_allclose(steps.disagreement, [0.0, 0.0, 1.0, 2.0])


def test_returns_that_a_time_limit_cut_do_not_count():
    """0.5^4.3 is 5 %: of 6 steps the first two have 5 or more left."""
    steps = play(Countdown(6, ends=False))
    np.testing.assert_allclose(steps.followed, [2 * (2 - 0.5**5), 2 * (2 - 0.5**4)])


def test_rewards_that_the_data_sum_up_are_summed_up():
    """What the kitchen's data pay in a step is all that was paid so far: 2, 4."""
    steps = play(Countdown(2, ends=True), adds_up=True)
    np.testing.assert_allclose(steps.followed, [4.0, 4.0])


def test_a_chunk_counts_once():
    steps = play(Countdown(3, ends=True), chunk=2)
    np.testing.assert_allclose(steps.followed, [3.5, 2.0])


def test_bins_are_of_equal_size_by_disagreement():
    """Errors 4, 3, 2, 1 at disagreements 1, 2, 3, 4: the more they disagree the better."""
    disagreement = np.array([4.0, 1.0, 3.0, 2.0])
    steps = Steps(5.0 - disagreement, disagreement, np.zeros(4))
    first, second = calibration.make_bins(steps, num_bins=2)
    assert (first.disagreement, first.error) == (1.5, 3.5)
    assert (second.disagreement, second.error) == (3.5, 1.5)
    assert (first.low, first.high) == (3.25, 3.75)
    assert calibration.rank_correlation(steps) == pytest.approx(-1.0)
    with pytest.raises(InputError, match="only 4 steps have a known return"):
        calibration.make_bins(steps, num_bins=5)
