"""EDP with TD3 (EDP section 4.2): clipped double Q-learning, guidance by the value of the approximated action."""

from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from edp_jax import losses, networks
from edp_jax.algorithms import base, edp
from edp_jax.algorithms.base import AgentState, Algorithm, AlgorithmConfig, Hypers, Metrics
from edp_jax.policy import Corruption, DiffusionPolicy, Prediction
from edp_jax.types import TaskSpec, Transition


class Draws(NamedTuple):
    """All the randomness of one update."""

    corruption: Corruption
    target: edp.TargetDraws
    guide: chex.Array  # [] index of the critic that guides the policy
    key: chex.PRNGKey  # for what a variant of this learner draws besides


def draw(
    key: chex.PRNGKey,
    config: AlgorithmConfig,
    policy: DiffusionPolicy,
    params: networks.Params,
    batch: Transition,
) -> Draws:
    corruption_key, target_key, guide_key, other_key = jax.random.split(key, 4)
    return Draws(
        corruption=policy.draw(corruption_key, batch.action),
        target=edp.draw_targets(target_key, config, policy, params, batch),
        guide=jax.random.randint(guide_key, (), 0, config.num_critics),
        key=other_key,
    )


GuidedAction = Callable[[DiffusionPolicy, Transition, Prediction, chex.PRNGKey], chex.Array]
Regularizer = Callable[[networks.Params, chex.Array], tuple[chex.Array, Metrics]]
MakeRegularizer = Callable[
    [networks.Network, Transition, Prediction, Hypers, chex.PRNGKey], Regularizer
]


def approximated_action(
    policy: DiffusionPolicy, batch: Transition, prediction: Prediction, key: chex.PRNGKey
) -> chex.Array:
    """The action [B, A] that guidance improves: EDP's a0_hat, one network pass away from the parameters."""
    del policy, batch, key
    return prediction.action


def make_update(
    config: AlgorithmConfig,
    policy: DiffusionPolicy,
    critics: networks.Network,
    guided_action: GuidedAction = approximated_action,
    make_regularizer: MakeRegularizer | None = None,
):
    """The update as a deterministic function (state, batch, hypers, draws) -> (state, metrics)."""

    def update(
        state: AgentState, batch: Transition, hypers: Hypers, draws: Draws
    ) -> tuple[AgentState, Metrics]:
        opt = base.optimizer(config, hypers, state.step)
        target = edp.double_q_target(critics, state, batch, hypers, draws.target)
        guide_params = edp.take_critics(state.critic.params, draws.guide[None])

        def guidance(prediction):
            q = critics.apply(
                guide_params, batch.observation, guided_action(policy, batch, prediction, draws.key)
            )[0]
            return losses.td3_guidance_loss(q, hypers.eta), {"q_mean": jnp.mean(q)}

        regularizer = None
        if make_regularizer is not None:
            prediction = policy.predict(state.actor.params, batch, draws.corruption)
            regularizer = make_regularizer(critics, batch, prediction, hypers, draws.key)
        critic = edp.critic_step(critics, state.critic, batch, target, opt, hypers, regularizer)
        actor = edp.policy_step(
            config, policy, state, batch, draws.corruption, guidance, opt, hypers
        )
        return edp.finish(state, critic=critic, actor=actor)

    return update


def make(config: AlgorithmConfig, spec: TaskSpec, **variant) -> Algorithm:
    """EDP-TD3. The policy is guided by one critic, drawn anew for every update, as it was before the update.

    `variant`: `guided_action` or `make_regularizer` of a learner that differs from it there.
    """
    policy, critics = edp.make_diffusion_policy(config, spec), edp.make_critics(config, spec)
    return Algorithm(
        init=edp.make_init(config, policy.network, critics),
        draw=lambda key, params, batch: draw(key, config, policy, params, batch),
        update=make_update(config, policy, critics, **variant),
        act=edp.make_act(config, policy, critics, spec),
        draws_ahead=base.draws_ahead(config),
    )
