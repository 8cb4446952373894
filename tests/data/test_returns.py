"""n-step returns and return-weighted sampling, by hand."""

import numpy as np
import pytest

from edp_jax.data import returns


def make(reward, discount):
    return np.array(reward, np.float32), np.array(discount, np.float32)


def test_n_step_by_hand():
    """Episodes of 4 steps up to a terminal and of 2 up to a timeout; n = 3, gamma = 0.5."""
    steps = make([1, 2, 4, 8, 16, 32], [1, 1, 1, 0, 1, 1])
    reward, discount, last = returns.n_step_returns(*steps, np.array([0, 0, 0, 0, 1, 1]), 3, 0.5)
    np.testing.assert_allclose(reward, [1 + 1 + 1, 2 + 2 + 2, 4 + 4, 8, 16 + 16, 32])
    np.testing.assert_allclose(
        discount, [0.25, 0, 0, 0, 0.5, 1]
    )  # times gamma in the loss: gamma^3, ..., gamma^2, gamma
    np.testing.assert_array_equal(last, [2, 3, 3, 3, 5, 5])


def test_one_step_changes_nothing():
    stored, ends = make([1, 2, 3], [1, 0, 1])
    reward, discount, last = returns.n_step_returns(stored, ends, np.array([0, 0, 1]), 1, 0.9)
    np.testing.assert_array_equal(reward, stored)
    np.testing.assert_array_equal(discount, ends)
    np.testing.assert_array_equal(last, [0, 1, 2])


def test_a_constant_reward_keeps_its_value_whatever_the_number_of_steps():
    """V = r / (1 - gamma) solves V = sum_i gamma^i r + gamma^m V for every window."""
    steps = make(np.full(7, 2.0), np.ones(7))
    for n in (1, 2, 5, 10**9):
        reward, discount, _ = returns.n_step_returns(*steps, np.zeros(7, int), n, 0.8)
        np.testing.assert_allclose(reward + 0.8 * discount * 10.0, 10.0, rtol=1e-6)


def test_arrays_of_different_lengths_are_refused():
    with pytest.raises(AssertionError):
        returns.n_step_returns(*make([1, 2, 3], [1, 1, 1]), np.zeros((3, 1), int), 2, 0.9)


def test_trajectories_of_higher_return_are_drawn_more_often():
    """Returns 0, 5, 10 scale to 0, 0.5, 1: weights 1 : e : e^2 per row at temperature 0.5."""
    weights = returns.return_weights(np.array([0.0, 5.0, 10.0]), np.array([0, 0, 1, 2]), 0.5)
    np.testing.assert_allclose(weights / weights[0], [1, 1, np.e, np.e**2])
    np.testing.assert_allclose(weights.sum(), 1.0)


def test_equal_returns_are_drawn_evenly():
    np.testing.assert_allclose(
        returns.return_weights(np.array([3.0, 3.0]), np.array([0, 1, 1]), 0.1), 1 / 3
    )


def test_chunks_are_the_actions_that_follow_up_to_the_end_of_the_episode():
    """Episodes of 4 and 2 steps, chunks of 3; actions (t, 10 t)."""
    steps = np.arange(6, dtype=np.float32)
    action, valid = np.full((6, 6), np.nan, np.float32), np.full((6, 3), np.nan, np.float32)
    action[:, :2] = np.stack([steps, 10 * steps], axis=1)
    returns.fill_chunks(action, valid, np.array([2, 3, 3, 3, 5, 5]))
    np.testing.assert_array_equal(
        action[:, ::2], [[0, 1, 2], [1, 2, 3], [2, 3, 3], [3, 3, 3], [4, 5, 5], [5, 5, 5]]
    )
    np.testing.assert_array_equal(action[:, 1::2], 10 * action[:, ::2])
    np.testing.assert_array_equal(
        valid, [[1, 1, 1], [1, 1, 1], [1, 1, 0], [1, 0, 0], [1, 1, 0], [1, 0, 0]]
    )
