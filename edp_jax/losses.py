"""Losses of the reinforcement learners, as functions of values that the networks gave.

Values and rewards have the units of the rewards that the learner sees. Every function refuses
arrays whose shapes do not fit with an AssertionError, because broadcasting would give a wrong loss
without a word ([B, 1] minus [B] is [B, B]).

`counts` [B] is 1 for the rows that count and 0 for the others, as where action chunks are cut
(`edp_jax.types.Transition.has_value`), or a weight of at least 0. None: all count alike.
"""

import chex
import jax
import jax.numpy as jnp

from edp_jax.types import Array


def mean(values: Array, counts: Array | None = None, axis: int | None = None) -> Array:
    """The mean of the entries that count.

    Args:
      values: [...], or [..., B] with an axis.
      counts: [...], or [B] with an axis: how much each entry counts; None: all alike.
      axis: -1 to average over the last axis alone; None: over all.

    Returns:
      The mean; 0 where nothing counts.
    """
    if counts is None:
        return jnp.mean(values, axis=axis)
    chex.assert_shape(counts, values.shape if axis is None else values.shape[-1:])
    counts = jnp.broadcast_to(counts, values.shape)
    return jnp.sum(counts * values, axis) / jnp.maximum(jnp.sum(counts, axis), 1e-8)


def td_target(reward: Array, discount: Array, next_value: Array) -> Array:
    """One-step target of a value: reward + discount * next_value.

    Args:
      reward: [B] rewards r.
      discount: [B] the learner's discount factor gamma, or 0 where the step ended the task.
      next_value: [B] value of the next observation.

    Returns:
      [B] the targets.
    """
    chex.assert_equal_shape([reward, discount, next_value])
    return reward + discount * next_value


def critic_loss(q: Array, target: Array, counts: Array | None = None) -> Array:
    """Squared error of each critic, averaged over the batch and summed over the critics.

    Args:
      q: [C, B] value that each critic gives to the dataset's action.
      target: [B] the targets, the same for all critics; no gradient flows into them.
      counts: [B], see the module.

    Returns:
      [] the loss: sum_i mean_b (q_ib - target_b)^2 (TD3, 1802.09477, Algorithm 1).
    """
    chex.assert_rank(q, 2)
    chex.assert_shape(target, q.shape[1:])
    return jnp.sum(mean(jnp.square(q - jax.lax.stop_gradient(target)), counts, axis=-1))


def td3_guidance_loss(q: Array, eta: float | Array, counts: Array | None = None) -> Array:
    """Policy improvement of TD3+BC: raises the value of the policy's actions.

    The values are divided by their mean magnitude, taken as a constant, so that `eta` means the
    same whatever the scale of the rewards.

    Args:
      q: [B] value of the policy's action; for EDP the approximated action a0_hat.
      eta: [] weight of this loss, relative to the denoising or cloning loss beside it.
      counts: [B], see the module; of both means.

    Returns:
      [] the loss: -eta mean(q) / mean |q| (EDP Eq. 10; TD3+BC, 2106.06860, Eq. 5).
    """
    chex.assert_rank([q, eta], [1, 0])
    scale = jax.lax.stop_gradient(mean(jnp.abs(q), counts))
    return -eta * mean(q, counts) / jnp.maximum(scale, 1e-8)


def expectile_loss(error: Array, expectile: float | Array, counts: Array | None = None) -> Array:
    """Squared error that weighs underestimates and overestimates differently.

    Minimised over V, it gives the `expectile` of Q: the mean at 0.5, towards the maximum near 1.

    Args:
      error: [B] Q - V.
      expectile: [] between 0 and 1.
      counts: [B], see the module.

    Returns:
      [] the loss: mean |expectile - 1(error < 0)| error^2 (IQL, 2110.06169, Eq. 5).
    """
    chex.assert_rank([error, expectile], [1, 0])
    weight = jnp.where(error < 0.0, 1.0 - expectile, expectile)
    return mean(weight * jnp.square(error), counts)


def exponential_weight(advantage: Array, inverse_temperature: float | Array, cap: float) -> Array:
    """Weight of each action in a weighted regression: it grows exponentially with the advantage.

    Args:
      advantage: [B] Q - V of the dataset's actions.
      inverse_temperature: [] 1 / beta of CRR, beta of IQL; in units of 1 / Q.
      cap: the largest weight.

    Returns:
      [B] min(exp(inverse_temperature * advantage), cap), without a gradient (CRR, 2006.15134,
      Eq. 3; IQL, 2110.06169, Eq. 7).
    """
    chex.assert_rank([advantage, inverse_temperature, cap], [1, 0, 0])
    return jax.lax.stop_gradient(jnp.minimum(jnp.exp(inverse_temperature * advantage), cap))


def indicator_weight(advantage: Array) -> Array:
    """Weight of each action in a weighted regression: all or nothing.

    Args:
      advantage: [B] Q - V of the dataset's actions.

    Returns:
      [B] 1 where the advantage is positive and 0 elsewhere, without a gradient (CRR, 2006.15134,
      Eq. 2).
    """
    chex.assert_rank(advantage, 1)
    return (advantage > 0.0).astype(advantage.dtype)


def softmax_weight(
    advantage: Array, inverse_temperature: float | Array, counts: Array | None = None
) -> Array:
    """Weight of each action in a weighted regression: exponential, with mean 1 over the batch.

    Args:
      advantage: [B] Q - V of the dataset's actions.
      inverse_temperature: [] in units of 1 / Q.
      counts: [B], see the module; the others get the weight 0.

    Returns:
      [B] B softmax(inverse_temperature * advantage), without a gradient. The softmax is over the
      batch, and B the number of rows that count.
    """
    # PARITY: the public code averages the softmax over the batch once more, which makes the loss
    # B times too small.
    chex.assert_rank([advantage, inverse_temperature], [1, 0])
    logits, size = inverse_temperature * advantage, advantage.shape[0]
    if counts is not None:
        logits, size = jnp.where(counts > 0, logits, jnp.finfo(logits.dtype).min), jnp.sum(counts)
    return jax.lax.stop_gradient(size * jax.nn.softmax(logits))


def cql_excess(q_sampled: Array, q_data: Array) -> Array:
    """How much higher a critic values arbitrary actions than the dataset's action.

    The values of M sampled actions enter through a soft maximum, which lies between their mean
    and their maximum. This is the difference that CQL keeps small (2006.04779, Eq. 4). The paper
    sums exp(Q) over all actions; here it is averaged over samples, so that the result does not
    depend on how many there are.

    Args:
      q_sampled: [C, M, B] value of each sampled action a_m.
      q_data: [C, B] value of the dataset's action a.

    Returns:
      [C, B] log(mean_m exp Q(s, a_m)) - Q(s, a), in units of Q. It is negative where the critic
      prefers the dataset's action.
    """
    chex.assert_rank(q_sampled, 3)
    chex.assert_shape(q_data, (q_sampled.shape[0], q_sampled.shape[2]))
    return jax.nn.logsumexp(q_sampled, axis=1) - jnp.log(q_sampled.shape[1]) - q_data


def cql_penalty(excess: Array, threshold: float | Array, counts: Array | None = None) -> Array:
    """CQL's loss: makes critics value arbitrary actions less than those of the dataset.

    Minimising the excess at a state lowers the values of the sampled actions and raises the value
    of the dataset's action. The threshold says when that is enough: a state whose excess is below
    it contributes no gradient. With a threshold of -2, for example, a state is left alone once the
    soft maximum over the sampled actions lies 2 below the value of the dataset's action. With
    -inf the gap grows without end, and the critics may diverge.

    CQL (2006.04779) limits the excess in another way: a Lagrange multiplier holds its mean over
    states at a target, called tau there. That target is for an excess with a sum over actions in
    place of our mean, so its values are not thresholds for this function.

    Args:
      excess: [C, B] what `cql_excess` returned, in units of Q.
      threshold: [] excess at which a state is left alone, in units of Q.
      counts: [B], see the module.

    Returns:
      [] the loss: max(excess, threshold), averaged over states and summed over critics.
    """
    chex.assert_rank([excess, threshold], [2, 0])
    return jnp.sum(mean(jnp.maximum(excess, threshold), counts, axis=-1))


def bcq_value(q: Array, min_weight: float) -> Array:
    """Value of the best candidate action when the critics disagree.

    The value of a candidate is a mixture of what the most and the least pessimistic critic say.

    Args:
      q: [C, M, B] value that each critic gives to each candidate.
      min_weight: weight of the smallest of the C values, from 0 to 1; the largest gets the rest.

    Returns:
      [B] max_m (min_weight min_i q_im + (1 - min_weight) max_i q_im) (BCQ, 1812.02900, Eq. 13).
    """
    chex.assert_rank([q, min_weight], [3, 0])
    mixed = min_weight * jnp.min(q, axis=0) + (1.0 - min_weight) * jnp.max(q, axis=0)
    return jnp.max(mixed, axis=0)


def weighted_likelihood_loss(
    weight: Array, log_likelihood: Array, counts: Array | None = None
) -> Array:
    """Policy improvement by regression: makes the dataset's actions likely, the good ones more.

    Args:
      weight: [B] weight of each action.
      log_likelihood: [B] log pi(a | s) of each action.
      counts: [B], see the module.

    Returns:
      [] the loss: -mean(weight * log_likelihood) (EDP Eq. 11).
    """
    chex.assert_rank(weight, 1)
    chex.assert_equal_shape([weight, log_likelihood])
    return -mean(weight * log_likelihood, counts)
