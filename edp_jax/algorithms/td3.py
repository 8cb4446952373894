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
    target: edp.TargetDraws
    guide: chex.Array  # [] index of the critic that guides the policy


def draw(key: chex.PRNGKey, config: AlgorithmConfig, policy: DiffusionPolicy, batch: Transition) -> Draws:
    corruption_key, target_key, guide_key = jax.random.split(key, 3)
    return Draws(
        corruption=edp.draw_corruption(corruption_key, policy.schedule, batch.action),
        target=edp.draw_targets(target_key, config, batch.action),
        guide=jax.random.randint(guide_key, (), 0, config.num_critics),
    )


def make_update(config: AlgorithmConfig, policy: DiffusionPolicy, critics: networks.Network):
    """The update as a deterministic function (state, batch, hypers, draws) -> (state, metrics)."""

    def update(state: AgentState, batch: Transition, hypers: Hypers, draws: Draws) -> tuple[AgentState, Metrics]:
        opt = base.optimizer(config, hypers, state.step)
        target = edp.double_q_target(policy, critics, state, batch, hypers, draws.target)
        guide_params = jax.tree.map(lambda p: p[draws.guide][None], state.critic.params)

        def guidance(action):
            q = critics.apply(guide_params, batch.observation, action)[0]
            return losses.td3_guidance_loss(q, hypers.eta), {"q_mean": jnp.mean(q)}

        critic = edp.critic_step(critics, state.critic, batch, target, opt, hypers)
        actor = edp.policy_step(config, policy, state, batch, draws.corruption, guidance, opt, hypers)
        return edp.finish(state, critic=critic, actor=actor)

    return update


def make(config: AlgorithmConfig, spec: TaskSpec) -> Algorithm:
    """EDP-TD3. The policy is guided by one critic, drawn anew for every update, as it was before the update."""
    policy, critics = edp.make_policy(config, spec), edp.make_critics(config, spec)
    update = make_update(config, policy, critics)

    def update_step(state: AgentState, batch: Transition, hypers: Hypers) -> tuple[AgentState, Metrics]:
        return update(state, batch, hypers, draw(base.update_key(state), config, policy, batch))

    return Algorithm(edp.make_init(config, policy, critics), update_step, edp.make_act(config, policy, critics, spec))
