"""IQL (2110.06169): values that are learned from the dataset's actions alone.

With a diffusion policy it is EDP-IQL (EDP, 2305.20081, section 4.2), with a Gaussian one that
paper's feed-forward baseline.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
from flax import struct

from edp_jax import losses, networks
from edp_jax.acting import Acting
from edp_jax.algorithms import base, edp, groups, ways
from edp_jax.algorithms.base import AgentState, Algorithm, Metrics
from edp_jax.policy import Policy, Prediction
from edp_jax.settings import redefined, setting
from edp_jax.types import Array, TaskSpec, Transition

WEIGHT_CAP = 100.0  # IQL, App. A


@struct.dataclass
class Expectile:
    """IQL's value regression."""

    expectile: float = setting(
        0.7,
        "of the value regression: 0.5 is the mean, towards 1 the best action's value",
        at_least=0,
        at_most=1,
        traced=True,
    )


@struct.dataclass
class AdvantageWeight:
    """The weight of an action in IQL's policy."""

    inverse_temperature: float = setting(
        3.0, "factor of the advantage in an action's weight, per unit of Q", above=0, traced=True
    )


@struct.dataclass
class EDPIQL(
    groups.Selection,
    groups.Likelihood,
    groups.Diffusion,
    AdvantageWeight,
    Expectile,
    groups.Critics,
    groups.Average,
    groups.Networks,
    groups.Optimization,
):
    """Settings of EDP-IQL."""


@struct.dataclass
class GaussianIQL(
    AdvantageWeight,
    Expectile,
    groups.Critics,
    groups.Average,
    groups.FeedForward,
    groups.Optimization,
):
    """Settings of IQL as published, with its Gaussian policy; the newest policy acts.

    Two things differ from the publication: the learning rate does not decay, and the policy has no
    dropout (0.1 in the public code on hand and kitchen).
    """

    grad_clip: float = redefined(groups.Optimization, "grad_clip", 0.0)
    ema_period: int = redefined(groups.Average, "ema_period", 1)
    ema_start: int = redefined(groups.Average, "ema_start", 2**31 - 1)


class Draws(NamedTuple):
    """All random numbers of one update."""

    prediction: Any  # made by `policy.draw`
    critics: Array | None  # see `edp.draw_critics`


class Judgement(NamedTuple):
    """What the critics say about a batch's actions, before they learn from it."""

    advantage: Array  # [B] Q(s, a) - V(s)
    td_error: Array  # [B] r + gamma V(s') - Q(s, a)
    q: Callable[[Array], Array]  # other actions [B, A] at the same observations -> Q [B]


# (judgement of the batch's actions, batch, settings, random numbers of the policy's prediction,
# state before the update) -> what the policy is trained on
MakeGuidance = Callable[[Judgement, Transition, Any, Any, AgentState], edp.Guidance]


def advantage_weighted(
    judgement: Judgement,
    batch: Transition,
    settings: AdvantageWeight,
    draws: Any,
    state: AgentState,
) -> edp.Guidance:
    """IQL's policy: the dataset's actions become likely, the better ones more (IQL, Eq. 7)."""
    del draws, state
    advantage = judgement.advantage
    weight = losses.exponential_weight(advantage, settings.inverse_temperature, WEIGHT_CAP)

    def guidance(params: networks.Params, prediction: Prediction) -> tuple[Array, Metrics]:
        del params
        loss = losses.weighted_likelihood_loss(weight, prediction.log_likelihood, batch.has_value)
        means: Metrics = {
            "advantage_mean": jnp.mean(advantage),
            "weight_mean": jnp.mean(weight),
        }
        return loss, means

    return guidance


def make_update(
    policy: Policy,
    critics: networks.Network,
    value: networks.Network,
    make_guidance: MakeGuidance = advantage_weighted,
) -> Callable[[AgentState, Transition, Any, Draws], tuple[AgentState, Metrics]]:
    """Builds the update as a deterministic function of its random numbers.

    V is updated first, on the averaged critics. Policy and critics follow, with the new V.
    """

    def update(
        state: AgentState, batch: Transition, settings: Any, draws: Draws
    ) -> tuple[AgentState, Metrics]:
        opt, critic = base.optimizer(settings, state.step), state.networks["critic"]
        target_params = edp.take_critics(critic.target_params, draws.critics)

        def q_of(action: Array) -> Array:
            return jnp.min(critics.apply(target_params, batch.observation, action), axis=0)

        q = q_of(batch.action)

        def value_loss(params: networks.Params) -> tuple[Array, Metrics]:
            v = value.apply(params, batch.observation)
            loss = losses.expectile_loss(q - v, settings.expectile, batch.teaches_value)
            return loss, {"v_mean": jnp.mean(v)}

        new_value, value_metrics = base.gradient_step(value_loss, state.networks["value"], opt)
        next_v = value.apply(new_value.params, batch.next_observation)
        target = losses.td_target(batch.reward, settings.discount * batch.discount, next_v)
        advantage = q - value.apply(new_value.params, batch.observation)
        judgement = Judgement(advantage, target - q, q_of)
        guidance = make_guidance(judgement, batch, settings, draws.prediction, state)
        new_actor = edp.policy_step(settings, policy, state, batch, draws.prediction, guidance, opt)
        new_critic = edp.critic_step(critics, critic, batch, target, opt, settings.tau)
        return base.finish(
            state, critic=new_critic, value=(new_value, value_metrics), actor=new_actor
        )

    return update


def make_edp(settings: EDPIQL, spec: TaskSpec) -> Algorithm:
    """EDP-IQL; acts by a choice among samples."""
    policy = edp.diffusion_policy(settings, spec, settings.likelihood)
    critics = edp.make_critics(settings, spec)
    act = ways.by_choice(settings, ways.acting_policy(settings, policy), critics, spec)
    return assemble(settings, spec, policy, critics, act, edp.averaged_actor_and_critic)


def make_gaussian(settings: GaussianIQL, spec: TaskSpec) -> Algorithm:
    """IQL with a Gaussian policy; acts with its mean."""
    policy = edp.gaussian_policy(settings, spec)
    critics = edp.make_critics(settings, spec)
    return assemble(
        settings, spec, policy, critics, ways.by_mean(policy.network), edp.averaged_actor
    )


def make_value(settings: Any, spec: TaskSpec) -> networks.Network:
    """V, of the same size as the critics."""
    return networks.make_value(
        spec, settings.hidden_dims, settings.activation, settings.critic_layer_norm
    )


def assemble(
    settings: Any,
    spec: TaskSpec,
    policy: Policy,
    critics: networks.Network,
    act: Acting,
    policy_params: Callable[[AgentState], Any],
    make_guidance: MakeGuidance = advantage_weighted,
) -> Algorithm:
    """Puts a learner together whose V and Q are trained as in IQL.

    `make_guidance` says what its policy is trained on, `act` how it acts.
    """
    value = make_value(settings, spec)

    def draw(key: chex.PRNGKey, params: networks.Params, batch: Transition) -> Draws:
        del params
        prediction_key, critics_key = jax.random.split(key)
        prediction = policy.draw(prediction_key, batch.action)
        return Draws(prediction, edp.draw_critics(critics_key, settings))

    parts = {"actor": policy.network, "critic": critics, "value": value}
    return Algorithm(
        settings=settings,
        init=base.make_init(settings, parts, without_average=("value",)),
        draw=draw,
        update=make_update(policy, critics, value, make_guidance),
        act=act,
        draw_params=edp.averaged_actor,
        policy_params=policy_params,
        draws_ahead=base.draws_ahead(settings),
    )
