"""TD3+BC (2106.06860): a deterministic feed-forward policy, the paper's "FF" column of TD3."""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from edp_jax import losses, networks
from edp_jax.algorithms import base, edp
from edp_jax.algorithms.base import AgentState, Algorithm, AlgorithmConfig, Hypers, Metrics
from edp_jax.policy import ACTION_BOUND
from edp_jax.types import TaskSpec, Transition

TARGET_NOISE, NOISE_CLIP = 0.2, 0.5  # target policy smoothing (TD3, 1802.09477, section 5.3)
POLICY_PERIOD = 2  # critic updates per update of the policy and of all averages


class Draws(NamedTuple):
    """All the randomness of one update."""

    smoothing: chex.Array  # [B, A] standard normal
    critics: chex.Array | None  # see `edp.draw_critics`


def make_update(config: AlgorithmConfig, actor: networks.Network, critics: networks.Network):
    """The update as a deterministic function (state, batch, hypers, draws) -> (state, metrics)."""

    def update(
        state: AgentState, batch: Transition, hypers: Hypers, draws: Draws
    ) -> tuple[AgentState, Metrics]:
        opt = base.optimizer(config, hypers, state.step)
        tau = jnp.where((state.step + 1) % POLICY_PERIOD == 0, hypers.tau, 0.0)
        noise = jnp.clip(TARGET_NOISE * draws.smoothing, -NOISE_CLIP, NOISE_CLIP)
        next_action = actor.apply(state.actor.target_params, batch.next_observation) + noise
        next_action = jnp.clip(next_action, -ACTION_BOUND, ACTION_BOUND)
        target_params = edp.take_critics(state.critic.target_params, draws.critics)
        next_q = jnp.min(critics.apply(target_params, batch.next_observation, next_action), axis=0)
        target = losses.td_target(batch.reward, hypers.discount * batch.discount, next_q)
        critic = edp.critic_step(critics, state.critic, batch, target, opt, hypers.replace(tau=tau))
        guide_params = edp.take_critics(critic[0].params, jnp.array([0]))

        def policy_loss(params):
            action = actor.apply(params, batch.observation)
            q = critics.apply(guide_params, batch.observation, action)[0]
            guidance, cloning = (
                losses.td3_guidance_loss(q, hypers.eta),
                jnp.mean(jnp.square(action - batch.action)),
            )
            return guidance + cloning, {
                "cloning_loss": cloning,
                "guidance_loss": guidance,
                "q_mean": jnp.mean(q),
            }

        new_actor, metrics = base.gradient_step(policy_loss, state.actor, opt)
        new_actor = base.update_target(new_actor, tau)
        new_actor = jax.tree.map(
            lambda new, old: jnp.where(tau > 0, new, old), new_actor, state.actor
        )
        return edp.finish(state, critic=critic, actor=(new_actor, metrics))

    return update


def make(config: AlgorithmConfig, spec: TaskSpec) -> Algorithm:
    """TD3+BC, eta its alpha. The published one acts with the newest policy; this one, as all learners here, with the average."""
    actor = networks.make_actor(spec, config.hidden_dims, config.activation)
    critics = edp.make_critics(config, spec)

    def draw(key: chex.PRNGKey, params: networks.Params, batch: Transition) -> Draws:
        del params
        smoothing_key, critics_key = jax.random.split(key)
        return Draws(
            jax.random.normal(smoothing_key, batch.action.shape),
            edp.draw_critics(critics_key, config),
        )

    def act(
        params: dict[str, networks.Params], observation: chex.Array, key: chex.PRNGKey
    ) -> chex.Array:
        del key
        return actor.apply(params["actor"], observation)

    init, update = edp.make_init(config, actor, critics), make_update(config, actor, critics)
    return Algorithm(init, draw, update, act, draws_ahead=base.draws_ahead(config))
