"""The skeleton of every EDP learner: corrupt -> one network pass -> a0_hat -> denoising loss + guidance(a0_hat)."""

from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from edp_jax import diffusion, losses, networks
from edp_jax.algorithms import base
from edp_jax.algorithms.base import AgentState, AlgorithmConfig, Metrics, TrainState
from edp_jax.policy import ACTION_BOUND, DiffusionPolicy, select_by_energy, take_candidate
from edp_jax.types import TaskSpec, Transition

Guidance = Callable[[chex.Array], tuple[chex.Array, Metrics]]  # a0_hat [B, A] -> (loss, metrics)


class Corruption(NamedTuple):
    """The randomness of the forward process for one batch."""

    timestep: chex.Array  # [B] integer in 0..K-1
    noise: chex.Array  # [B, A]


def make_policy(config: AlgorithmConfig, spec: TaskSpec) -> DiffusionPolicy:
    schedule = diffusion.make_schedule(config.schedule, config.num_timesteps)
    sampler = diffusion.make_sampler(config.sampler, schedule, config.sampler_calls, eta=config.ddim_eta)
    return DiffusionPolicy(networks.make_noise_net(spec, config.hidden_dims, config.activation), schedule, sampler)


def make_critics(config: AlgorithmConfig, spec: TaskSpec) -> networks.Network:
    return networks.make_critics(spec, config.num_critics, config.hidden_dims, config.activation, config.critic_layer_norm)


def draw_corruption(key: chex.PRNGKey, schedule: diffusion.NoiseSchedule, action: chex.Array) -> Corruption:
    """Uniform timesteps and standard normal noise for action [B, A]."""
    timestep_key, noise_key = jax.random.split(key)
    timestep = jax.random.randint(timestep_key, action.shape[:-1], 0, schedule.num_timesteps)
    return Corruption(timestep, jax.random.normal(noise_key, action.shape))


def policy_loss(
    params: networks.Params, policy: DiffusionPolicy, batch: Transition, corruption: Corruption, guidance: Guidance
) -> tuple[chex.Array, Metrics]:
    """Denoising loss plus the learner's guidance on the approximated action (EDP Eq. 10)."""
    t, noise = corruption
    x_t = diffusion.add_noise(policy.schedule, batch.action, t, noise)
    # The heart of EDP: this ONE pass of the noise network serves both losses. Its output is compared with the noise (Eq. 5)
    # and, through the action approximation (Eq. 9), gives the action that the learner improves; no sampling chain is run.
    predicted_noise = policy.network.apply(params, batch.observation, x_t, t)
    action = jnp.clip(diffusion.predict_x0(policy.schedule, x_t, t, predicted_noise), -ACTION_BOUND, ACTION_BOUND)
    denoising = jnp.mean(diffusion.denoising_loss(predicted_noise, noise))
    guidance_loss, metrics = guidance(action)
    return denoising + guidance_loss, {"denoising_loss": denoising, "guidance_loss": guidance_loss, **metrics}


class TargetDraws(NamedTuple):
    """The randomness of the target actions."""

    x_T: chex.Array  # [M, B, A] noise the chains start from, M = num_backup_actions
    key: chex.PRNGKey  # used by stochastic samplers


def draw_targets(key: chex.PRNGKey, config: AlgorithmConfig, action: chex.Array) -> TargetDraws:
    x_T_key, chain_key = jax.random.split(key)
    return TargetDraws(jax.random.normal(x_T_key, (config.num_backup_actions, *action.shape)), chain_key)


def double_q_target(
    policy: DiffusionPolicy,
    critics: networks.Network,
    state: AgentState,
    batch: Transition,
    hypers: base.Hypers,
    draws: TargetDraws,
) -> chex.Array:
    """TD target [B] on min_i max_m Q'_i(s', a'_m), a'_m ~ the averaged policy's sampling chain (TD3, 1802.09477, Eq. 10)."""
    next_action = policy.sample(state.actor.target_params, batch.next_observation, draws.x_T, draws.key)
    next_q = critics.apply(state.critic.target_params, batch.next_observation, next_action)  # [N, M, B]
    next_q = jnp.min(jnp.max(next_q, axis=1), axis=0)
    return losses.td_target(batch.reward, hypers.discount * batch.discount, next_q)


def critic_step(
    critics: networks.Network,
    critic: TrainState,
    batch: Transition,
    target: chex.Array,
    opt: optax.GradientTransformation,
    hypers: base.Hypers,
) -> tuple[TrainState, Metrics]:
    """Regresses every critic on target [B] and moves the averages."""

    def loss(params):
        q = critics.apply(params, batch.observation, batch.action)
        return losses.critic_loss(q, target), {"q_mean": jnp.mean(q), "q_max": jnp.max(q), "target_mean": jnp.mean(target)}

    critic, metrics = base.gradient_step(loss, critic, opt, ensemble=True)
    return base.update_target(critic, hypers.tau), metrics


def policy_step(
    config: AlgorithmConfig,
    policy: DiffusionPolicy,
    state: AgentState,
    batch: Transition,
    corruption: Corruption,
    guidance: Guidance,
    opt: optax.GradientTransformation,
    hypers: base.Hypers,
) -> tuple[TrainState, Metrics]:
    """One step on `policy_loss`, and of the policy's moving average."""

    def loss(params):
        return policy_loss(params, policy, batch, corruption, guidance)

    actor, metrics = base.gradient_step(loss, state.actor, opt)
    return base.update_target(actor, base.policy_tau(config, hypers, state.step + 1)), metrics


def finish(state: AgentState, **updated: tuple[TrainState, Metrics]) -> tuple[AgentState, Metrics]:
    """The state after an update of the named networks, and their metrics under those names (`critic/loss`, ...)."""
    metrics = {f"{name}/{key}": value for name, (_, values) in updated.items() for key, value in values.items()}
    return state.replace(step=state.step + 1, **{name: network for name, (network, _) in updated.items()}), metrics


def make_init(config: AlgorithmConfig, policy: DiffusionPolicy, critics: networks.Network, value: networks.Network | None = None):
    """init(key) -> AgentState for a learner with a policy, critics and, if given, a state value."""

    def init(key: chex.PRNGKey) -> AgentState:
        actor_key, critic_key, state_key, value_key = jax.random.split(key, 4)
        opt = base.optimizer(config, base.Hypers())
        return AgentState(
            step=jnp.zeros((), jnp.int32),
            key=state_key,
            actor=base.init_train_state(policy.network.init(actor_key), opt),
            critic=base.init_train_state(critics.init(critic_key), opt, ensemble=True),
            value=None if value is None else base.init_train_state(value.init(value_key), opt).replace(target_params=None),
        )

    return init


def make_act(config: AlgorithmConfig, policy: DiffusionPolicy, critics: networks.Network, spec: TaskSpec):
    """Energy-based action selection: N sampled actions, one of them drawn with probability softmax(min_i Q_i / temperature)."""

    def act(params: dict[str, networks.Params], observation: chex.Array, key: chex.PRNGKey) -> chex.Array:
        noise_key, chain_key, choice_key = jax.random.split(key, 3)
        shape = (config.num_candidates, *observation.shape[:-1], spec.action_dim)
        actions = policy.sample(params["actor"], observation, jax.random.normal(noise_key, shape), chain_key)
        q = jnp.min(critics.apply(params["critic"], observation, actions), axis=0)
        return take_candidate(actions, select_by_energy(q, config.selection_temperature, choice_key))

    return act
