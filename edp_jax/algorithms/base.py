"""What all learners share: their state, their settings, the gradient step and the target update."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax
from flax import struct

from edp_jax.networks import Params
from edp_jax.types import TaskSpec, Transition

Metrics = dict[str, chex.Array]


@struct.dataclass
class TrainState:
    """One network under training; an ensemble carries its members on axis 0 of every leaf."""

    params: Params
    target_params: Params | None  # None for a network without a moving average
    opt_state: optax.OptState


@struct.dataclass
class AgentState:
    """Everything a learner carries from update to update; vmapped over seeds it gains a leading axis [S]."""

    step: chex.Array  # [] updates done
    key: chex.PRNGKey  # never changes: the randomness of update i is fold_in(key, i)
    actor: TrainState
    critic: TrainState | None = None
    value: TrainState | None = None


@struct.dataclass
class Hypers:
    """Scalar settings that are traced, so that other values do not recompile and a grid of them can be vmapped."""

    discount: chex.Array = 0.99  # gamma
    tau: chex.Array = 0.005  # target averaging
    learning_rate: chex.Array = 3e-4
    weight_decay: chex.Array = 0.0
    grad_clip: chex.Array = (
        5.0  # largest global gradient norm of each network; 0 switches clipping off
    )
    eta: chex.Array = 1.0  # weight of TD3's guidance; alpha of TD3+BC
    crr_beta: chex.Array = 1.0  # temperature of CRR's exponential weight
    expectile: chex.Array = 0.7  # of IQL's value regression
    iql_temperature: chex.Array = 3.0  # inverse temperature of IQL's advantage weight
    cql_alpha: chex.Array = 5.0  # weight of CQL's penalty
    cql_threshold: chex.Array = (
        -2.4
    )  # tau: the penalty leaves states alone whose excess is below it


@dataclasses.dataclass(frozen=True)
class AlgorithmConfig:
    """Settings that shape the compiled program."""

    hidden_dims: tuple[int, ...] = (256, 256, 256)
    activation: str = "mish"
    num_critics: int = 2
    num_target_critics: int = 0  # critics whose minimum is a target, drawn for every update; 0: all
    critic_layer_norm: bool = False
    policy: str = "diffusion"  # or "gaussian"
    likelihood: str = "gaussian"  # what stands for log pi(a | s) of a diffusion policy: gaussian, learned_std, elbo
    schedule: str = "vp"
    num_timesteps: int = 1000
    sampler: str = "dpm_solver_3"
    sampler_calls: int = 15
    ddim_eta: float | None = None
    ema_period: int = 5  # updates between two steps of the policy's moving average
    ema_start: int = 1000
    lr_decay_steps: int = (
        0  # length of the cosine decay of every network's learning rate; 0 keeps it constant
    )
    num_backup_actions: int = (
        1  # actions per next observation; above 1 the target takes the best of them (max-Q backup)
    )
    crr_weight: str = "exponential"  # exponential, indicator, softmax
    crr_baseline: str = "mean"  # or "max"
    num_baseline_actions: int = 10  # actions CRR compares the dataset's action with
    num_cql_actions: int = 10  # uniform actions in CQL's penalty
    num_candidates: int = 10  # N of energy-based action selection
    selection_temperature: float = 1.0  # 0 takes the best


class Algorithm(NamedTuple):
    """A learner as pure functions. An update is deterministic once all its randomness is drawn."""

    init: Callable[[chex.PRNGKey], AgentState]
    draw: Callable[
        [chex.PRNGKey, Params, Transition], Any
    ]  # (key, averaged policy's params, batch) -> next actions and all else
    update: Callable[
        [AgentState, Transition, Hypers, Any], tuple[AgentState, Metrics]
    ]  # (state, batch, hypers, draws)
    act: Callable[
        [Any, chex.Array, chex.PRNGKey], chex.Array
    ]  # (policy_params, observation [..., O], key) -> action [..., A]
    draws_ahead: int = 1  # so many updates, from a multiple of it on, share the averaged policy: they can be drawn for together

    def update_step(
        self, state: AgentState, batch: Transition, hypers: Hypers
    ) -> tuple[AgentState, Metrics]:
        """One update of the networks on a batch."""
        return self.update(
            state,
            batch,
            hypers,
            self.draw(update_key(state, state.step), state.actor.target_params, batch),
        )


def hypers_read(algorithm: Algorithm, spec: TaskSpec) -> frozenset[str]:
    """Names of the `Hypers` that an update of `algorithm` depends on."""

    def update(hypers: Hypers, key: chex.PRNGKey) -> tuple[AgentState, Metrics]:
        observation, action, number = (
            jnp.zeros((1, spec.observation_dim)),
            jnp.zeros((1, spec.action_dim)),
            jnp.zeros(1),
        )
        return algorithm.update_step(
            algorithm.init(key),
            Transition(observation, action, number, number, observation),
            hypers,
        )

    program = jax.make_jaxpr(update)(Hypers(), jax.random.key(0)).jaxpr
    read = {id(variable) for equation in program.eqns for variable in equation.invars}
    names = [field.name for field in dataclasses.fields(Hypers)]
    return frozenset(
        name for name, variable in zip(names, program.invars, strict=False) if id(variable) in read
    )


def policy_params(state: AgentState) -> dict[str, Params]:
    """What `Algorithm.act` needs: the averaged networks, which are also the ones that make the critics' targets."""
    critic = {} if state.critic is None else {"critic": state.critic.target_params}
    return {"actor": state.actor.target_params, **critic}


def update_key(state: AgentState, step: chex.Array) -> chex.PRNGKey:
    """Randomness of the update after `step` others."""
    return jax.random.fold_in(jax.random.fold_in(state.key, step), 0)


def batch_key(state: AgentState, step: chex.Array) -> chex.PRNGKey:
    """Randomness of that update's batch."""
    return jax.random.fold_in(jax.random.fold_in(state.key, step), 1)


def evaluation_key(state: AgentState) -> chex.PRNGKey:
    """Randomness of the evaluation after the updates done so far."""
    return jax.random.fold_in(jax.random.fold_in(state.key, state.step), 2)


def optimizer(
    config: AlgorithmConfig, hypers: Hypers, step: chex.Array = 0
) -> optax.GradientTransformation:
    """AdamW behind a clip of the global norm; made inside the update, since its scalars are traced."""
    learning_rate = hypers.learning_rate
    if config.lr_decay_steps:
        learning_rate = learning_rate * optax.cosine_decay_schedule(1.0, config.lr_decay_steps)(
            step
        )
    max_norm = jnp.where(hypers.grad_clip > 0, hypers.grad_clip, jnp.inf)
    return optax.chain(
        optax.clip_by_global_norm(max_norm),
        optax.adamw(learning_rate, weight_decay=hypers.weight_decay, eps=1e-8),
    )


def init_train_state(
    params: Params, opt: optax.GradientTransformation, *, ensemble: bool = False
) -> TrainState:
    opt_init = jax.vmap(opt.init) if ensemble else opt.init
    return TrainState(
        params=params, target_params=jax.tree.map(jnp.copy, params), opt_state=opt_init(params)
    )


def gradient_step(
    loss_fn: Callable[[Params], tuple[chex.Array, Metrics]],
    state: TrainState,
    opt: optax.GradientTransformation,
    *,
    ensemble: bool = False,
) -> tuple[TrainState, Metrics]:
    """One optimiser step on loss_fn(params) -> (loss, metrics); clipping is per member of an ensemble."""
    (loss, metrics), grads = jax.value_and_grad(loss_fn, has_aux=True)(state.params)

    def apply(grads, opt_state, params):
        updates, opt_state = opt.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, optax.tree.norm(grads)

    params, opt_state, grad_norm = (jax.vmap(apply) if ensemble else apply)(
        grads, state.opt_state, state.params
    )
    metrics = {"loss": loss, "grad_norm": jnp.max(grad_norm), **metrics}
    return state.replace(params=params, opt_state=opt_state), metrics


def update_target(state: TrainState, tau: chex.Array) -> TrainState:
    """Polyak averaging: target <- (1 - tau) target + tau params."""
    return state.replace(
        target_params=optax.incremental_update(state.params, state.target_params, tau)
    )


def draws_ahead(config: AlgorithmConfig, most: int = 8) -> int:
    """Updates that can be drawn for together: a divisor of the period in which the policy's moving average stands still."""
    return max(d for d in range(1, most + 1) if config.ema_period % d == 0)


def policy_tau(config: AlgorithmConfig, hypers: Hypers, step: chex.Array) -> chex.Array:
    """Step size of the policy's moving average after update `step` (1-based): tau every `ema_period` updates, else 0.

    PARITY: before `ema_start` the average is a copy of the policy; in the public code it stays at its random initial values
    there, and the critics learn from that policy's actions.
    """
    tau = jnp.where(step <= config.ema_start, 1.0, hypers.tau)
    return jnp.where(step % config.ema_period == 0, tau, 0.0)
