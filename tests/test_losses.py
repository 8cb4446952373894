"""Losses of the learners against hand-computed numbers, and where their gradients may flow."""

import jax
import jax.numpy as jnp
import numpy as np

from edp_jax import diffusion, losses

Q = jnp.array([[1.0, 2.0], [3.0, -1.0]])
TARGET = jnp.array([0.0, 1.0])


def test_td_target_bootstraps_unless_the_discount_is_zero():
    # 1 + 0.9 * 10 = 10, 1 + 0 * 10 = 1
    np.testing.assert_allclose(
        losses.td_target(jnp.ones(2), jnp.array([0.9, 0.0]), jnp.full(2, 10.0)), [10.0, 1.0]
    )


def test_critic_loss_sums_critics_and_averages_rows():
    # (1^2 + 1^2)/2 + (3^2 + 2^2)/2 = 1 + 6.5
    np.testing.assert_allclose(losses.critic_loss(Q, TARGET), 7.5)


def test_critic_loss_gradient_stops_at_the_target():
    # d/dq = 2 (q - target) / B
    gradient, target_gradient = jax.grad(losses.critic_loss, argnums=(0, 1))(Q, TARGET)
    np.testing.assert_allclose(gradient, [[1.0, 1.0], [3.0, -2.0]])
    np.testing.assert_array_equal(target_gradient, 0.0)


def test_td3_guidance_is_scaled_by_the_mean_magnitude():
    q = jnp.array([3.0, -1.0])
    # -eta mean(q)/mean|q| = -0.5 * 1/2; the scale is a constant for the gradient: -eta/(B mean|q|) = -0.5/(2 * 2)
    loss, gradient = jax.value_and_grad(losses.td3_guidance_loss)(q, 0.5)
    np.testing.assert_allclose(loss, -0.25)
    np.testing.assert_allclose(gradient, [-0.125, -0.125])


def test_td3_guidance_does_not_depend_on_the_scale_of_rewards():
    q = jnp.array([3.0, -1.0, 0.5])
    np.testing.assert_allclose(
        losses.td3_guidance_loss(1000.0 * q, 1.0), losses.td3_guidance_loss(q, 1.0), rtol=1e-6
    )


def test_expectile_loss_weighs_the_sides_of_zero():
    # (0.7 * 2^2 + 0.3 * 1^2)/2 = 1.55; at 0.5 half the mean square
    error = jnp.array([2.0, -1.0])
    np.testing.assert_allclose(losses.expectile_loss(error, 0.7), 1.55, rtol=1e-6)
    np.testing.assert_allclose(losses.expectile_loss(error, 0.5), 1.25, rtol=1e-6)


def test_advantage_weights():
    advantage = jnp.array([0.5, -0.5, 10.0, 0.0])
    # exp(2 * 0.5) = e, exp(-1), exp(20) capped, exp(0)
    expected = [np.e, 1 / np.e, 20.0, 1.0]
    np.testing.assert_allclose(losses.exponential_weight(advantage, 2.0, 20.0), expected, rtol=1e-6)
    np.testing.assert_array_equal(losses.indicator_weight(advantage), [1.0, 0.0, 1.0, 0.0])
    for weight in (lambda a: losses.exponential_weight(a, 2.0, 20.0), losses.indicator_weight):
        np.testing.assert_array_equal(
            jax.grad(lambda a, weight=weight: weight(a).sum())(advantage), 0.0
        )


def test_weighted_likelihood_loss():
    # -(2 * -1 + 0.5 * -4)/2 = 2
    np.testing.assert_allclose(
        losses.weighted_likelihood_loss(jnp.array([2.0, 0.5]), jnp.array([-1.0, -4.0])), 2.0
    )


def test_gaussian_log_likelihood_is_that_of_a_standard_normal_around_the_prediction():
    # -(0.5^2 + 1^2)/2 - log(2 pi) for two dimensions
    value = diffusion.gaussian_log_likelihood(jnp.array([[0.5, -1.0]]), jnp.array([[0.0, 0.0]]))
    np.testing.assert_allclose(value, [-0.625 - np.log(2 * np.pi)], rtol=1e-6)
