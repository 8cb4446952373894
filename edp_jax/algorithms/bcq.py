"""EDP with BCQ (1812.02900): a diffusion policy clones the dataset, critics choose its actions."""

from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
from flax import struct

from edp_jax import losses, networks
from edp_jax.algorithms import base, edp, groups, ways
from edp_jax.algorithms.base import AgentState, Algorithm, Metrics
from edp_jax.policy import Corruption, DiffusionPolicy
from edp_jax.settings import redefined
from edp_jax.types import TaskSpec, Transition

MIN_WEIGHT = 0.75  # of the smaller value in the targets (BCQ, section 4)


@struct.dataclass
class EDPBCQ(
    groups.Selection,
    groups.Diffusion,
    groups.SampledBackup,
    groups.Critics,
    groups.Average,
    groups.Networks,
    groups.Optimization,
):
    """Settings of EDP-BCQ, which always takes the best of its candidates."""

    num_backup_actions: int = redefined(groups.Backup, "num_backup_actions", 10)
    sampler_calls: int = redefined(groups.Diffusion, "sampler_calls", 5)
    num_candidates: int = redefined(groups.Selection, "num_candidates", 100)
    selection_temperature: float = redefined(groups.Selection, "selection_temperature", 0.0)


class Draws(NamedTuple):
    """All random numbers of one update."""

    corruption: Corruption
    target: edp.TargetDraws


def make_draw(
    settings: Any, policy: DiffusionPolicy
) -> Callable[[chex.PRNGKey, networks.Params, Transition], Draws]:
    """Builds draw(key, averaged actor, batch) -> Draws; of settings with `groups.SampledBackup`."""
    sampled = edp.target_policy(settings, policy)

    def draw(key: chex.PRNGKey, params: networks.Params, batch: Transition) -> Draws:
        corruption_key, target_key = jax.random.split(key)
        corruption = policy.draw(corruption_key, batch.action)
        return Draws(corruption, edp.draw_targets(target_key, settings, sampled, params, batch))

    return draw


def make_update(
    policy: DiffusionPolicy, critics: networks.Network
) -> Callable[[AgentState, Transition, EDPBCQ, Draws], tuple[AgentState, Metrics]]:
    """Builds the update as a deterministic function of its random numbers."""

    def update(
        state: AgentState, batch: Transition, settings: EDPBCQ, draws: Draws
    ) -> tuple[AgentState, Metrics]:
        opt, critic = base.optimizer(settings, state.step), state.networks["critic"]
        next_q = edp.next_q_values(critics, critic, batch, draws.target)
        next_value = losses.bcq_value(next_q, MIN_WEIGHT)
        target = losses.td_target(batch.reward, settings.discount * batch.discount, next_value)
        new_critic = edp.critic_step(critics, critic, batch, target, opt, settings.tau)
        new_actor = edp.policy_step(
            settings, policy, state, batch, draws.corruption, edp.cloning(policy, batch), opt
        )
        return base.finish(state, critic=new_critic, actor=new_actor)

    return update


def make(settings: EDPBCQ, spec: TaskSpec) -> Algorithm:
    """EDP-BCQ: targets choose among `num_backup_actions`, acting among `num_candidates`."""
    policy, critics = edp.diffusion_policy(settings, spec), edp.make_critics(settings, spec)
    return Algorithm(
        settings=settings,
        init=base.make_init(settings, {"actor": policy.network, "critic": critics}),
        draw=make_draw(settings, policy),
        update=make_update(policy, critics),
        act=ways.by_choice(settings, ways.acting_policy(settings, policy), critics, spec),
        draw_params=edp.averaged_actor,
        policy_params=edp.averaged_actor_and_critic,
        draws_ahead=base.draws_ahead(settings),
    )
