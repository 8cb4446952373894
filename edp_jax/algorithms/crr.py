"""CRR (2006.15134): regression on the dataset's actions, weighted by their advantage.

With a diffusion policy it is EDP-CRR (EDP, 2305.20081, section 4.2), with a Gaussian one that
paper's feed-forward baseline.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
from flax import struct

from edp_jax import losses, networks
from edp_jax.acting import Acting
from edp_jax.algorithms import base, edp, groups, ways
from edp_jax.algorithms.base import AgentState, Algorithm, Metrics
from edp_jax.policy import ACTION_BOUND, Policy, Prediction
from edp_jax.settings import redefined, setting
from edp_jax.types import Array, TaskSpec, Transition

WEIGHT_CAP = 20.0  # CRR, section 3.2
WEIGHTS = {
    "exponential": lambda advantage, settings, counts: losses.exponential_weight(
        advantage, 1.0 / settings.crr_beta, WEIGHT_CAP
    ),
    "indicator": lambda advantage, settings, counts: losses.indicator_weight(advantage),
    "softmax": lambda advantage, settings, counts: losses.softmax_weight(
        advantage, 1.0 / settings.crr_beta, counts
    ),
}
BASELINES = {"mean": jnp.mean, "max": jnp.max}  # over the policy's actions (CRR, Eq. 4 and 5)


@struct.dataclass
class Weighted:
    """The weight of an action in the regression."""

    crr_weight: str = setting(
        "exponential",
        "weight by advantage: exponential, indicator (1 where positive), or softmax over the batch",
        one_of=WEIGHTS,
    )
    crr_beta: float = setting(
        1.0,
        "temperature of the weight, in units of Q",
        above=0,
        traced=True,
        read_with={"crr_weight": ("exponential", "softmax")},
    )
    crr_baseline: str = setting(
        "mean", "value of the policy's actions that an advantage is taken over", one_of=BASELINES
    )
    num_baseline_actions: int = setting(
        10, "actions of the policy that the dataset's action is compared with", at_least=1
    )


@struct.dataclass
class EDPCRR(
    groups.Selection,
    groups.Likelihood,
    groups.Diffusion,
    Weighted,
    groups.SampledBackup,
    groups.Critics,
    groups.Average,
    groups.Networks,
    groups.Optimization,
):
    """Settings of EDP-CRR."""


@struct.dataclass
class GaussianCRR(
    Weighted,
    groups.Backup,
    groups.Critics,
    groups.Average,
    groups.FeedForward,
    groups.Optimization,
):
    """Settings of CRR with a Gaussian policy of IQL's size."""

    grad_clip: float = redefined(groups.Optimization, "grad_clip", 0.0)
    ema_period: int = redefined(groups.Average, "ema_period", 1)
    ema_start: int = redefined(groups.Average, "ema_start", 0)


class Draws(NamedTuple):
    """All random numbers of one update."""

    prediction: Any  # made by `policy.draw`
    target: edp.TargetDraws
    baseline_noise: Array  # [M, B, A], M = num_baseline_actions


def baseline_actions(prediction: Prediction, noise: Array) -> Array:
    """Actions [M, B, A] of the policy: a_j ~ N(a0_hat, std^2), kept in the box, without gradient.

    std is 1 for a diffusion policy, unless it is learned.

    PARITY: the public code hands them to the critics unclipped. Most of them are then outside the
    box that the critics know.
    """
    action, std = jax.lax.stop_gradient((prediction.action, prediction.std))
    return jnp.clip(action + std * noise, -ACTION_BOUND, ACTION_BOUND)


def make_update(
    policy: Policy, critics: networks.Network
) -> Callable[[AgentState, Transition, Any, Draws], tuple[AgentState, Metrics]]:
    """Builds the update as a deterministic function of its random numbers.

    The policy learns from the critics as they were before the update.
    """

    def value_of(params: networks.Params, observation: Array, action: Array) -> Array:
        return jnp.min(critics.apply(params, observation, action), axis=0)

    def update(
        state: AgentState, batch: Transition, settings: Any, draws: Draws
    ) -> tuple[AgentState, Metrics]:
        opt, critic = base.optimizer(settings, state.step), state.networks["critic"]
        target = edp.double_q_target(critics, critic, batch, settings.discount, draws.target)
        q = value_of(critic.params, batch.observation, batch.action)

        def guidance(params: networks.Params, prediction: Prediction) -> tuple:
            del params
            actions = baseline_actions(prediction, draws.baseline_noise)
            baseline = value_of(critic.params, batch.observation, actions)
            advantage = q - BASELINES[settings.crr_baseline](baseline, axis=0)
            counts = batch.has_value
            weight = WEIGHTS[settings.crr_weight](advantage, settings, counts)
            loss = losses.weighted_likelihood_loss(weight, prediction.log_likelihood, counts)
            means = {"advantage_mean": jnp.mean(advantage), "weight_mean": jnp.mean(weight)}
            return loss, means

        new_critic = edp.critic_step(critics, critic, batch, target, opt, settings.tau)
        new_actor = edp.policy_step(settings, policy, state, batch, draws.prediction, guidance, opt)
        return base.finish(state, critic=new_critic, actor=new_actor)

    return update


def make_edp(settings: EDPCRR, spec: TaskSpec) -> Algorithm:
    """EDP-CRR; acts by a choice among samples."""
    policy = edp.diffusion_policy(settings, spec, settings.likelihood)
    critics = edp.make_critics(settings, spec)
    act = ways.by_choice(settings, ways.acting_policy(settings, policy), critics, spec)
    sampled = edp.target_policy(settings, policy)
    return _make(settings, policy, sampled, critics, act, edp.averaged_actor_and_critic)


def make_gaussian(settings: GaussianCRR, spec: TaskSpec) -> Algorithm:
    """CRR with a Gaussian policy; acts with its mean."""
    policy = edp.gaussian_policy(settings, spec)
    critics = edp.make_critics(settings, spec)
    act = ways.by_mean(policy.network)
    return _make(settings, policy, policy, critics, act, edp.averaged_actor)


def _make(
    settings: Any,
    policy: Policy,
    sampled: Policy,
    critics: networks.Network,
    act: Acting,
    policy_params: Callable[[AgentState], Any],
) -> Algorithm:
    def draw(key: chex.PRNGKey, params: networks.Params, batch: Transition) -> Draws:
        prediction_key, target_key, baseline_key = jax.random.split(key, 3)
        shape = (settings.num_baseline_actions, *batch.action.shape)
        return Draws(
            prediction=policy.draw(prediction_key, batch.action),
            target=edp.draw_targets(target_key, settings, sampled, params, batch),
            baseline_noise=jax.random.normal(baseline_key, shape),
        )

    return Algorithm(
        settings=settings,
        init=base.make_init(settings, {"actor": policy.network, "critic": critics}),
        draw=draw,
        update=make_update(policy, critics),
        act=act,
        draw_params=edp.averaged_actor,
        policy_params=policy_params,
        draws_ahead=base.draws_ahead(settings),
    )
