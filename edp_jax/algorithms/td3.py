"""EDP with TD3 (EDP section 4.2): clipped double Q-learning, guidance by the value of the approximated action."""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from edp_jax import losses, networks
from edp_jax.algorithms import base, edp
from edp_jax.algorithms.base import AgentState, Algorithm, AlgorithmConfig, Hypers, Metrics
from edp_jax.policy import DiffusionPolicy
from edp_jax.types import TaskSpec, Transition


class Draws(NamedTuple):
    """All the randomness of one update."""

    corruption: edp.Corruption
    target_x_T: chex.Array  # [M, B, A] noise the target actions start from, M = num_backup_actions
    target_key: chex.PRNGKey  # used by stochastic samplers
    guide: chex.Array  # [] index of the critic that guides the policy


def draw(key: chex.PRNGKey, config: AlgorithmConfig, policy: DiffusionPolicy, batch: Transition) -> Draws:
    corruption_key, x_T_key, target_key, guide_key = jax.random.split(key, 4)
    return Draws(
        corruption=edp.draw_corruption(corruption_key, policy.schedule, batch.action),
        target_x_T=jax.random.normal(x_T_key, (config.num_backup_actions, *batch.action.shape)),
        target_key=target_key,
        guide=jax.random.randint(guide_key, (), 0, config.num_critics),
    )


def make_update(config: AlgorithmConfig, policy: DiffusionPolicy, critics: networks.Network):
    """The update as a deterministic function (state, batch, hypers, draws) -> (state, metrics)."""

    def target_q(state: AgentState, batch: Transition, hypers: Hypers, draws: Draws) -> chex.Array:
        """min_i max_m Q'_i(s', a'_m), a'_m ~ the averaged policy's sampling chain -> TD target [B]."""
        next_action = policy.sample(state.actor.target_params, batch.next_observation, draws.target_x_T, draws.target_key)
        next_q = critics.apply(state.critic.target_params, batch.next_observation, next_action)  # [N, M, B]
        next_q = jnp.min(jnp.max(next_q, axis=1), axis=0)
        return losses.td_target(batch.reward, hypers.discount * batch.discount, next_q)

    def update(state: AgentState, batch: Transition, hypers: Hypers, draws: Draws) -> tuple[AgentState, Metrics]:
        opt = base.optimizer(config, hypers, state.step)
        step = state.step + 1
        target = target_q(state, batch, hypers, draws)
        guide_params = jax.tree.map(lambda p: p[draws.guide][None], state.critic.params)

        def critic_loss(params):
            q = critics.apply(params, batch.observation, batch.action)
            return losses.critic_loss(q, target), {"q_mean": jnp.mean(q), "q_max": jnp.max(q), "target_mean": jnp.mean(target)}

        def guidance(action):
            q = critics.apply(guide_params, batch.observation, action)[0]
            return losses.td3_guidance_loss(q, hypers.eta), {"q_mean": jnp.mean(q)}

        def policy_loss(params):
            return edp.policy_loss(params, policy, batch, draws.corruption, guidance)

        critic, critic_metrics = base.gradient_step(critic_loss, state.critic, opt, ensemble=True)
        actor, actor_metrics = base.gradient_step(policy_loss, state.actor, opt)
        state = state.replace(
            step=step,
            actor=edp.average_policy(config, hypers, actor, step),
            critic=base.update_target(critic, hypers.tau),
        )
        return state, base.prefixed("critic", critic_metrics) | base.prefixed("actor", actor_metrics)

    return update


def make(config: AlgorithmConfig, spec: TaskSpec) -> Algorithm:
    """EDP-TD3. The policy is guided by one critic, drawn anew for every update, as it was before the update."""
    policy = edp.make_policy(config, spec)
    critics = edp.make_critics(config, spec)
    update = make_update(config, policy, critics)

    def init(key: chex.PRNGKey) -> AgentState:
        actor_key, critic_key, state_key = jax.random.split(key, 3)
        opt = base.optimizer(config, Hypers())
        actor = base.init_train_state(policy.network.init(actor_key), opt)
        critic = base.init_train_state(critics.init(critic_key), opt, ensemble=True)
        return edp.init_state(state_key, actor, critic)

    def update_step(state: AgentState, batch: Transition, hypers: Hypers) -> tuple[AgentState, Metrics]:
        return update(state, batch, hypers, draw(base.update_key(state), config, policy, batch))

    return Algorithm(init, update_step, edp.make_act(config, policy, critics, spec))
