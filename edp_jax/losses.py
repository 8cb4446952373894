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


def expectile_loss(error: chex.Array, expectile: chex.Array) -> chex.Array:
    """Asymmetric squared error mean |expectile - 1(error < 0)| error^2, error [B] = Q - V (IQL, 2110.06169, Eq. 5)."""
    return jnp.mean(jnp.where(error < 0.0, 1.0 - expectile, expectile) * jnp.square(error))


def exponential_weight(advantage: chex.Array, temperature: chex.Array, cap: float) -> chex.Array:
    """min(exp(temperature * advantage), cap) [B], no gradient (CRR, 2006.15134, Eq. 3; IQL, 2110.06169, Eq. 7)."""
    return jax.lax.stop_gradient(jnp.minimum(jnp.exp(temperature * advantage), cap))


def indicator_weight(advantage: chex.Array) -> chex.Array:
    """1 where the advantage [B] is positive, else 0, no gradient (binary CRR, 2006.15134, Eq. 2)."""
    return jax.lax.stop_gradient((advantage > 0.0).astype(advantage.dtype))


def weighted_likelihood_loss(weight: chex.Array, log_likelihood: chex.Array) -> chex.Array:
    """Policy improvement by weighted regression: -mean(weight * log pi(a | s)), inputs [B] (EDP Eq. 11)."""
    return -jnp.mean(weight * log_likelihood)
