"""Weighted denoising: the learner to begin with on own data, called `edp`.

A diffusion policy imitates the dataset, actions that are better than V more than the others. It is
EDP-IQL (EDP, 2305.20081, section 4.2) with two changes:

* The likelihood of an action is the squared error of its predicted noise (`likelihood="noise"`
  there). Denoising loss and weighted likelihood are then one loss: the denoising loss with a
  weight on every action.
* The weight has no unit. It depends on how an advantage compares with the spread of advantages in
  the batch and with the errors of the critics, so that one setting serves rewards of any scale.
  Where differences between actions are smaller than these errors, as in demonstrations of one
  expert, all weights come near 1 and the policy clones.

No gradient of a critic ever reaches the policy, so it cannot leave the data for actions that the
critics only believe to be good. Where their advantages are larger than their errors, the best of
several samples acts, else a single one (`own_noise`).
"""

import math
from typing import Any

import jax.numpy as jnp
from flax import struct

from edp_jax import losses, networks
from edp_jax.algorithms import edp, groups, iql, own_noise, ways
from edp_jax.algorithms.base import Algorithm, Metrics
from edp_jax.policy import Prediction
from edp_jax.settings import redefined, setting
from edp_jax.types import Array, TaskSpec, Transition

WEIGHT_CAP = 20.0  # of one action, before the weights of a batch are divided by their mean


@struct.dataclass
class EDP(
    groups.Diffusion,
    iql.Expectile,
    groups.Critics,
    groups.Average,
    groups.Networks,
    groups.Optimization,
):
    """Settings of the recommended learner: the same for every task."""

    strength: float = setting(
        0.5,
        "factor of the advantage in an action's weight, in units of the spread of the advantages "
        "and the critics' error together; 0: the policy clones",
        at_least=0,
        traced=True,
    )
    num_candidates: int = setting(
        10,
        "samples of which the best acts, where the critics can tell actions apart; else one acts",
        at_least=1,
        at_most=100_000,
        may_change=True,
    )
    starting_noise: float = setting(
        own_noise.CHOSEN,
        "standard deviation of the noise that actions are sampled from when acting; -1: "
        f"{own_noise.CANDIDATE_NOISE:g} where the critics choose, else of "
        f"{', '.join(f'{scale:g}' for scale in own_noise.SCALES)} the one whose samples the policy "
        "itself finds likeliest",
        at_least=own_noise.CHOSEN,
        may_change=True,
    )
    critic_layer_norm: bool = redefined(groups.Critics, "critic_layer_norm", True)
    learning_rate: float = redefined(groups.Optimization, "learning_rate", 1e-3)
    tau: float = redefined(groups.Average, "tau", 0.02)


def spreads(judgement: iql.Judgement, counts: Array | None = None) -> tuple[Array, Array]:
    """The variance of a batch's advantages, and the mean squared error of its critics.

    Args:
      judgement: [B] advantages A and errors delta of the dataset's actions.
      counts: [B], see `edp_jax.losses`.

    Returns:
      var(A) [] and mean(delta^2) [], in squared units of Q.
    """
    advantage, error = judgement
    variance = losses.mean(jnp.square(advantage - losses.mean(advantage, counts)), counts)
    return variance, losses.mean(jnp.square(error), counts)


def relative_weight(
    advantage: Array,
    spread: tuple[Array, Array],
    strength: float | Array,
    counts: Array | None = None,
) -> Array:
    """Weight of each action in the denoising loss, the same in whatever unit rewards are.

    Args:
      advantage: [B] A of the dataset's actions.
      spread: var(A) [] and mean(delta^2) [] of these actions, from `spreads`.
      strength: [] beta below; 0 makes all weights 1.
      counts: [B], see `edp_jax.losses`; the others have the weight 1.

    Returns:
      [B] w / mean(w) without a gradient, where w = min(exp(beta A / u), 20): the weight of
      advantage-weighted regression (AWR, 1910.00177, Algorithm 1) with a temperature that follows
      the batch, u^2 = var(A) + mean(delta^2). With var(A) alone, advantages that are nothing but
      errors of the critics would have as much weight as real ones (docs/findings.md).
    """
    variance, squared_error = spread
    unit = jnp.maximum(jnp.sqrt(variance + squared_error), 1e-8)
    exponent = jnp.minimum(strength * advantage / unit, math.log(WEIGHT_CAP))
    weight = losses.softmax_weight(exponent, 1.0, counts)  # w / mean(w), where all w are tiny too
    return weight if counts is None else jnp.where(counts > 0, weight, 1.0)


def weighted_denoising(judgement: iql.Judgement, batch: Transition, settings: EDP) -> edp.Guidance:
    """What the policy is trained on: the mean of weight x denoising loss.

    Rows without a value, such as chunks that a recording cut, are cloned.
    """
    variance, squared_error = spread = spreads(judgement, batch.has_value)
    weight = relative_weight(judgement.advantage, spread, settings.strength, batch.has_value)

    def guidance(params: networks.Params, prediction: Prediction) -> tuple[Array, Metrics]:
        del params
        extra = (weight - 1.0) * prediction.denoising_loss  # that with the weight 1 is there
        metrics = {
            "advantage_mean": losses.mean(judgement.advantage, batch.has_value),
            "advantage_variance": variance,
            "squared_error": squared_error,
            "effective_share": 1.0 / jnp.mean(jnp.square(weight)),
        }
        return losses.mean(extra, batch.has_action), metrics

    return guidance


def make(settings: EDP, spec: TaskSpec) -> Algorithm:
    """The recommended learner; acts by the best of several samples, or by one (`own_noise`).

    Raises:
      InputError: settings that do not fit together.
    """
    starting_noise, count = settings.starting_noise, settings.num_candidates
    own_noise.check(starting_noise)
    policy, critics = edp.diffusion_policy(settings, spec), edp.make_critics(settings, spec)

    def choose(params: Any, observation: Array, q: Array, noise: Array | None) -> Array:
        del observation, noise
        best = jnp.argmax(jnp.min(q, axis=0), axis=0)
        return jnp.where(params["actor"][own_noise.CHOOSY], best, 0)

    acting = own_noise.OwnNoise(policy, starting_noise, several=count > 1)
    act = ways.by_critics(choose, count, acting, critics, spec, at_random=False)
    learner = iql.assemble(
        settings, spec, policy, critics, act, edp.averaged_actor_and_critic, weighted_denoising
    )
    return own_noise.choosing(learner, policy, starting_noise, spec)
