"""Reward transforms: fitted to a few numbers by hand, and applied to new ones."""

import numpy as np
import pytest

from edp_jax.data import RewardTransform, rewards
from edp_jax.types import InputError

REWARDS = np.array([0, 1, 3, 0], np.float32)
RETURNS = np.array([1.0, 3.0])
STEPS = np.array([0, 0, 1, 1]), 0.5  # episodes of the rewards, discount


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("none", [0, 1, 3, 0]),
        ("antmaze", [-2, 2, 10, -2]),  # 4 (r - 0.5)
        ("iql_antmaze", [-1, 0, 2, -1]),  # r - 1
        ("standardize", np.array([-1, 0, 2, -1]) / np.sqrt(1.5)),  # mean 1, variance 6 / 4
        ("iql_locomotion", [0, 500, 1500, 0]),  # 1000 r / (3 - 1)
        ("unit_magnitude", [0, 1, 3, 0]),  # the mean is (0 + 1 + 3 + 0) / 4 = 1 already
        ("unit_return", [0, 0.5, 1.5, 0]),  # max G = 3, over 1 + 1/2: r / 2
    ],
)
def test_each_kind_by_hand(kind, expected):
    learned = rewards.fit(kind, REWARDS, RETURNS, *STEPS).apply(REWARDS)
    np.testing.assert_allclose(learned, expected, rtol=1e-6, atol=1e-7)
    assert learned.dtype == np.float32


def test_rewards_that_are_not_transformed_keep_their_bits():
    stored = np.random.default_rng(0).normal(size=1000).astype(np.float32)
    fitted = rewards.fit("none", stored, RETURNS, *STEPS)
    np.testing.assert_array_equal(fitted.apply(stored), stored)


def test_a_fitted_transform_is_the_same_for_a_new_reward():
    fitted = rewards.fit("standardize", REWARDS, RETURNS, *STEPS)
    assert fitted.apply(7.0) == pytest.approx((7.0 - 1.0) / np.sqrt(1.5))


def test_another_scale_and_shift_come_afterwards():
    # 10 (4 (r - 0.5)) + 1
    fitted = rewards.fit("antmaze", REWARDS, RETURNS, *STEPS)
    assert fitted.then(10.0, 1.0) == RewardTransform(40.0, -19.0)


def test_the_mean_magnitude_counts_losses_as_gains():
    # (2 + 4 + 0) / 3 = 2
    fitted = rewards.fit("unit_magnitude", np.array([-2, 4, 0], np.float32), RETURNS, *STEPS)
    assert fitted == RewardTransform(0.5, 0.0)


def test_rewards_of_zero_have_no_magnitude_to_divide_by():
    zeros = np.zeros(3, np.float32)
    assert rewards.fit("unit_magnitude", zeros, RETURNS, *STEPS) == RewardTransform()


def test_a_constant_reward_is_its_own_unit():
    assert rewards.constant_reward(np.full(7, -3.0), np.array([0, 0, 0, 0, 1, 1, 1]), 0.9) == (
        pytest.approx(3.0)
    )


def test_the_unit_of_a_goal_is_what_would_be_as_good_in_every_step():
    """Episodes of 4 and 2 steps, gamma 1/2; 1 + 1/2 + 1/4 + 1/8 = 15/8.

    Discounted returns from each step on: 1/2, 1, 2, 4 (paid at the end), and -1, 2.
    """
    paid = np.array([0, 0, 0, 4, -2, 2], np.float32)
    found = rewards.constant_reward(paid, np.array([3, 3, 3, 3, 5, 5]), 0.5)
    assert found == pytest.approx(4 / (15 / 8))


def test_without_a_discount_the_unit_is_a_mean_over_the_longest_episode():
    """Returns -1, -3 and 1: the largest is 3, over 2 steps."""
    found = rewards.constant_reward(np.array([-2.0, -1.0, 1.0]), np.array([0, 0, 1]), 1.0)
    assert found == pytest.approx(1.5)


def test_rewards_of_zero_are_not_divided_by_their_unit():
    zeros = np.zeros(3, np.float32)
    assert rewards.constant_reward(zeros, np.zeros(3, int), 0.9) == 0
    assert rewards.fit("unit_return", zeros, RETURNS, np.zeros(3, int), 0.9) == RewardTransform()


@pytest.mark.parametrize("kind", ["standardize", "iql_locomotion"])
def test_rewards_without_spread_cannot_be_scaled(kind):
    with pytest.raises(InputError, match=f"'{kind}'.*nothing to scale; use 'none'"):
        rewards.fit(kind, np.ones(4, np.float32), np.array([2.0, 2.0]), *STEPS)


def test_rounding_is_no_spread():
    """0.1 + i 1e-9 in float32: a few neighbouring numbers, which a division would blow up."""
    stored = (0.1 + 1e-9 * np.arange(100)).astype(np.float32)
    assert np.ptp(stored) > 0
    with pytest.raises(InputError, match="all rewards are 0.1, nothing to scale"):
        rewards.fit("standardize", stored, RETURNS, *STEPS)


def test_unknown_kind_names_the_nearest():
    with pytest.raises(InputError, match="'standardise': unknown; use 'standardize'"):
        rewards.fit("standardise", REWARDS, RETURNS, *STEPS)
