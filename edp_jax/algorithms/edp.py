"""The skeleton of every EDP learner: corrupt -> one network pass -> a0_hat -> denoising loss + guidance.

The pass itself is `policy.DiffusionPolicy.predict`. A Gaussian policy fits in, too: its prediction has no denoising loss.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from edp_jax import diffusion, losses, networks
from edp_jax.algorithms import base
from edp_jax.algorithms.base import AgentState, AlgorithmConfig, Metrics, TrainState
from edp_jax.policy import (
    LIKELIHOODS,
    DiffusionPolicy,
    GaussianPolicy,
    Policy,
    Prediction,
    select_by_energy,
    take_candidate,
)
from edp_jax.types import InputError, TaskSpec, Transition

Guidance = Callable[[Prediction], tuple[chex.Array, Metrics]]


def make_policy(config: AlgorithmConfig, spec: TaskSpec) -> Policy:
    """The policy that `config.policy` names.

    Raises:
      InputError: an unknown policy or likelihood, or settings that a diffusion cannot have.
    """
    if config.policy == "gaussian":
        actor = networks.make_actor(spec, config.hidden_dims, config.activation)
        return GaussianPolicy(networks.with_log_std(actor, spec.action_dim))
    if config.policy != "diffusion":
        raise InputError(f"policy {config.policy!r} is unknown: use diffusion or gaussian")
    if config.likelihood not in LIKELIHOODS:
        raise InputError(
            f"likelihood {config.likelihood!r} is unknown: use one of {', '.join(LIKELIHOODS)}"
        )
    schedule = diffusion.make_schedule(config.schedule, config.num_timesteps)
    sampler = diffusion.make_sampler(
        config.sampler, schedule, config.sampler_calls, eta=config.ddim_eta
    )
    network = networks.make_noise_net(spec, config.hidden_dims, config.activation)
    if config.likelihood == "learned_std":
        network = networks.with_log_std(network, spec.action_dim)
    return DiffusionPolicy(network, schedule, sampler, config.likelihood)


def make_diffusion_policy(config: AlgorithmConfig, spec: TaskSpec) -> DiffusionPolicy:
    """`make_policy` for a learner that only makes sense with a diffusion policy."""
    if config.policy != "diffusion":
        raise InputError(
            f"policy {config.policy!r} does not fit this algorithm: use diffusion (gaussian is for bc, crr and iql)"
        )
    return make_policy(config, spec)


def make_critics(config: AlgorithmConfig, spec: TaskSpec) -> networks.Network:
    """The critic ensemble.

    Raises:
      InputError: `num_target_critics` is larger than the ensemble.
    """
    if config.num_target_critics > config.num_critics:
        raise InputError(
            f"num_target_critics={config.num_target_critics} is more than num_critics={config.num_critics}: lower it, or use 0"
        )
    return networks.make_critics(
        spec, config.num_critics, config.hidden_dims, config.activation, config.critic_layer_norm
    )


def draw_critics(key: chex.PRNGKey, config: AlgorithmConfig) -> chex.Array | None:
    """Indices of the critics whose minimum is a target, drawn anew for every update (REDQ, 2101.05982); None: all of them."""
    if config.num_target_critics in (0, config.num_critics):
        return None
    return jax.random.permutation(key, config.num_critics)[: config.num_target_critics]


def take_critics(params: networks.Params, index: chex.Array | None) -> networks.Params:
    """The members `index` of an ensemble's parameters."""
    return params if index is None else jax.tree.map(lambda p: p[index], params)


class TargetDraws(NamedTuple):
    """The randomness of the target."""

    next_action: chex.Array  # [M, B, A] ~ the averaged policy at s', M = num_backup_actions
    critics: chex.Array | None  # see `draw_critics`


def draw_targets(
    key: chex.PRNGKey,
    config: AlgorithmConfig,
    policy: Policy,
    params: networks.Params,
    batch: Transition,
) -> TargetDraws:
    """Runs the averaged policy's sampling chain at the next observations."""
    x_T_key, chain_key, critics_key = jax.random.split(key, 3)
    x_T = jax.random.normal(x_T_key, (config.num_backup_actions, *batch.action.shape))
    return TargetDraws(
        policy.sample(params, batch.next_observation, x_T, chain_key),
        draw_critics(critics_key, config),
    )


def next_q_values(
    critics: networks.Network, state: AgentState, batch: Transition, draws: TargetDraws
) -> chex.Array:
    """Q'_i(s', a'_m) [N, M, B]."""
    params = take_critics(state.critic.target_params, draws.critics)
    return critics.apply(params, batch.next_observation, draws.next_action)


def double_q_target(
    critics: networks.Network,
    state: AgentState,
    batch: Transition,
    hypers: base.Hypers,
    draws: TargetDraws,
) -> chex.Array:
    """TD target [B] on min_i max_m Q'_i(s', a'_m) (TD3, 1802.09477, Eq. 10; with M > 1 Diffusion-QL's max-Q backup)."""
    next_q = jnp.min(jnp.max(next_q_values(critics, state, batch, draws), axis=1), axis=0)
    return losses.td_target(batch.reward, hypers.discount * batch.discount, next_q)


def critic_step(
    critics: networks.Network,
    critic: TrainState,
    batch: Transition,
    target: chex.Array,
    opt: optax.GradientTransformation,
    hypers: base.Hypers,
    regularizer: Callable[[networks.Params, chex.Array], tuple[chex.Array, Metrics]] | None = None,
) -> tuple[TrainState, Metrics]:
    """Regresses every critic on target [B] and moves the averages; `regularizer(params, q [N, B])` adds to the loss."""

    def loss(params):
        q = critics.apply(params, batch.observation, batch.action)
        metrics = {"q_mean": jnp.mean(q), "q_max": jnp.max(q), "target_mean": jnp.mean(target)}
        extra_loss, extra_metrics = (0.0, {}) if regularizer is None else regularizer(params, q)
        return losses.critic_loss(q, target) + extra_loss, metrics | extra_metrics

    critic, metrics = base.gradient_step(loss, critic, opt, ensemble=True)
    return base.update_target(critic, hypers.tau), metrics


def policy_loss(
    params: networks.Params, policy: Policy, batch: Transition, draws: Any, guidance: Guidance
) -> tuple[chex.Array, Metrics]:
    """Denoising loss plus the learner's guidance, both from one pass of the network (EDP Eq. 10)."""
    prediction = policy.predict(params, batch, draws)
    denoising = jnp.mean(prediction.denoising_loss)
    guidance_loss, metrics = guidance(prediction)
    return denoising + guidance_loss, {
        "denoising_loss": denoising,
        "guidance_loss": guidance_loss,
        **metrics,
    }


def policy_step(
    config: AlgorithmConfig,
    policy: Policy,
    state: AgentState,
    batch: Transition,
    draws: Any,
    guidance: Guidance,
    opt: optax.GradientTransformation,
    hypers: base.Hypers,
) -> tuple[TrainState, Metrics]:
    """One step on `policy_loss`, and of the policy's moving average."""

    def loss(params):
        return policy_loss(params, policy, batch, draws, guidance)

    actor, metrics = base.gradient_step(loss, state.actor, opt)
    return base.update_target(actor, base.policy_tau(config, hypers, state.step + 1)), metrics


def imitation(config: AlgorithmConfig) -> Guidance:
    """No guidance: a diffusion policy has its denoising loss to learn from, a Gaussian one gets the log-likelihood."""
    weight = 0.0 if config.policy == "diffusion" else 1.0
    return lambda prediction: (
        -weight * jnp.mean(prediction.log_likelihood),
        {},
    )


def finish(state: AgentState, **updated: tuple[TrainState, Metrics]) -> tuple[AgentState, Metrics]:
    """The state after an update of the named networks, and their metrics under those names (`critic/loss`, ...)."""
    metrics = {
        f"{name}/{key}": value
        for name, (_, values) in updated.items()
        for key, value in values.items()
    }
    return state.replace(
        step=state.step + 1, **{name: network for name, (network, _) in updated.items()}
    ), metrics


def make_init(
    config: AlgorithmConfig,
    actor: networks.Network,
    critics: networks.Network | None = None,
    value: networks.Network | None = None,
):
    """init(key) -> AgentState for a learner with the given networks."""

    def init(key: chex.PRNGKey) -> AgentState:
        actor_key, critic_key, state_key, value_key = jax.random.split(key, 4)
        opt = base.optimizer(config, base.Hypers())
        return AgentState(
            step=jnp.zeros((), jnp.int32),
            key=state_key,
            actor=base.init_train_state(actor.init(actor_key), opt),
            critic=None
            if critics is None
            else base.init_train_state(critics.init(critic_key), opt, ensemble=True),
            value=None
            if value is None
            else base.init_train_state(value.init(value_key), opt).replace(target_params=None),
        )

    return init


def make_act(
    config: AlgorithmConfig, policy: Policy, critics: networks.Network | None, spec: TaskSpec
):
    """act(params, observation, key): the mean of a Gaussian policy, one sample of a diffusion policy without critics, and else
    energy-based action selection: N samples, one of them drawn with probability softmax(min_i Q_i / temperature)."""

    def mean(
        params: dict[str, networks.Params], observation: chex.Array, key: chex.PRNGKey
    ) -> chex.Array:
        return policy.sample(params["actor"], observation, jnp.zeros(spec.action_dim), key)

    def select(
        params: dict[str, networks.Params], observation: chex.Array, key: chex.PRNGKey
    ) -> chex.Array:
        noise_key, chain_key, choice_key = jax.random.split(key, 3)
        num_candidates = 1 if critics is None else config.num_candidates
        shape = (num_candidates, *observation.shape[:-1], spec.action_dim)
        actions = policy.sample(
            params["actor"], observation, jax.random.normal(noise_key, shape), chain_key
        )
        if num_candidates == 1:
            return actions[0]
        q = jnp.min(critics.apply(params["critic"], observation, actions), axis=0)
        return take_candidate(
            actions, select_by_energy(q, config.selection_temperature, choice_key)
        )

    return mean if isinstance(policy, GaussianPolicy) else select
