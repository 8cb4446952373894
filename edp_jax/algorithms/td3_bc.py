"""TD3+BC (2106.06860): a deterministic feed-forward policy, the paper's "FF" column of TD3."""

from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
from flax import struct

from edp_jax import losses, networks
from edp_jax.algorithms import base, edp, groups, td3, ways
from edp_jax.algorithms.base import AgentState, Algorithm, Metrics
from edp_jax.policy import ACTION_BOUND
from edp_jax.settings import redefined
from edp_jax.types import Array, TaskSpec, Transition

TARGET_NOISE, NOISE_CLIP = 0.2, 0.5  # target policy smoothing (TD3, 1802.09477, section 5.3)
POLICY_PERIOD = 2  # updates of the critics per update of the policy and of all averages


@struct.dataclass
class TD3BC(td3.Guided, groups.Critics, groups.FeedForward, groups.Optimization):
    """Settings of TD3+BC as published; eta is its alpha."""

    eta: float = redefined(td3.Guided, "eta", 2.5)
    grad_clip: float = redefined(groups.Optimization, "grad_clip", 0.0)
    tau: float = redefined(groups.Average, "tau", 0.005)


class Draws(NamedTuple):
    """All random numbers of one update."""

    smoothing: Array  # [B, A] standard normal
    critics: Array | None  # see `edp.draw_critics`


def make_update(
    actor: networks.Network, critics: networks.Network
) -> Callable[[AgentState, Transition, TD3BC, Draws], tuple[AgentState, Metrics]]:
    """Builds the update as a deterministic function of its random numbers."""

    def update(
        state: AgentState, batch: Transition, settings: TD3BC, draws: Draws
    ) -> tuple[AgentState, Metrics]:
        opt = base.optimizer(settings, state.step)
        old_actor, critic = state.networks["actor"], state.networks["critic"]
        moves = (state.step + 1) % POLICY_PERIOD == 0
        tau = jnp.where(moves, settings.tau, 0.0)

        noise = jnp.clip(TARGET_NOISE * draws.smoothing, -NOISE_CLIP, NOISE_CLIP)
        next_action = actor.apply(old_actor.target_params, batch.next_observation) + noise
        next_action = jnp.clip(next_action, -ACTION_BOUND, ACTION_BOUND)
        target_params = edp.take_critics(critic.target_params, draws.critics)
        next_q = jnp.min(critics.apply(target_params, batch.next_observation, next_action), axis=0)
        target = losses.td_target(batch.reward, settings.discount * batch.discount, next_q)
        new_critic = edp.critic_step(critics, critic, batch, target, opt, tau)
        guide_params = edp.take_critics(new_critic[0].params, jnp.array([0]))

        def policy_loss(params: networks.Params) -> tuple[Array, Metrics]:
            action = actor.apply(params, batch.observation)
            q = critics.apply(guide_params, batch.observation, action)[0]
            guidance = losses.td3_guidance_loss(q, settings.eta, batch.has_value)
            cloning = losses.mean(jnp.square(action - batch.action), batch.recorded)
            parts = {"cloning_loss": cloning, "guidance_loss": guidance, "q_mean": jnp.mean(q)}
            return guidance + cloning, parts

        new_actor, metrics = base.gradient_step(policy_loss, old_actor, opt)
        new_actor = base.update_target(new_actor, tau)
        new_actor = jax.tree.map(lambda new, old: jnp.where(moves, new, old), new_actor, old_actor)
        return base.finish(state, critic=new_critic, actor=(new_actor, metrics))

    return update


def make(settings: TD3BC, spec: TaskSpec) -> Algorithm:
    """TD3+BC, acting with the averaged policy; the published one acts with the newest."""
    actor = networks.make_actor(spec, settings.hidden_dims, settings.activation)
    critics = edp.make_critics(settings, spec)

    def draw(key: chex.PRNGKey, params: networks.Params, batch: Transition) -> Draws:
        del params
        smoothing_key, critics_key = jax.random.split(key)
        smoothing = jax.random.normal(smoothing_key, batch.action.shape)
        return Draws(smoothing, edp.draw_critics(critics_key, settings))

    return Algorithm(
        settings=settings,
        init=base.make_init(settings, {"actor": actor, "critic": critics}),
        draw=draw,
        update=make_update(actor, critics),
        act=ways.by_mean(actor),
        draw_params=edp.averaged_actor,
        policy_params=edp.averaged_actor,
        draws_ahead=base.MOST_AHEAD,  # `draw` looks at no parameters
    )
