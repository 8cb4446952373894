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


def softmax_weight(advantage: chex.Array, temperature: chex.Array) -> chex.Array:
    """B softmax(temperature * advantage) over the batch [B], no gradient: exp(advantage) scaled to mean 1.

    PARITY: the public code averages the softmax over the batch again, which makes the loss B times too small.
    """
    return jax.lax.stop_gradient(advantage.shape[0] * jax.nn.softmax(temperature * advantage))


def cql_excess(q_sampled: chex.Array, q_data: chex.Array) -> chex.Array:
    """How far the soft maximum over M actions lies above the data's value: logsumexp_m Q(s, a_m) - log M - Q(s, a).

    q_sampled [N, M, B], q_data [N, B] -> [N, B] (CQL, 2006.04779, Eq. 4, with a_m drawn evenly).
    """
    return jax.nn.logsumexp(q_sampled, axis=1) - jnp.log(q_sampled.shape[1]) - q_data


def cql_penalty(excess: chex.Array, threshold: chex.Array) -> chex.Array:
    """CQL's penalty, mean max(excess, tau) over states, summed over critics: excess [N, B].

    States below tau have no gradient. It stands for the tau of CQL's version with a Lagrange multiplier, which bounds the mean of
    an excess without the log M; with tau = -inf nothing keeps values off the data from falling.
    """
    return jnp.sum(jnp.mean(jnp.maximum(excess, threshold), axis=-1))


def bcq_value(q: chex.Array, min_weight: float) -> chex.Array:
    """Best of M candidates under w min_i Q_i + (1 - w) max_i Q_i: q [N, M, B] -> [B] (BCQ, 1812.02900, Eq. 13)."""
    return jnp.max(
        min_weight * jnp.min(q, axis=0) + (1.0 - min_weight) * jnp.max(q, axis=0), axis=0
    )


def weighted_likelihood_loss(weight: chex.Array, log_likelihood: chex.Array) -> chex.Array:
    """Policy improvement by weighted regression: -mean(weight * log pi(a | s)), inputs [B] (EDP Eq. 11)."""
    return -jnp.mean(weight * log_likelihood)
