"""Weighted denoising: the learner to begin with on own data, called `edp`.

A diffusion policy imitates the dataset, actions that are better than V more than the others. It is
EDP-IQL (EDP, 2305.20081, section 4.2) with four changes:

* The likelihood of an action is the squared error of its predicted noise (`likelihood="noise"`
  there). Denoising loss and weighted likelihood are then one loss: the denoising loss with a
  weight on every action.
* The weight has no unit. It depends on how an advantage compares with the spread of advantages in
  the batch and with the errors of the critics, so that one setting serves rewards of any scale.
  Where differences between actions are smaller than these errors, as in demonstrations of one
  expert, all weights come near 1 and the policy clones.
* Where critics do well on episodes that they have not learned from (`trust`), the policy follows
  the gradient of Q as well, as EDP-TD3's does, but only so far that its denoising loss rises by a
  small share (`trust_region`). So it cannot leave the data for actions that the critics only
  believe to be good.
* Where the advantages are larger than the critics' errors, on held-out episodes as well, the best
  of several samples acts, elsewhere a single one (`own_noise`).
"""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from edp_jax import diffusion, losses, networks
from edp_jax.algorithms import edp, groups, iql, own_noise, trust, ways
from edp_jax.algorithms.base import AgentState, Algorithm, Metrics
from edp_jax.policy import Corruption, Prediction
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
    trust_region: float = setting(
        0.3,
        "largest share by which following the gradient of the critics may raise the denoising "
        "loss, where they do as well on held-out episodes; 0: the policy only imitates",
        at_least=0,
        traced=True,
    )
    holdout: float = setting(
        0.1,
        "share of the episodes that values are not learned from: the errors of the critics there "
        "say how far the policy may follow them and whether they choose among its samples; 0: it "
        "only imitates, and one sample acts",
        at_least=0,
        at_most=0.5,
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
    discount: float = redefined(groups.Critics, "discount", 0.997)
    critic_layer_norm: bool = redefined(groups.Critics, "critic_layer_norm", True)
    learning_rate: float = redefined(groups.Optimization, "learning_rate", 1e-3)
    # Critics reach their values in some 1 / (tau (1 - discount)) = 3,300 updates.
    tau: float = redefined(groups.Average, "tau", 0.1)
    ema_share: float = redefined(groups.Average, "ema_share", 0.2)


def spreads(judgement: iql.Judgement, counts: Array | None = None) -> tuple[Array, Array]:
    """The variance of a batch's advantages, and the mean squared error of its critics.

    Args:
      judgement: [B] advantages A and errors delta of the dataset's actions.
      counts: [B], see `edp_jax.losses`.

    Returns:
      var(A) [] and mean(delta^2) [], in squared units of Q.
    """
    advantage, error = judgement.advantage, judgement.td_error
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


def following_loss(
    action: Array, slope: Array, signal: Array, allowed: Array, counts: Array | None = None
) -> Array:
    """Moves predicted actions up the slope of Q, as far as the denoising loss allows.

    The loss -g abar <slope, a0_hat> beside the denoising loss |eps - eps_theta|^2 / A moves the
    best prediction of eps by -(A / 2) g sqrt(abar (1 - abar)) slope, since a0_hat changes by
    -sqrt((1 - abar) / abar) where eps_theta changes by 1. That raises the denoising loss by
    (A / 4) g^2 abar (1 - abar) |slope|^2. So g follows from what is allowed, and no unit of Q and
    no bound of its gradient is needed. A weight abar against EDP's guidance (Eq. 10) lets noisy
    steps count less (docs/findings.md, "Guidance").

    Args:
      action: [B, A] a0_hat, the approximated action (EDP, 2305.20081, Eq. 9).
      slope: [B, A] gradient of Q with respect to it.
      signal: [B] abar of each row's timestep.
      allowed: [] by how much the mean denoising loss may rise.
      counts: [B], see `edp_jax.losses`.

    Returns:
      [] the mean of -g abar <slope, a0_hat>, with a gradient with respect to `action` alone.
    """
    slope, allowed = jax.lax.stop_gradient((slope, allowed))
    squares = jnp.sum(jnp.square(slope), axis=-1)
    cost = 0.25 * action.shape[-1] * losses.mean(signal * (1.0 - signal) * squares, counts)
    g = jnp.sqrt(allowed / jnp.where(cost > 0, cost, jnp.inf))
    return -g * losses.mean(signal * jnp.sum(slope * action, axis=-1), counts)


def weighted_denoising(
    judgement: iql.Judgement,
    batch: Transition,
    settings: EDP,
    draws: Corruption,
    state: AgentState,
    *,
    schedule: diffusion.NoiseSchedule,
) -> edp.Guidance:
    """What the policy is trained on: the mean of weight x denoising loss, and the critics' slope.

    The slope may raise the denoising loss by `trust_region` times `trust.reliability`. Where that
    is 0, as with nothing held out, the policy imitates. Rows without a value, such as chunks that a
    recording cut, are cloned.

    Args:
      judgement: what the critics say of the batch's actions.
      batch: B rows.
      settings: of the learner.
      draws: timesteps and noise of the prediction.
      state: before the update; where episodes are held out it has the critics' `trust.Errors`.
      schedule: of the noise.

    Returns:
      The guidance: what is added to the plain denoising loss.
    """
    advantage, delta, counts = judgement.advantage, judgement.td_error, batch.has_value
    variance, squared_error = spread = spreads(judgement, counts)
    weight = relative_weight(advantage, spread, settings.strength, counts)
    reliability = trust.reliability_of(state)
    held_out = jnp.zeros_like(delta) if batch.held_out is None else batch.held_out
    measures = trust.ERRORS in state.networks
    measured = trust.measure(advantage, delta, held_out, counts) if measures else {}
    signal = jnp.asarray(schedule.alphas_cumprod)[draws.timestep]

    def guidance(params: networks.Params, prediction: Prediction) -> tuple[Array, Metrics]:
        del params
        extra = (weight - 1.0) * prediction.denoising_loss  # that with the weight 1 is there
        fixed = jax.lax.stop_gradient(prediction)
        slope = jax.grad(lambda action: jnp.sum(judgement.q(action)))(fixed.action)
        denoising = losses.mean(fixed.denoising_loss, batch.has_action)
        allowed = settings.trust_region * reliability * denoising
        following = following_loss(prediction.action, slope, signal, allowed, counts)
        metrics = {
            "advantage_mean": losses.mean(advantage, counts),
            "advantage_variance": variance,
            "squared_error": squared_error,
            "reliability": reliability,
            "effective_share": 1.0 / jnp.mean(jnp.square(weight)),
            **measured,
        }
        return losses.mean(extra, batch.has_action) + following, metrics

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
        settings,
        spec,
        policy,
        critics,
        act,
        edp.averaged_actor_and_critic,
        functools.partial(weighted_denoising, schedule=policy.schedule),
    )
    if settings.holdout > 0:
        learner = trust.remembering(learner)
    return own_noise.choosing(learner, policy, starting_noise, spec)
