"""Losses of the learners against hand-computed numbers, and where their gradients may flow."""

import jax
import jax.numpy as jnp
import numpy as np

from edp_jax import losses

Q = jnp.array([[1.0, 2.0], [3.0, -1.0]])
TARGET = jnp.array([0.0, 1.0])


def test_td_target_bootstraps_unless_the_discount_is_zero():
    # 1 + 0.9 * 10 = 10, 1 + 0 * 10 = 1
    np.testing.assert_allclose(losses.td_target(jnp.ones(2), jnp.array([0.9, 0.0]), jnp.full(2, 10.0)), [10.0, 1.0])


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
    np.testing.assert_allclose(losses.td3_guidance_loss(1000.0 * q, 1.0), losses.td3_guidance_loss(q, 1.0), rtol=1e-6)
