"""CRR (2006.15134) with a diffusion policy (EDP section 4.2) or a Gaussian one: regression weighted by the advantage."""

from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from edp_jax import losses, networks
from edp_jax.algorithms import base, edp
from edp_jax.algorithms.base import AgentState, Algorithm, AlgorithmConfig, Hypers, Metrics
from edp_jax.policy import ACTION_BOUND, Policy, Prediction
from edp_jax.types import InputError, TaskSpec, Transition

WEIGHT_CAP = 20.0  # CRR, section 3.2
WEIGHTS = {
    "exponential": lambda advantage, hypers: losses.exponential_weight(
        advantage, 1.0 / hypers.crr_beta, WEIGHT_CAP
    ),
    "indicator": lambda advantage, hypers: losses.indicator_weight(advantage),
    "softmax": lambda advantage, hypers: losses.softmax_weight(advantage, 1.0 / hypers.crr_beta),
}
BASELINES = {"mean": jnp.mean, "max": jnp.max}  # over the policy's actions (CRR Eq. 4, 5)


class Draws(NamedTuple):
    """All the randomness of one update."""

    prediction: Any  # made by `policy.draw`
    target: edp.TargetDraws
    baseline_noise: chex.Array  # [M, B, A], M = num_baseline_actions


def draw(
    key: chex.PRNGKey,
    config: AlgorithmConfig,
    policy: Policy,
    params: networks.Params,
    batch: Transition,
) -> Draws:
    prediction_key, target_key, baseline_key = jax.random.split(key, 3)
    return Draws(
        prediction=policy.draw(prediction_key, batch.action),
        target=edp.draw_targets(target_key, config, policy, params, batch),
        baseline_noise=jax.random.normal(
            baseline_key, (config.num_baseline_actions, *batch.action.shape)
        ),
    )


def baseline_actions(prediction: Prediction, noise: chex.Array) -> chex.Array:
    """Actions [M, B, A] of the policy, a_j ~ N(a0_hat, std^2) kept in the box, no gradient; std is 1 unless it is learned.

    PARITY: the public code hands them to the critics as they fall, most of them outside the box the critics know.
    """
    action, std = jax.lax.stop_gradient((prediction.action, prediction.std))
    return jnp.clip(action + std * noise, -ACTION_BOUND, ACTION_BOUND)


def make_update(config: AlgorithmConfig, policy: Policy, critics: networks.Network):
    """The update as a deterministic function (state, batch, hypers, draws) -> (state, metrics)."""

    def value_of(
        params: networks.Params, observation: chex.Array, action: chex.Array
    ) -> chex.Array:
        return jnp.min(critics.apply(params, observation, action), axis=0)

    def update(
        state: AgentState, batch: Transition, hypers: Hypers, draws: Draws
    ) -> tuple[AgentState, Metrics]:
        opt = base.optimizer(config, hypers, state.step)
        target = edp.double_q_target(critics, state, batch, hypers, draws.target)
        q = value_of(state.critic.params, batch.observation, batch.action)

        def guidance(prediction):
            baseline = value_of(
                state.critic.params,
                batch.observation,
                baseline_actions(prediction, draws.baseline_noise),
            )
            advantage = q - BASELINES[config.crr_baseline](baseline, axis=0)
            weight = WEIGHTS[config.crr_weight](advantage, hypers)
            loss = losses.weighted_likelihood_loss(weight, prediction.log_likelihood)
            return loss, {"advantage_mean": jnp.mean(advantage), "weight_mean": jnp.mean(weight)}

        critic = edp.critic_step(critics, state.critic, batch, target, opt, hypers)
        actor = edp.policy_step(
            config, policy, state, batch, draws.prediction, guidance, opt, hypers
        )
        return edp.finish(state, critic=critic, actor=actor)

    return update


def make(config: AlgorithmConfig, spec: TaskSpec) -> Algorithm:
    """CRR with the critics of before the update.

    Raises:
      InputError: `crr_weight` is not a key of `WEIGHTS`, or `crr_baseline` none of `BASELINES`.
    """
    for key, known in (("crr_weight", WEIGHTS), ("crr_baseline", BASELINES)):
        if getattr(config, key) not in known:
            raise InputError(
                f"{key} {getattr(config, key)!r} is unknown: use one of {', '.join(known)}"
            )
    policy, critics = edp.make_policy(config, spec), edp.make_critics(config, spec)
    return Algorithm(
        init=edp.make_init(config, policy.network, critics),
        draw=lambda key, params, batch: draw(key, config, policy, params, batch),
        update=make_update(config, policy, critics),
        act=edp.make_act(config, policy, critics, spec),
        draws_ahead=base.draws_ahead(config),
    )
