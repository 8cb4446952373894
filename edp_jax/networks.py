"""Neural networks: noise prediction, policies, critics, values (EDP, 2305.20081, App. B), dynamics.

Each `make_...` function returns a `Network`: two functions over plain pytrees of parameters.

In shapes, [...] are the axes of a batch. Where a network has several inputs, the action may have
more axes in front than the others: observations [B, O] go with actions [M, B, A], which are M
actions at each observation. Inputs of other shapes are refused with an AssertionError.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from edp_jax.layers import MLP, Module, NoiseNet
from edp_jax.ops import ACTIVATIONS
from edp_jax.types import Array, InputError, TaskSpec

Params = Any


class Network(NamedTuple):
    """A network without its parameters.

    Attributes:
      init: key -> parameters.
      apply: (parameters, *inputs) -> output.
      is_ensemble: whether axis 0 of every parameter counts networks, C of them.
    """

    init: Callable[[chex.PRNGKey], Params]
    apply: Callable[..., Array]
    is_ensemble: bool = False


def make_noise_net(spec: TaskSpec, hidden_dims: Sequence[int], activation: str) -> Network:
    """Makes the network of a diffusion policy.

    Args:
      spec: the task's sizes O and A.
      hidden_dims: widths of the hidden layers, at least one.
      activation: a key of `ACTIVATIONS`.

    Returns:
      apply(params, observation [..., O], x_t [..., A], t [...]) -> noise [..., A]. The timesteps t
      count from 0 and need not be integers; one number may serve the whole batch.

    Raises:
      InputError: the widths or the activation cannot be used.
    """
    _check_layers(hidden_dims, activation)
    net = NoiseNet(spec.action_dim, tuple(hidden_dims), activation)
    network = _network(net, _observation(spec), _action(spec), jnp.zeros((1,)))

    def apply(params: Params, observation: Array, x_t: Array, t: Array) -> Array:
        _check_inputs(spec, observation, x_t)
        chex.assert_shape(x_t, (..., *jnp.shape(t), spec.action_dim))
        return network.apply(params, observation, x_t, t)

    return network._replace(apply=apply)


def make_actor(spec: TaskSpec, hidden_dims: Sequence[int], activation: str) -> Network:
    """Makes a feed-forward policy.

    Args:
      spec: the task's sizes O and A.
      hidden_dims: widths of the hidden layers, at least one.
      activation: a key of `ACTIVATIONS`.

    Returns:
      apply(params, observation [..., O]) -> [..., A] in [-1, 1], through tanh: the action, or the
      mean of a distribution of actions.

    Raises:
      InputError: the widths or the activation cannot be used.
    """
    _check_layers(hidden_dims, activation)
    network = _network(MLP(tuple(hidden_dims), spec.action_dim, activation), _observation(spec))

    def apply(params: Params, observation: Array) -> Array:
        chex.assert_axis_dimension(observation, -1, spec.observation_dim)
        return jnp.tanh(network.apply(params, observation))

    return network._replace(apply=apply)


def with_log_std(network: Network, action_dim: int) -> Network:
    """Adds the logarithm of a standard deviation, the same at all observations, to a policy.

    Args:
      network: the policy.
      action_dim: A.

    Returns:
      The same network with one more parameter, `log_std` [A], which starts at 0. `apply` does not
      use it.
    """
    return network._replace(
        init=lambda key: {**network.init(key), "log_std": jnp.zeros(action_dim)}
    )


def make_critics(
    spec: TaskSpec, num_critics: int, hidden_dims: Sequence[int], activation: str, layer_norm: bool
) -> Network:
    """Makes an ensemble of Q networks that differ in their initial values.

    Args:
      spec: the task's sizes O and A.
      num_critics: C, at least 1.
      hidden_dims: widths of the hidden layers, at least one.
      activation: a key of `ACTIVATIONS`.
      layer_norm: normalise each hidden layer before its activation.

    Returns:
      apply(params, observation [..., O], action [..., A]) -> Q [C, ...]. Axis 0 of every parameter
      counts the critics; `apply` also takes a part of them.

    Raises:
      InputError: the number of critics, the widths or the activation cannot be used.
    """
    _check_layers(hidden_dims, activation)
    if num_critics < 1:
        raise InputError(f"num_critics={num_critics} is too small: use at least 1, usually 2")
    net = MLP(tuple(hidden_dims), 1, activation, layer_norm)
    critics = _ensemble(_network(net, _observation(spec), _action(spec)), num_critics)

    def apply(params: Params, observation: Array, action: Array) -> Array:
        _check_inputs(spec, observation, action)
        return critics.apply(params, observation, action)[..., 0]

    return critics._replace(apply=apply)


def make_dynamics(
    spec: TaskSpec, num_networks: int, hidden_dims: Sequence[int], activation: str
) -> Network:
    """Makes an ensemble of networks that say by how much the observation changes in one step.

    Args:
      spec: the task's sizes O and A.
      num_networks: C, at least 1. They differ in their initial values.
      hidden_dims: widths of the hidden layers, at least one.
      activation: a key of `ACTIVATIONS`.

    Returns:
      apply(params, observation [..., O], action [..., A]) -> change [C, ..., O], in whatever units
      it was trained in.

    Raises:
      InputError: the widths or the activation cannot be used.
    """
    _check_layers(hidden_dims, activation)
    net = MLP(tuple(hidden_dims), spec.observation_dim, activation)
    dynamics = _ensemble(_network(net, _observation(spec), _action(spec)), num_networks)

    def apply(params: Params, observation: Array, action: Array) -> Array:
        _check_inputs(spec, observation, action)
        return dynamics.apply(params, observation, action)

    return dynamics._replace(apply=apply)


def make_value(
    spec: TaskSpec, hidden_dims: Sequence[int], activation: str, layer_norm: bool
) -> Network:
    """Makes a network for the value of an observation.

    Args:
      spec: the task's sizes O and A.
      hidden_dims: widths of the hidden layers, at least one.
      activation: a key of `ACTIVATIONS`.
      layer_norm: normalise each hidden layer before its activation.

    Returns:
      apply(params, observation [..., O]) -> V [...].

    Raises:
      InputError: the widths or the activation cannot be used.
    """
    _check_layers(hidden_dims, activation)
    network = _network(MLP(tuple(hidden_dims), 1, activation, layer_norm), _observation(spec))

    def apply(params: Params, observation: Array) -> Array:
        chex.assert_axis_dimension(observation, -1, spec.observation_dim)
        return network.apply(params, observation)[..., 0]

    return network._replace(apply=apply)


def _network(net: Module, *inputs: Array) -> Network:
    """A flax module as a `Network`; the inputs only say which shapes it will get."""

    def apply(params: Params, *inputs: Array) -> Any:
        return net.apply({"params": params}, *inputs)

    return Network(lambda key: net.init(key, *inputs)["params"], apply)


def _ensemble(member: Network, size: int) -> Network:
    """Networks that differ in their initial values, counted by axis 0 of parameters and outputs."""

    def init(key: chex.PRNGKey) -> Params:
        return jax.vmap(member.init)(jax.random.split(key, size))

    def apply(params: Params, *inputs: Array) -> Array:
        return jax.vmap(lambda own: member.apply(own, *inputs))(params)

    return Network(init, apply, is_ensemble=True)


def _observation(spec: TaskSpec) -> Array:
    return jnp.zeros((1, spec.observation_dim))


def _action(spec: TaskSpec) -> Array:
    return jnp.zeros((1, spec.action_dim))


def _check_inputs(spec: TaskSpec, observation: Array, action: Array) -> None:
    chex.assert_axis_dimension(observation, -1, spec.observation_dim)
    chex.assert_shape(action, (..., *observation.shape[:-1], spec.action_dim))


def _check_layers(hidden_dims: Sequence[int], activation: str) -> None:
    if not hidden_dims or not all(isinstance(width, int) and width >= 1 for width in hidden_dims):
        raise InputError(
            f"hidden_dims={tuple(hidden_dims)} must be integers of at least 1: "
            f"use for example (256, 256, 256)"
        )
    if activation not in ACTIVATIONS:
        raise InputError(
            f"activation {activation!r} is unknown: use one of {', '.join(ACTIVATIONS)}"
        )
