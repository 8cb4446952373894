"""Losses of the learners against hand-computed numbers, and where their gradients may flow."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from edp_jax import losses

Q = jnp.array([[1.0, 2.0, 0.0], [3.0, -1.0, 0.0]])  # [C, B]
TARGET = jnp.array([0.0, 1.0, 0.0])
ADVANTAGE = jnp.array([0.5, -0.5, 10.0, 0.0])


def test_td_target_bootstraps_unless_the_discount_is_zero():
    # 1 + 0.9 * 10 = 10 and 2 + 0 * 10 = 2
    target = losses.td_target(jnp.array([1.0, 2.0]), jnp.array([0.9, 0.0]), jnp.full(2, 10.0))
    np.testing.assert_allclose(target, [10.0, 2.0])


def test_critic_loss_sums_critics_and_averages_rows():
    # (1^2 + 1^2 + 0^2) / 3 + (3^2 + 2^2 + 0^2) / 3 = 15 / 3
    np.testing.assert_allclose(losses.critic_loss(Q, TARGET), 5.0)


def test_critic_loss_gradient_stops_at_the_target():
    # d/dq = 2 (q - target) / B
    gradient, target_gradient = jax.grad(losses.critic_loss, argnums=(0, 1))(Q, TARGET)
    np.testing.assert_allclose(gradient, [[2 / 3, 2 / 3, 0], [2, -4 / 3, 0]], rtol=1e-6)
    np.testing.assert_array_equal(target_gradient, 0.0)


def test_td3_guidance_is_scaled_by_the_mean_magnitude():
    q = jnp.array([3.0, -1.0])
    # -eta mean(q) / mean|q| = -0.5 * 1 / 2; the scale is a constant for the gradient, which is
    # -eta / (B mean|q|) = -0.5 / (2 * 2)
    loss, gradient = jax.value_and_grad(losses.td3_guidance_loss)(q, 0.5)
    np.testing.assert_allclose(loss, -0.25)
    np.testing.assert_allclose(gradient, [-0.125, -0.125])


def test_td3_guidance_does_not_depend_on_the_scale_of_rewards():
    q = jnp.array([3.0, -1.0, 0.5])
    np.testing.assert_allclose(
        losses.td3_guidance_loss(1000.0 * q, 1.0), losses.td3_guidance_loss(q, 1.0), rtol=1e-6
    )


def test_td3_guidance_of_values_near_zero_stays_finite():
    # mean|q| = 0 counts as 1e-8: the gradient is -1 / (2 * 1e-8); at mean|q| = 2e-8 the loss is -1
    gradient = jax.grad(losses.td3_guidance_loss)(jnp.zeros(2), 1.0)
    np.testing.assert_allclose(gradient, [-5e7, -5e7], rtol=1e-6)
    np.testing.assert_allclose(losses.td3_guidance_loss(jnp.full(2, 2e-8), 1.0), -1.0, rtol=1e-6)


def test_expectile_loss_weighs_the_sides_of_zero():
    # (0.7 * 2^2 + 0.3 * 1^2) / 2 = 1.55; at 0.5 half the mean square
    error = jnp.array([2.0, -1.0])
    np.testing.assert_allclose(losses.expectile_loss(error, 0.7), 1.55, rtol=1e-6)
    np.testing.assert_allclose(losses.expectile_loss(error, 0.5), 1.25, rtol=1e-6)


def test_expectile_loss_gradient():
    # 2 |expectile - 1(error < 0)| error / B
    gradient = jax.grad(losses.expectile_loss)(jnp.array([2.0, -1.0]), 0.7)
    np.testing.assert_allclose(gradient, [1.4, -0.3], rtol=1e-6)


def test_exponential_weight_is_capped():
    # exp(2 * 0.5) = e, exp(-1), exp(20) capped, exp(0)
    weight = losses.exponential_weight(ADVANTAGE, 2.0, 20.0)
    np.testing.assert_allclose(weight, [np.e, 1 / np.e, 20.0, 1.0], rtol=1e-6)


def test_indicator_weight_is_one_above_zero():
    weight = losses.indicator_weight(ADVANTAGE)
    np.testing.assert_array_equal(weight, [1.0, 0.0, 1.0, 0.0])
    assert weight.dtype == ADVANTAGE.dtype


def test_softmax_weight_has_mean_one():
    # B softmax((0, log 3)) = 2 (1/4, 3/4); with inverse temperature 2: 2 (1/10, 9/10)
    advantage = jnp.array([0.0, np.log(3.0)])
    np.testing.assert_allclose(losses.softmax_weight(advantage, 1.0), [0.5, 1.5], rtol=1e-6)
    np.testing.assert_allclose(losses.softmax_weight(advantage, 2.0), [0.2, 1.8], rtol=1e-6)


@pytest.mark.parametrize(
    "weight",
    [
        lambda advantage: losses.exponential_weight(advantage, 2.0, 20.0),
        losses.indicator_weight,
        lambda advantage: losses.softmax_weight(advantage, 2.0),
    ],
    ids=["exponential", "indicator", "softmax"],
)
def test_weights_are_constants_for_the_gradient(weight):
    # of the first weight alone: softmax weights always have the same sum
    gradient = jax.grad(lambda advantage: weight(advantage)[0])(ADVANTAGE)
    np.testing.assert_array_equal(gradient, 0.0)


def test_cql_excess_is_a_soft_maximum_above_the_data():
    # critic 0: values 0 and log 3 give log((1 + 3) / 2) = log 2, above 0; critic 1: log 1 - 1
    q_sampled = jnp.array([[[0.0], [np.log(3.0)]], [[0.0], [0.0]]])  # [C, M, B]
    excess = losses.cql_excess(q_sampled, jnp.array([[0.0], [1.0]]))
    np.testing.assert_allclose(excess, [[np.log(2.0)], [-1.0]], rtol=1e-6)


def test_cql_excess_compares_the_actions_of_each_state():
    # state 0: log((e + e + e) / 3) - 0 = 1; state 1: log((e^2 + e^2 + e^2) / 3) - 5 = -3
    q_sampled = jnp.broadcast_to(jnp.array([1.0, 2.0]), (1, 3, 2))
    excess = losses.cql_excess(q_sampled, jnp.array([[0.0, 5.0]]))
    np.testing.assert_allclose(excess, [[1.0, -3.0]], rtol=1e-6)


def test_cql_penalty_leaves_states_below_the_threshold_alone():
    # critic 0: (1 - 1 + 3) / 3, critic 1: (3 - 5 + 5) / 3; with threshold -2 critic 1 has
    # (3 - 2 + 5) / 3
    excess = jnp.array([[1.0, -1.0, 3.0], [3.0, -5.0, 5.0]])
    np.testing.assert_allclose(losses.cql_penalty(excess, -jnp.inf), 2.0, rtol=1e-6)
    np.testing.assert_allclose(losses.cql_penalty(excess, -2.0), 3.0, rtol=1e-6)
    gradient = jax.grad(losses.cql_penalty)(excess, -2.0)
    np.testing.assert_allclose(3 * gradient, [[1.0, 1.0, 1.0], [1.0, 0.0, 1.0]], rtol=1e-6)


def test_bcq_value_is_the_best_mixture_of_both_extremes():
    # candidate 0 has (1, 3, 2): 0.75 * 1 + 0.25 * 3 = 1.5; candidate 1 has (5, 4, 9):
    # 0.75 * 4 + 0.25 * 9 = 5.25
    q = jnp.array([[[1.0], [5.0]], [[3.0], [4.0]], [[2.0], [9.0]]])  # [C, M, B]
    np.testing.assert_allclose(losses.bcq_value(q, 0.75), [5.25])


def test_bcq_value_chooses_at_each_state():
    # one critic: the larger of (1, 2) at state 0 and of (4, 3) at state 1
    q = jnp.array([[[1.0, 4.0], [2.0, 3.0]]])
    np.testing.assert_allclose(losses.bcq_value(q, 0.75), [2.0, 4.0])


def test_weighted_likelihood_loss():
    # -(2 * -1 + 0.5 * -4) / 2 = 2; d/dlog_likelihood = -weight / B
    weight, log_likelihood = jnp.array([2.0, 0.5]), jnp.array([-1.0, -4.0])
    np.testing.assert_allclose(losses.weighted_likelihood_loss(weight, log_likelihood), 2.0)
    gradient = jax.grad(losses.weighted_likelihood_loss, argnums=1)(weight, log_likelihood)
    np.testing.assert_allclose(gradient, [-1.0, -0.25])


B, C, M = 3, 2, 4


@pytest.mark.parametrize(
    "loss, right, wrong",
    [
        (losses.td_target, [(B,), (B,), (B,)], [(B, 1), (B,), (B,)]),
        (losses.td_target, [(B,), (B,), (B,)], [(B,), (1,), (B,)]),
        (losses.td_target, [(B,), (B,), (B,)], [(B,), (B,), (C, B)]),
        (losses.critic_loss, [(C, B), (B,)], [(C, B), (C, B)]),
        (losses.critic_loss, [(C, B), (B,)], [(C, B), (B, 1)]),
        (losses.critic_loss, [(C, B), (B,)], [(C, B), (1,)]),
        (losses.critic_loss, [(C, B), (B,)], [(B,), ()]),
        (losses.td3_guidance_loss, [(B,), ()], [(C, B), ()]),
        (losses.td3_guidance_loss, [(B,), ()], [(B,), (B,)]),
        (losses.expectile_loss, [(B,), ()], [(B, 1), ()]),
        (losses.expectile_loss, [(B,), ()], [(B,), (B,)]),
        (losses.exponential_weight, [(B,), (), ()], [(B, 1), (), ()]),
        (losses.exponential_weight, [(B,), (), ()], [(B,), (B,), ()]),
        (losses.exponential_weight, [(B,), (), ()], [(B,), (), (B,)]),
        (losses.indicator_weight, [(B,)], [(B, 1)]),
        (losses.softmax_weight, [(B,), ()], [(B, 1), ()]),
        (losses.softmax_weight, [(B,), ()], [(B,), (B,)]),
        (losses.cql_excess, [(C, M, B), (C, B)], [(M, B), (C, B)]),
        (losses.cql_excess, [(C, M, B), (C, B)], [(C, M, B), (B,)]),
        (losses.cql_excess, [(C, M, B), (C, B)], [(C, M, B), (C, 1)]),
        (losses.cql_excess, [(C, M, B), (C, B)], [(C, M, B), (1, B)]),
        (losses.cql_penalty, [(C, B), ()], [(B,), ()]),
        (losses.cql_penalty, [(C, B), ()], [(C, B), (B,)]),
        (losses.bcq_value, [(C, M, B), ()], [(M, B), ()]),
        (losses.bcq_value, [(C, M, B), ()], [(C, M, B), (B,)]),
        (losses.weighted_likelihood_loss, [(B,), (B,)], [(), (B,)]),
        (losses.weighted_likelihood_loss, [(B,), (B,)], [(B,), (1,)]),
        (losses.weighted_likelihood_loss, [(B,), (B,)], [(B,), (C, B)]),
        (losses.weighted_likelihood_loss, [(B,), (B,)], [(B, 1), (B,)]),
        (losses.weighted_likelihood_loss, [(B,), (B,)], [(B, 1), (B, 1)]),
    ],
)
def test_shapes_that_do_not_fit_are_refused(loss, right, wrong):
    loss(*map(jnp.ones, right))
    with pytest.raises(AssertionError):
        loss(*map(jnp.ones, wrong))


COUNTS = jnp.array([1.0, 0.0, 1.0])
ERROR = jnp.array([1.0, 7.0, -2.0])


@pytest.mark.parametrize(
    "loss",
    [
        lambda x, counts: losses.critic_loss(jnp.stack([x, 2 * x]), jnp.zeros_like(x), counts),
        lambda x, counts: losses.td3_guidance_loss(x, 0.5, counts),
        lambda x, counts: losses.expectile_loss(x, 0.7, counts),
        lambda x, counts: losses.cql_penalty(jnp.stack([x, 2 * x]), -1.0, counts),
        lambda x, counts: losses.weighted_likelihood_loss(x, x + 1.0, counts),
    ],
)
def test_rows_that_do_not_count_are_as_good_as_left_out(loss):
    """The loss and its gradient are those of the other rows; without any, both are 0."""
    found, gradient = jax.value_and_grad(loss)(ERROR, COUNTS)
    expected, of_others = jax.value_and_grad(loss)(ERROR[::2], None)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    np.testing.assert_allclose(gradient, [of_others[0], 0.0, of_others[1]], rtol=1e-6)
    none, gradient = jax.value_and_grad(loss)(ERROR, jnp.zeros(3))
    assert none == 0 and not gradient.any()


def test_the_softmax_is_over_the_rows_that_count():
    """2 softmax(1, -2) = 2 (e^3, 1) / (e^3 + 1)."""
    weight = losses.softmax_weight(ERROR, 1.0, COUNTS)
    np.testing.assert_allclose(weight, [2 * np.e**3 / (np.e**3 + 1), 0, 2 / (np.e**3 + 1)], 1e-5)
    assert losses.softmax_weight(ERROR, 1.0, jnp.zeros(3)).tolist() == [0, 0, 0]
