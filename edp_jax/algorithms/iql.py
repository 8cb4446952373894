"""EDP with IQL (EDP section 4.2; IQL, 2110.06169): values from the dataset's actions alone, weighted regression."""

import jax.numpy as jnp

from edp_jax import diffusion, losses, networks
from edp_jax.algorithms import base, edp
from edp_jax.algorithms.base import AgentState, Algorithm, AlgorithmConfig, Hypers, Metrics
from edp_jax.policy import DiffusionPolicy
from edp_jax.types import TaskSpec, Transition

WEIGHT_CAP = 100.0  # IQL, App. A


def make_update(config: AlgorithmConfig, policy: DiffusionPolicy, critics: networks.Network, value: networks.Network):
    """The update as a deterministic function (state, batch, hypers, corruption) -> (state, metrics).

    V first, on the averaged critics; then the policy and the critics, both with the new V.
    """

    def update(state: AgentState, batch: Transition, hypers: Hypers, corruption: edp.Corruption) -> tuple[AgentState, Metrics]:
        opt = base.optimizer(config, hypers, state.step)
        q = jnp.min(critics.apply(state.critic.target_params, batch.observation, batch.action), axis=0)

        def value_loss(params):
            v = value.apply(params, batch.observation)
            return losses.expectile_loss(q - v, hypers.expectile), {"v_mean": jnp.mean(v)}

        new_value, value_metrics = base.gradient_step(value_loss, state.value, opt)
        advantage = q - value.apply(new_value.params, batch.observation)
        weight = losses.exponential_weight(advantage, hypers.iql_temperature, WEIGHT_CAP)

        def guidance(action):
            loss = losses.weighted_likelihood_loss(weight, diffusion.gaussian_log_likelihood(action, batch.action))
            return loss, {"advantage_mean": jnp.mean(advantage), "weight_mean": jnp.mean(weight)}

        actor = edp.policy_step(config, policy, state, batch, corruption, guidance, opt, hypers)
        next_v = value.apply(new_value.params, batch.next_observation)
        target = losses.td_target(batch.reward, hypers.discount * batch.discount, next_v)
        critic = edp.critic_step(critics, state.critic, batch, target, opt, hypers)
        return edp.finish(state, critic=critic, value=(new_value, value_metrics), actor=actor)

    return update


def make(config: AlgorithmConfig, spec: TaskSpec) -> Algorithm:
    """EDP-IQL."""
    policy, critics = edp.make_policy(config, spec), edp.make_critics(config, spec)
    value = networks.make_value(spec, config.hidden_dims, config.activation, config.critic_layer_norm)
    update = make_update(config, policy, critics, value)

    def update_step(state: AgentState, batch: Transition, hypers: Hypers) -> tuple[AgentState, Metrics]:
        corruption = edp.draw_corruption(base.update_key(state), policy.schedule, batch.action)
        return update(state, batch, hypers, corruption)

    return Algorithm(edp.make_init(config, policy, critics, value), update_step, edp.make_act(config, policy, critics, spec))
