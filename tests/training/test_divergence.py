"""What is told of trainings that go wrong."""

import numpy as np
import pytest

from edp_jax import algorithms
from edp_jax.training import divergence
from edp_jax.training.members import grid

LAYER_NORM = "--config.critic_layer_norm=True"
SETTINGS = algorithms.settings("edp_td3")


@pytest.mark.parametrize(
    ("learner", "changes", "remedy"),
    [
        ("edp_td3", {}, True),
        ("edp_td3", {"critic_layer_norm": True}, False),  # it has that already
        ("edp", {}, False),
        ("bc_diffusion", {}, False),  # there are no critics
    ],
)
def test_a_member_that_diverged_is_named_with_its_update_and_a_remedy(learner, changes, remedy):
    (member,) = grid((3,), {"eta": (2.0,)})
    line = divergence.describe(member, 2000, algorithms.settings(learner, **changes))
    assert line.startswith("seed 3, eta 2.0 has diverged in update 2,000 ")
    assert "--config.learning_rate" in line and len(line) <= 300
    assert (LAYER_NORM in line) == remedy


@pytest.mark.parametrize(
    ("rewards", "discounts", "gamma", "low", "high"),
    [
        ([0, 1, 2, 3], [1, 1, 0, 1], 0.9, 0, 30),  # 3 / (1 - 0.9)
        ([-1, 0, -1, -1], [1, 1, 0, 1], 0.99, -100, 0),
        ([-2, -1, -1, -1], [1, 1, 1, 0], 0.5, -4, -1),  # an end at once is the best
        ([-2, -1, -1, -1], [1, 1, 1, 1], 0.5, -4, -2),  # without ends
        ([0, 0, 0, 1], [1, 1, 1, 0], 0.99, 0, 1),  # a reward at the end alone
        ([4.90099501, 1, 1, 1], [0.96059601, 1, 1, 1], 0.99, 100, 100),  # sums over five steps
        ([1, 1, 1, 5], [0, 0, 0, 0], 0.9, 1, 5),  # all episodes have one step
        ([0, 1, 1, 1], [0.81, 0.81, 0.81, 0], 0.9, 0, 1 / 0.271),  # sums over three steps
        ([0, 1, 1, 1], [1, 1, 1, 1], 1.0, 0, np.inf),
    ],
)
def test_between_which_bounds_returns_lie(rewards, discounts, gamma, low, high):
    bounds = divergence.possible_returns(np.array(rewards), np.array(discounts), np.array([gamma]))
    np.testing.assert_allclose(bounds, [[low], [high]])


@pytest.mark.parametrize(
    ("value", "told"), [(30.0, False), (32.9, False), (33.1, True), (-1e6, False), (np.nan, False)]
)
def test_values_that_no_return_can_reach_are_told(value, told):
    """Returns lie between 0 and 30; a tenth of that is left."""
    bounds = np.zeros(2), np.full(2, 30.0)
    metrics = {"critic/loss": np.array([1e9, 1e9]), "critic/q_mean": np.array([0.0, value])}
    line = divergence.describe_values(500, grid((3, 4)), metrics, bounds, SETTINGS)
    assert (line is not None) == told
    if told:
        assert line.startswith("seed 4: critic/q_mean is 33.1 at update 500, and no return of")
        assert "exceeds 30" in line and LAYER_NORM in line and len(line) <= 300
        normed = algorithms.settings("edp")
        line = divergence.describe_values(500, grid((3, 4)), metrics, bounds, normed)
        assert line.endswith("Lower --config.learning_rate or --config.discount")


def test_critics_that_learn_come_from_zero():
    low, high = np.array([-300.0, 2.0, -1.0]), np.array([-200.0, 30.0, 1.0])
    np.testing.assert_array_equal(divergence.learning_range(low, high), [[-300, 0, -1], [0, 30, 1]])


@pytest.mark.parametrize(
    ("value", "told"), [(-8.4, False), (0.0, False), (29.9, False), (30.1, True)]
)
def test_where_every_step_costs_critics_come_from_zero(value, told):
    """No warning between 0, where critics begin, and the returns of -300 to -200 that they learn.

    Above 0 a tenth of the range from -300 to 0 is left before the warning comes.
    """
    metrics = {"critic/q_mean": np.array([value])}
    bounds = np.array([-300.0]), np.array([-200.0])
    line = divergence.describe_values(200, grid((3,)), metrics, bounds, SETTINGS)
    assert (line is not None) == told


@pytest.mark.parametrize(("value", "told"), [(10.03, False), (10.9, False), (11.1, True)])
def test_equal_rewards_leave_room_as_well(value, told):
    """The warning comes above 11, a tenth of the range from 0 to 10 above the largest return.

    Every step pays 1 and gamma is 0.9, so every return is 1 / (1 - 0.9) = 10.
    """
    bounds = divergence.possible_returns(np.ones(5), np.ones(5), np.array([0.9]))
    metrics = {"critic/q_mean": np.array([value])}
    line = divergence.describe_values(200, grid((3,)), metrics, bounds, SETTINGS)
    assert (line is not None) == told


def test_without_a_bound_nothing_is_told():
    bounds = np.zeros(1), np.array([np.inf])
    metrics = {"critic/q_mean": np.array([1e30])}
    assert divergence.describe_values(1, grid((3,)), metrics, bounds, SETTINGS) is None
