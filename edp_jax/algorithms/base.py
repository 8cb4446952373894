"""What all learners share: their state, their interface, the gradient step, the moving averages."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct

from edp_jax.acting import Acting
from edp_jax.algorithms.groups import Average, Optimization
from edp_jax.networks import Network, Params
from edp_jax.types import Array, Transition

Metrics = dict[str, Array]
MOST_AHEAD = 8  # updates whose random numbers are drawn together, at most


@struct.dataclass
class TrainState:
    """One network under training; an ensemble carries its C members on axis 0 of every leaf."""

    params: Params
    target_params: Params  # moving average of `params`; None for a network without one
    opt_state: optax.OptState


@struct.dataclass
class AgentState:
    """Everything a learner carries from update to update; of several members, stacked: [R]."""

    step: Array  # [] updates done
    key: chex.PRNGKey  # never changes: the randomness of update i comes from fold_in(key, i)
    networks: dict[str, TrainState]  # by the names that the learner gives them
    # [] the update in which it did, after which its networks stand still; -1: it has not
    diverged: Array = struct.field(default_factory=lambda: np.full((), -1, np.int32))


class Algorithm(NamedTuple):
    """A learner as pure functions.

    An update is deterministic once its random numbers are drawn. So `draw` can be called for
    several updates at once, and recorded updates can be replayed.
    """

    settings: Any  # what it was made with: a pytree whose leaves are the traced settings

    # (key) -> state before the first update
    init: Callable[[chex.PRNGKey], AgentState]

    # (key, draw_params, batch) -> all that is random in an update: timesteps, noise, next actions
    draw: Callable[[chex.PRNGKey, Any, Transition], Any]

    # (state, batch, settings, draws) -> (next state, metrics []); settings like `settings`
    update: Callable[[AgentState, Transition, Any, Any], tuple[AgentState, Metrics]]

    # (policy_params, observation [..., O], key) -> action [..., A] in [-1, 1]
    act: Acting

    # (state) -> the parameters that `draw` needs, such as those of the policy that makes targets
    draw_params: Callable[[AgentState], Any]

    # (state) -> the parameters that act
    policy_params: Callable[[AgentState], Any]

    # From update 0, d, 2 d, ... on, d updates see the same `draw_params` and can be drawn together.
    draws_ahead: int = 1

    def update_step(
        self, state: AgentState, batch: Transition, settings: Any
    ) -> tuple[AgentState, Metrics]:
        """One update on a batch: draws its random numbers, then computes it.

        Args:
          state: of one agent.
          batch: transitions, leaves [B, ...].
          settings: like `self.settings`, whose traced values may differ.

        Returns:
          The next state, and metrics [] by name.
        """
        chex.assert_equal_shape([batch.observation, batch.next_observation])
        chex.assert_equal_shape([batch.reward, batch.discount])
        draws = self.draw(update_key(state, state.step), self.draw_params(state), batch)
        return self.update(state, batch, settings, draws)


def update_key(state: AgentState, step: Array) -> chex.PRNGKey:
    """Randomness of the update that follows `step` others."""
    return jax.random.fold_in(jax.random.fold_in(state.key, step), 0)


def batch_key(state: AgentState, step: Array) -> chex.PRNGKey:
    """Randomness of that update's batch."""
    return jax.random.fold_in(jax.random.fold_in(state.key, step), 1)


def evaluation_key(state: AgentState) -> chex.PRNGKey:
    """Randomness of the evaluation after the updates done so far."""
    return jax.random.fold_in(jax.random.fold_in(state.key, state.step), 2)


def acting_key(key: chex.PRNGKey, env_step: Array) -> chex.PRNGKey:
    """Randomness of a member's action after so many steps in its environment; `state.key` is its.

    It does not depend on the updates, as `update_key` does not depend on the environment.
    """
    return jax.random.fold_in(jax.random.fold_in(key, env_step), 3)


def noise_key(state: AgentState) -> chex.PRNGKey:
    """Randomness of the choice of starting noise (`own_noise`), the same after any updates."""
    return jax.random.fold_in(state.key, 4)


def make_init(
    settings: Optimization,
    networks: Mapping[str, Network],
    *,
    without_average: tuple[str, ...] = (),
) -> Callable[[chex.PRNGKey], AgentState]:
    """Builds init(key) -> AgentState for a learner with the given networks."""

    def init(key: chex.PRNGKey) -> AgentState:
        *keys, state_key = jax.random.split(key, 1 + len(networks))
        opt = optimizer(settings)
        states = {}
        for name, network_key in zip(networks, keys, strict=True):
            average = name not in without_average
            states[name] = init_train_state(networks[name], network_key, opt, average=average)
        return AgentState(jnp.zeros((), jnp.int32), state_key, states)

    return init


def init_train_state(
    network: Network, key: chex.PRNGKey, opt: optax.GradientTransformation, *, average: bool = True
) -> TrainState:
    """A network's state before its first gradient step; its average begins as a copy of it."""
    params = network.init(key)
    opt_init = jax.vmap(opt.init) if network.is_ensemble else opt.init
    target_params = jax.tree.map(jnp.copy, params) if average else None
    return TrainState(params, target_params, opt_init(params))


def optimizer(settings: Optimization, step: Array | int = 0) -> optax.GradientTransformation:
    """AdamW behind a clip of the gradient's global norm; made in every update, for traced settings.

    Args:
      settings: of the learner.
      step: updates done, for a learning rate that decays.
    """
    learning_rate: Any = settings.learning_rate  # [] traced
    if settings.lr_decay_steps:
        decay = optax.cosine_decay_schedule(1.0, settings.lr_decay_steps)
        learning_rate = learning_rate * decay(step)
    max_norm = jnp.where(settings.grad_clip > 0, settings.grad_clip, jnp.inf)
    adamw = optax.adamw(learning_rate, weight_decay=settings.weight_decay, eps=1e-8)
    return optax.chain(optax.clip_by_global_norm(max_norm), adamw)


def gradient_step(
    loss_fn: Callable[[Params], tuple[Array, Metrics]],
    state: TrainState,
    opt: optax.GradientTransformation,
    *,
    ensemble: bool = False,
) -> tuple[TrainState, Metrics]:
    """One optimiser step on loss_fn(params) -> (loss [], metrics).

    The members of an ensemble are clipped and stepped each on its own. The metrics are those of
    `loss_fn` and `loss` and `grad_norm`, the gradient's global norm (an ensemble's largest).
    """
    (loss, metrics), grads = jax.value_and_grad(loss_fn, has_aux=True)(state.params)

    def apply(grads: Params, opt_state: optax.OptState, params: Params) -> tuple:
        updates, opt_state = opt.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, optax.tree.norm(grads)

    step = jax.vmap(apply) if ensemble else apply
    params, opt_state, grad_norm = step(grads, state.opt_state, state.params)
    metrics = {"loss": loss, "grad_norm": jnp.max(grad_norm), **metrics}
    return dataclasses.replace(state, params=params, opt_state=opt_state), metrics


def update_target(state: TrainState, tau: Array | float) -> TrainState:
    """Polyak averaging: target <- (1 - tau) target + tau params."""
    target_params = optax.incremental_update(state.params, state.target_params, tau)
    return dataclasses.replace(state, target_params=target_params)


def policy_tau(settings: Average, step: Array) -> Array:
    """Step size [] of the policy's moving average after update `step`, counted from 1.

    It is tau in every `ema_period`-th update and 0 in the others. With an `ema_share` s it falls to
    1 / (s n) per update, n being the updates so far, once that is less. Then the policy after
    update m counts in proportion to m^(1/s - 1): the power function average of EDM2 (2312.02696,
    section 3.1). The longer the training, the more policies it averages.

    PARITY: before `ema_start` the average is a copy of the policy. In the public code it stays at
    its random initial values there, and the critics learn from that policy's actions.
    """
    tau, period = settings.tau, settings.ema_period
    if settings.ema_share:
        tau = jnp.minimum(tau, period / (settings.ema_share * step))
    tau = jnp.where(step <= settings.ema_start, 1.0, tau)
    return jnp.where(step % period == 0, tau, 0.0)


def draws_ahead(settings: Average) -> int:
    """How many updates can be drawn together while the policy's average stands still.

    It divides the period of the average, so that no group of updates has a step of it inside.
    """
    return max(d for d in range(1, MOST_AHEAD + 1) if settings.ema_period % d == 0)


def finish(state: AgentState, **updated: tuple[TrainState, Metrics]) -> tuple[AgentState, Metrics]:
    """The state after an update of the named networks, with metrics named `network/metric`."""
    metrics = {
        f"{name}/{metric}": value
        for name, (_, values) in updated.items()
        for metric, value in values.items()
    }
    networks = state.networks | {name: network for name, (network, _) in updated.items()}
    return dataclasses.replace(state, step=state.step + 1, networks=networks), metrics
