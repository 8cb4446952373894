"""EDP with TD3 (EDP, 2305.20081, section 4.2).

The critics learn by clipped double Q-learning. The policy is guided by the value that one of them
gives to the approximated action a0_hat. At much noise a0_hat lies between the modes of the data;
`guidance_power` lets it count less there.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
from flax import struct

from edp_jax import diffusion, losses, networks
from edp_jax.algorithms import base, edp, groups, ways
from edp_jax.algorithms.base import AgentState, Algorithm, Metrics
from edp_jax.policy import Corruption, DiffusionPolicy, Prediction
from edp_jax.settings import setting
from edp_jax.types import Array, TaskSpec, Transition


@struct.dataclass
class Guided:
    """Policy improvement by the gradient of the critics."""

    eta: float = setting(
        1.0, "weight of the guidance by the critics against imitation", at_least=0, traced=True
    )


@struct.dataclass
class GuidedDiffusion(
    groups.Selection,
    groups.Diffusion,
    Guided,
    groups.SampledBackup,
    groups.Critics,
    groups.Average,
    groups.Networks,
    groups.Optimization,
):
    """Settings of a diffusion policy that follows the gradient of the critics."""


@struct.dataclass
class EDPTD3(GuidedDiffusion):
    """Settings of EDP-TD3."""

    guidance_power: float = setting(
        0.0,
        "the guidance at timestep k counts as abar_k to this power; 0: every timestep alike, as "
        "published",
        at_least=0,
    )


class Draws(NamedTuple):
    """All random numbers of one update."""

    corruption: Corruption
    target: edp.TargetDraws
    guide: Array  # [] index of the critic that guides the policy
    other: Any = None  # what a variant of this learner draws besides


# A variant of this learner may draw more: (key, batch) -> other.
DrawOther = Callable[[chex.PRNGKey, Transition], Any]

# It may guide another action than a0_hat: (actor's parameters, batch, other) -> action [B, A].
GuidedAction = Callable[[networks.Params, Transition, Any], Array]

# It may add to the critics' loss: (their parameters, their values q [C, B]) -> (loss [], metrics),
# made of (batch, the policy's prediction, settings, other).
Regularizer = Callable[[networks.Params, Array], tuple[Array, Metrics]]
MakeRegularizer = Callable[[Transition, Prediction, Any, Any], Regularizer]


def make_draw(
    settings: GuidedDiffusion, policy: DiffusionPolicy, draw_other: DrawOther | None = None
) -> Callable[[chex.PRNGKey, networks.Params, Transition], Draws]:
    """Builds draw(key, averaged actor, batch) -> Draws."""
    sampled = edp.target_policy(settings, policy)

    def draw(key: chex.PRNGKey, params: networks.Params, batch: Transition) -> Draws:
        corruption_key, target_key, guide_key, other_key = jax.random.split(key, 4)
        return Draws(
            corruption=policy.draw(corruption_key, batch.action),
            target=edp.draw_targets(target_key, settings, sampled, params, batch),
            guide=jax.random.randint(guide_key, (), 0, settings.num_critics),
            other=None if draw_other is None else draw_other(other_key, batch),
        )

    return draw


def guidance_weights(
    schedule: diffusion.NoiseSchedule, t: Array, power: float, counts: Array | None
) -> Array | None:
    """The weight of each row in the guidance at a0_hat: small where its timestep has much noise.

    Args:
      schedule: noise schedule with K timesteps.
      t: [B] integer timesteps k in 0..K-1.
      power: p, at least 0.
      counts: [B], see `edp_jax.losses`.

    Returns:
      [B] abar_k^p counts; with p = 0 the counts as they are.
    """
    if power == 0:
        return counts
    weight = jnp.asarray(schedule.alphas_cumprod)[t] ** power
    return weight if counts is None else weight * counts


def make_update(
    policy: DiffusionPolicy,
    critics: networks.Network,
    guided_action: GuidedAction | None = None,
    make_regularizer: MakeRegularizer | None = None,
) -> Callable[[AgentState, Transition, Any, Draws], tuple[AgentState, Metrics]]:
    """Builds the update as a deterministic function of its random numbers.

    Its settings are `EDPTD3`'s, or with another `guided_action` those of `GuidedDiffusion`.
    """

    def update(
        state: AgentState, batch: Transition, settings: Any, draws: Draws
    ) -> tuple[AgentState, Metrics]:
        opt = base.optimizer(settings, state.step)
        actor, critic = state.networks["actor"], state.networks["critic"]
        target = edp.double_q_target(critics, critic, batch, settings.discount, draws.target)
        guide_params = edp.take_critics(critic.params, draws.guide[None])

        def guidance(params: networks.Params, prediction: Prediction) -> tuple:
            if guided_action is None:
                t, power = draws.corruption.timestep, settings.guidance_power
                counts = guidance_weights(policy.schedule, t, power, batch.has_value)
                action = prediction.action
            else:
                action, counts = guided_action(params, batch, draws.other), batch.has_value
            q = critics.apply(guide_params, batch.observation, action)[0]
            loss = losses.td3_guidance_loss(q, settings.eta, counts)
            return loss, {"q_mean": jnp.mean(q)}

        regularizer = None
        if make_regularizer is not None:
            prediction = policy.predict(actor.params, batch, draws.corruption)
            regularizer = make_regularizer(batch, prediction, settings, draws.other)
        new_critic = edp.critic_step(critics, critic, batch, target, opt, settings.tau, regularizer)
        new_actor = edp.policy_step(settings, policy, state, batch, draws.corruption, guidance, opt)
        return base.finish(state, critic=new_critic, actor=new_actor)

    return update


def make(settings: EDPTD3, spec: TaskSpec) -> Algorithm:
    """EDP-TD3. One critic, drawn anew for every update, guides the policy, as it was before it."""
    policy, critics = edp.diffusion_policy(settings, spec), edp.make_critics(settings, spec)
    return assemble(
        settings, spec, policy, critics, make_draw(settings, policy), make_update(policy, critics)
    )


def assemble(
    settings: GuidedDiffusion,
    spec: TaskSpec,
    policy: DiffusionPolicy,
    critics: networks.Network,
    draw: Callable[..., Draws],
    update: Callable[..., tuple[AgentState, Metrics]],
) -> Algorithm:
    """A learner with a diffusion policy that the critics choose actions of."""
    return Algorithm(
        settings=settings,
        init=base.make_init(settings, {"actor": policy.network, "critic": critics}),
        draw=draw,
        update=update,
        act=ways.by_choice(settings, ways.acting_policy(settings, policy), critics, spec),
        draw_params=edp.averaged_actor,
        policy_params=edp.averaged_actor_and_critic,
        draws_ahead=base.draws_ahead(settings),
    )
