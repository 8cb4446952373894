"""Losses of the reinforcement learners: arrays in, arrays out. [B] batch, [N] critics."""

import chex
import jax
import jax.numpy as jnp


def td_target(reward: chex.Array, discount: chex.Array, next_value: chex.Array) -> chex.Array:
    """One-step target r + discount * V(s') [B]; `discount` is gamma, or 0 after a true terminal."""
    return reward + discount * next_value


def critic_loss(q: chex.Array, target: chex.Array) -> chex.Array:
    """Squared TD error, summed over critics q [N, B] and averaged over the batch; no gradient flows into target [B]."""
    return jnp.sum(jnp.mean(jnp.square(q - jax.lax.stop_gradient(target)), axis=-1))


def td3_guidance_loss(q: chex.Array, eta: chex.Array) -> chex.Array:
    """Policy improvement of TD3: -eta mean(Q(s, a0_hat)) / stop_grad(mean |Q|), q [B] (EDP Eq. 10; TD3+BC, 2106.06860, Eq. 5)."""
    scale = jax.lax.stop_gradient(jnp.mean(jnp.abs(q)))
    return -eta * jnp.mean(q) / jnp.maximum(scale, 1e-8)
