"""IQL (2110.06169) with a diffusion policy (EDP section 4.2) or a Gaussian one: values from the dataset's actions alone."""

from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from edp_jax import losses, networks
from edp_jax.algorithms import base, edp
from edp_jax.algorithms.base import AgentState, Algorithm, AlgorithmConfig, Hypers, Metrics
from edp_jax.policy import Policy
from edp_jax.types import TaskSpec, Transition

WEIGHT_CAP = 100.0  # IQL, App. A


class Draws(NamedTuple):
    """All the randomness of one update."""

    prediction: Any  # made by `policy.draw`
    critics: chex.Array | None  # see `edp.draw_critics`


def make_update(
    config: AlgorithmConfig, policy: Policy, critics: networks.Network, value: networks.Network
):
    """The update as a deterministic function (state, batch, hypers, draws) -> (state, metrics).

    V first, on the averaged critics; then the policy and the critics, both with the new V.
    """

    def update(
        state: AgentState, batch: Transition, hypers: Hypers, draws: Draws
    ) -> tuple[AgentState, Metrics]:
        opt = base.optimizer(config, hypers, state.step)
        target_params = edp.take_critics(state.critic.target_params, draws.critics)
        q = jnp.min(critics.apply(target_params, batch.observation, batch.action), axis=0)

        def value_loss(params):
            v = value.apply(params, batch.observation)
            return losses.expectile_loss(q - v, hypers.expectile), {"v_mean": jnp.mean(v)}

        new_value, value_metrics = base.gradient_step(value_loss, state.value, opt)
        advantage = q - value.apply(new_value.params, batch.observation)
        weight = losses.exponential_weight(advantage, hypers.iql_temperature, WEIGHT_CAP)

        def guidance(prediction):
            loss = losses.weighted_likelihood_loss(weight, prediction.log_likelihood)
            return loss, {"advantage_mean": jnp.mean(advantage), "weight_mean": jnp.mean(weight)}

        actor = edp.policy_step(
            config, policy, state, batch, draws.prediction, guidance, opt, hypers
        )
        next_v = value.apply(new_value.params, batch.next_observation)
        target = losses.td_target(batch.reward, hypers.discount * batch.discount, next_v)
        critic = edp.critic_step(critics, state.critic, batch, target, opt, hypers)
        return edp.finish(state, critic=critic, value=(new_value, value_metrics), actor=actor)

    return update


def make(config: AlgorithmConfig, spec: TaskSpec) -> Algorithm:
    """IQL."""
    policy, critics = edp.make_policy(config, spec), edp.make_critics(config, spec)
    value = networks.make_value(
        spec, config.hidden_dims, config.activation, config.critic_layer_norm
    )

    def draw(key: chex.PRNGKey, params: networks.Params, batch: Transition) -> Draws:
        del params
        prediction_key, critics_key = jax.random.split(key)
        return Draws(
            policy.draw(prediction_key, batch.action), edp.draw_critics(critics_key, config)
        )

    return Algorithm(
        init=edp.make_init(config, policy.network, critics, value),
        draw=draw,
        update=make_update(config, policy, critics, value),
        act=edp.make_act(config, policy, critics, spec),
        draws_ahead=base.draws_ahead(config),
    )
