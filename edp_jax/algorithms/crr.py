"""EDP with CRR (EDP section 4.2; CRR, 2006.15134): regression on the dataset's actions, weighted by their advantage."""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from edp_jax import diffusion, losses, networks
from edp_jax.algorithms import base, edp
from edp_jax.algorithms.base import AgentState, Algorithm, AlgorithmConfig, Hypers, Metrics
from edp_jax.policy import ACTION_BOUND, DiffusionPolicy
from edp_jax.types import InputError, TaskSpec, Transition

WEIGHT_CAP = 20.0  # CRR, section 3.2
WEIGHTS = {
    "exponential": lambda advantage, hypers: losses.exponential_weight(advantage, 1.0 / hypers.crr_beta, WEIGHT_CAP),
    "indicator": lambda advantage, hypers: losses.indicator_weight(advantage),
}


class Draws(NamedTuple):
    """All the randomness of one update."""

    corruption: edp.Corruption
    target: edp.TargetDraws
    baseline_noise: chex.Array  # [M, B, A], M = num_baseline_actions


def draw(key: chex.PRNGKey, config: AlgorithmConfig, policy: DiffusionPolicy, batch: Transition) -> Draws:
    corruption_key, target_key, baseline_key = jax.random.split(key, 3)
    return Draws(
        corruption=edp.draw_corruption(corruption_key, policy.schedule, batch.action),
        target=edp.draw_targets(target_key, config, batch.action),
        baseline_noise=jax.random.normal(baseline_key, (config.num_baseline_actions, *batch.action.shape)),
    )


def baseline_actions(action: chex.Array, noise: chex.Array) -> chex.Array:
    """Actions [M, B, A] of the policy, a_j ~ N(a0_hat, I) kept in the box, no gradient.

    PARITY: the public code hands them to the critics as they fall, most of them outside the box the critics know.
    """
    return jnp.clip(jax.lax.stop_gradient(action) + noise, -ACTION_BOUND, ACTION_BOUND)


def make_update(config: AlgorithmConfig, policy: DiffusionPolicy, critics: networks.Network):
    """The update as a deterministic function (state, batch, hypers, draws) -> (state, metrics)."""

    def value_of(params: networks.Params, observation: chex.Array, action: chex.Array) -> chex.Array:
        return jnp.min(critics.apply(params, observation, action), axis=0)

    def update(state: AgentState, batch: Transition, hypers: Hypers, draws: Draws) -> tuple[AgentState, Metrics]:
        opt = base.optimizer(config, hypers, state.step)
        target = edp.double_q_target(policy, critics, state, batch, hypers, draws.target)
        q = value_of(state.critic.params, batch.observation, batch.action)

        def guidance(action):
            baseline = value_of(state.critic.params, batch.observation, baseline_actions(action, draws.baseline_noise))
            advantage = q - jnp.mean(baseline, axis=0)
            weight = WEIGHTS[config.crr_weight](advantage, hypers)
            loss = losses.weighted_likelihood_loss(weight, diffusion.gaussian_log_likelihood(action, batch.action))
            return loss, {"advantage_mean": jnp.mean(advantage), "weight_mean": jnp.mean(weight)}

        critic = edp.critic_step(critics, state.critic, batch, target, opt, hypers)
        actor = edp.policy_step(config, policy, state, batch, draws.corruption, guidance, opt, hypers)
        return edp.finish(state, critic=critic, actor=actor)

    return update


def make(config: AlgorithmConfig, spec: TaskSpec) -> Algorithm:
    """EDP-CRR with the critics of before the update.

    Raises:
      InputError: `crr_weight` is not a key of `WEIGHTS`.
    """
    if config.crr_weight not in WEIGHTS:
        raise InputError(f"crr_weight {config.crr_weight!r} is unknown: use one of {', '.join(WEIGHTS)}")
    policy, critics = edp.make_policy(config, spec), edp.make_critics(config, spec)
    update = make_update(config, policy, critics)

    def update_step(state: AgentState, batch: Transition, hypers: Hypers) -> tuple[AgentState, Metrics]:
        return update(state, batch, hypers, draw(base.update_key(state), config, policy, batch))

    return Algorithm(edp.make_init(config, policy, critics), update_step, edp.make_act(config, policy, critics, spec))
