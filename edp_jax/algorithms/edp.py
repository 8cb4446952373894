"""The parts that learners with a policy and critics are put together from.

Every EDP learner updates its policy in the same way: it adds noise to the dataset's actions, calls
the noise network once, and adds the learner's guidance to the denoising loss (EDP, 2305.20081,
Eq. 10). A Gaussian policy fits in as well; its prediction has no denoising loss.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from edp_jax import diffusion, losses, networks
from edp_jax.algorithms import base, groups
from edp_jax.algorithms.base import AgentState, Metrics, TrainState
from edp_jax.policy import (
    DiffusionPolicy,
    GaussianPolicy,
    Policy,
    Prediction,
)
from edp_jax.types import Array, InputError, TaskSpec, Transition

# (parameters, their prediction for the batch) -> (loss [] added to the denoising loss, metrics)
Guidance = Callable[[networks.Params, Prediction], tuple[Array, Metrics]]


def diffusion_policy(
    settings: Any, spec: TaskSpec, likelihood: str = "gaussian"
) -> DiffusionPolicy:
    """The policy that `groups.Diffusion` and `groups.Networks` describe.

    Raises:
      InputError: settings that a diffusion cannot have, such as more calls than timesteps.
    """
    schedule = diffusion.make_schedule(settings.schedule, settings.num_timesteps)
    sampler = _make_sampler(settings, schedule, settings.sampler_calls)
    network = networks.make_noise_net(spec, settings.hidden_dims, settings.activation)
    if likelihood == "learned_std":
        network = networks.with_log_std(network, spec.action_dim)
    return DiffusionPolicy(network, schedule, sampler, likelihood)


def target_policy(settings: Any, policy: DiffusionPolicy) -> DiffusionPolicy:
    """The policy as `groups.SampledBackup` and `groups.Diffusion` let it sample for targets.

    Raises:
      InputError: `target_calls` is more than there are timesteps.
    """
    policy, calls = policy._replace(dtype=settings.sampler_dtype), settings.target_calls
    if not calls or settings.sampler == diffusion.ONE_CALL:  # students sample no targets
        return policy
    if calls > (most := policy.schedule.num_timesteps):
        raise InputError(f"target_calls={calls} is more than num_timesteps={most}: use 0")
    return policy._replace(sampler=_make_sampler(settings, policy.schedule, calls))


def _make_sampler(
    settings: Any, schedule: diffusion.NoiseSchedule, calls: int
) -> diffusion.Sampler:
    eta = settings.ddim_eta if settings.sampler == "ddim" else None
    return diffusion.make_sampler(settings.sampler, schedule, calls, eta=eta)


def gaussian_policy(settings: groups.Networks, spec: TaskSpec) -> GaussianPolicy:
    """A Gaussian policy whose mean is a feed-forward network."""
    network = networks.make_actor(spec, settings.hidden_dims, settings.activation)
    return GaussianPolicy(networks.with_log_std(network, spec.action_dim))


def make_critics(settings: Any, spec: TaskSpec) -> networks.Network:
    """The ensemble of critics that `groups.Critics` and `groups.Networks` describe.

    Raises:
      InputError: `num_target_critics` is larger than the ensemble.
    """
    if settings.num_target_critics > settings.num_critics:
        raise InputError(
            f"num_target_critics={settings.num_target_critics} is more than "
            f"num_critics={settings.num_critics}: lower it, or use 0"
        )
    return networks.make_critics(
        spec,
        settings.num_critics,
        settings.hidden_dims,
        settings.activation,
        settings.critic_layer_norm,
    )


def draw_critics(key: chex.PRNGKey, settings: groups.Critics) -> Array | None:
    """Draws the critics whose smallest value is a target (REDQ, 2101.05982).

    Returns:
      Indices [num_target_critics]; None where all critics count.
    """
    if settings.num_target_critics in (0, settings.num_critics):
        return None
    return jax.random.permutation(key, settings.num_critics)[: settings.num_target_critics]


def take_critics(params: networks.Params, index: Array | None) -> networks.Params:
    """The parameters of some members of an ensemble, by index; all of them for None."""
    return params if index is None else jax.tree.map(lambda p: p[index], params)


class TargetDraws(NamedTuple):
    """The random numbers of the critics' target."""

    next_action: Array  # [M, B, A] actions of the averaged policy at the next observations
    critics: Array | None  # see `draw_critics`


def draw_targets(
    key: chex.PRNGKey, settings: Any, policy: Policy, params: networks.Params, batch: Transition
) -> TargetDraws:
    """Samples M = `num_backup_actions` actions per next observation, of the policy `params`.

    Of a diffusion policy, `policy` is its `target_policy`.
    """
    x_T_key, chain_key, critics_key = jax.random.split(key, 3)
    x_T = jax.random.normal(x_T_key, (settings.num_backup_actions, *batch.action.shape))
    next_action = policy.sample(params, batch.next_observation, x_T, chain_key)
    return TargetDraws(next_action, draw_critics(critics_key, settings))


def next_q_values(
    critics: networks.Network, critic: TrainState, batch: Transition, draws: TargetDraws
) -> Array:
    """Averaged critics' values Q'_i(s', a'_m) [C, M, B] of the next actions."""
    params = take_critics(critic.target_params, draws.critics)
    return critics.apply(params, batch.next_observation, draws.next_action)


def double_q_target(
    critics: networks.Network,
    critic: TrainState,
    batch: Transition,
    discount: Array | float,
    draws: TargetDraws,
) -> Array:
    """Clipped double Q-learning's target [B]: r + gamma min_i max_m Q'_i(s', a'_m).

    With one next action it is TD3's (1802.09477, Eq. 10), with several Diffusion-QL's max-Q backup.
    """
    next_q = jnp.min(jnp.max(next_q_values(critics, critic, batch, draws), axis=1), axis=0)
    return losses.td_target(batch.reward, discount * batch.discount, next_q)


def critic_step(
    critics: networks.Network,
    critic: TrainState,
    batch: Transition,
    target: Array,
    opt: optax.GradientTransformation,
    tau: Array | float,
    regularizer: Callable[[networks.Params, Array], tuple[Array, Metrics]] | None = None,
) -> tuple[TrainState, Metrics]:
    """Regresses every critic on target [B] and moves its average by tau.

    `regularizer(params, q [C, B]) -> (loss [], metrics)` adds to the loss.
    """

    def loss(params: networks.Params) -> tuple[Array, Metrics]:
        q = critics.apply(params, batch.observation, batch.action)
        metrics = {"q_mean": jnp.mean(q), "q_max": jnp.max(q), "target_mean": jnp.mean(target)}
        extra_loss, extra_metrics = (0.0, {}) if regularizer is None else regularizer(params, q)
        critic_loss = losses.critic_loss(q, target, batch.teaches_value)
        return critic_loss + extra_loss, metrics | extra_metrics

    critic, metrics = base.gradient_step(loss, critic, opt, ensemble=True)
    return base.update_target(critic, tau), metrics


def policy_step(
    settings: Any,
    policy: Policy,
    state: AgentState,
    batch: Transition,
    draws: Any,
    guidance: Guidance,
    opt: optax.GradientTransformation,
) -> tuple[TrainState, Metrics]:
    """One step of the network "actor" on denoising loss plus guidance, and of its average.

    Both come from one pass of the network (EDP Eq. 10); `draws` are made by `policy.draw`.
    """

    def loss(params: networks.Params) -> tuple[Array, Metrics]:
        prediction = policy.predict(params, batch, draws)
        denoising = losses.mean(prediction.denoising_loss, batch.has_action)
        guidance_loss, metrics = guidance(params, prediction)
        parts = {"denoising_loss": denoising, "guidance_loss": guidance_loss}
        return denoising + guidance_loss, parts | metrics

    actor, metrics = base.gradient_step(loss, state.networks["actor"], opt)
    return base.update_target(actor, base.policy_tau(settings, state.step + 1)), metrics


def cloning(policy: Policy, batch: Transition) -> Guidance:
    """The guidance of a policy that only clones the dataset."""
    return lambda params, prediction: (policy.cloning_loss(prediction, batch.has_action), {})


def averaged_actor(state: AgentState) -> networks.Params:
    """The averaged policy, which makes the critics' targets: `Algorithm.draw_params`."""
    return state.networks["actor"].target_params


def averaged_actor_and_critic(state: AgentState) -> dict[str, networks.Params]:
    """The averaged policy and critics, which act: `Algorithm.policy_params`."""
    return {name: state.networks[name].target_params for name in ("actor", "critic")}
