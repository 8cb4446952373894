"""EDP with BCQ (1812.02900): a diffusion policy clones the dataset, critics choose among its actions. Generate and select."""

from typing import NamedTuple

import chex
import jax

from edp_jax import losses, networks
from edp_jax.algorithms import base, edp
from edp_jax.algorithms.base import AgentState, Algorithm, AlgorithmConfig, Hypers, Metrics
from edp_jax.policy import Corruption, DiffusionPolicy
from edp_jax.types import TaskSpec, Transition

MIN_WEIGHT = 0.75  # of the smaller value in the targets (BCQ, section 4)


class Draws(NamedTuple):
    """All the randomness of one update."""

    corruption: Corruption
    target: edp.TargetDraws


def make_update(config: AlgorithmConfig, policy: DiffusionPolicy, critics: networks.Network):
    """The update as a deterministic function (state, batch, hypers, draws) -> (state, metrics)."""

    def update(
        state: AgentState, batch: Transition, hypers: Hypers, draws: Draws
    ) -> tuple[AgentState, Metrics]:
        opt = base.optimizer(config, hypers, state.step)
        next_q = losses.bcq_value(
            edp.next_q_values(critics, state, batch, draws.target), MIN_WEIGHT
        )
        target = losses.td_target(batch.reward, hypers.discount * batch.discount, next_q)
        critic = edp.critic_step(critics, state.critic, batch, target, opt, hypers)
        actor = edp.policy_step(
            config, policy, state, batch, draws.corruption, edp.imitation(config), opt, hypers
        )
        return edp.finish(state, critic=critic, actor=actor)

    return update


def make(config: AlgorithmConfig, spec: TaskSpec) -> Algorithm:
    """EDP-BCQ; the targets choose among `num_backup_actions`, acting among `num_candidates`."""
    policy, critics = edp.make_diffusion_policy(config, spec), edp.make_critics(config, spec)

    def draw(key: chex.PRNGKey, params: networks.Params, batch: Transition) -> Draws:
        corruption_key, target_key = jax.random.split(key)
        corruption = policy.draw(corruption_key, batch.action)
        return Draws(corruption, edp.draw_targets(target_key, config, policy, params, batch))

    return Algorithm(
        init=edp.make_init(config, policy.network, critics),
        draw=draw,
        update=make_update(config, policy, critics),
        act=edp.make_act(config, policy, critics, spec),
        draws_ahead=base.draws_ahead(config),
    )
