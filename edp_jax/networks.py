"""Neural networks: noise prediction, critics and state values (EDP, arXiv 2305.20081, section 5 and App. B).

The only file that knows flax.linen: the rest of the package sees `Network(init, apply)` pairs over plain pytrees.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from edp_jax.types import InputError, TaskSpec

Params = Any


class Network(NamedTuple):
    init: Callable[[chex.PRNGKey], Params]
    apply: Callable[..., chex.Array]
    is_ensemble: bool = False  # whether axis 0 of every parameter counts networks, C of them


@jax.custom_jvp
def mish(x: chex.Array) -> chex.Array:
    """x tanh(softplus(x)) (1908.08681) with one exponential: tanh(log(1 + e)) = n / (n + 2), n = e (e + 2), e = exp(x)."""
    return x * _tanh_softplus(x)[0]


@mish.defjvp
def _mish_jvp(primals, tangents):
    (x,), (dx,) = primals, tangents
    tanh, sigmoid = _tanh_softplus(x)
    return x * tanh, (tanh + x * sigmoid * (1.0 - tanh * tanh)) * dx


def _tanh_softplus(x: chex.Array) -> tuple[chex.Array, chex.Array]:
    e = jnp.exp(jnp.minimum(x, 20.0))  # tanh(softplus(20)) is 1 in float32
    n = e * (e + 2.0)
    return n / (n + 2.0), e / (e + 1.0)


ACTIVATIONS = {"mish": mish, "relu": nn.relu, "gelu": nn.gelu, "silu": nn.silu}


@jax.custom_vjp
def matmul(x: chex.Array, kernel: chex.Array) -> chex.Array:
    """x [..., I] @ kernel [I, O]; the kernel's gradient in the kernel's own layout, from all rows of x in one product.

    JAX's comes out transposed, which makes Adam three times slower on a CPU (docs/performance.md).
    """
    return x @ kernel


def _matmul_fwd(x, kernel):
    return matmul(x, kernel), (x, kernel)


def _matmul_bwd(residuals, gradient):
    x, kernel = residuals
    rows, row_gradients = x.reshape(-1, x.shape[-1]), gradient.reshape(-1, gradient.shape[-1])
    x_gradient = jnp.einsum("no,io->ni", row_gradients, kernel).reshape(x.shape)
    return x_gradient, jnp.einsum("ni,no->io", rows, row_gradients)


matmul.defvjp(_matmul_fwd, _matmul_bwd)


class Dense(nn.Module):
    """Dense layer on the concatenation of its inputs, as a sum of one matmul per input.

    Inputs may have different, broadcastable batch shapes; what does not change between calls (the observation along a sampling
    chain, or over candidate actions) is multiplied once.
    """

    features: int

    @nn.compact
    def __call__(self, *inputs: chex.Array) -> chex.Array:
        sizes = [x.shape[-1] for x in inputs]
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (sum(sizes), self.features))
        bias = self.param("bias", nn.initializers.zeros_init(), (self.features,))
        parts = jnp.split(kernel, np.cumsum(sizes)[:-1])
        return bias + sum(matmul(x, part) for x, part in zip(inputs, parts, strict=True))


class MLP(nn.Module):
    """Inputs [..., *] -> hidden layers (each with optional LayerNorm before its activation) -> linear output [..., out_dim]."""

    hidden_dims: Sequence[int]
    out_dim: int
    activation: str
    layer_norm: bool = False

    @nn.compact
    def __call__(self, *inputs: chex.Array) -> chex.Array:
        x = Dense(self.hidden_dims[0])(*inputs)
        for width in (*self.hidden_dims[1:], None):
            x = nn.LayerNorm()(x) if self.layer_norm else x
            x = ACTIVATIONS[self.activation](x)
            x = Dense(width or self.out_dim)(x)
        return x


class TimeEmbedding(nn.Module):
    """Sinusoidal embedding of the timestep [...] followed by a two-layer MLP -> [..., dim] (EDP App. B: 16 -> 32 -> 16)."""

    dim: int = 16

    @nn.compact
    def __call__(self, t: chex.Array) -> chex.Array:
        half = self.dim // 2
        frequencies = jnp.exp(-jnp.log(1e4) * jnp.arange(half) / half)
        angles = jnp.asarray(t, jnp.float32)[..., None] * frequencies
        x = jnp.concatenate([jnp.cos(angles), jnp.sin(angles)], axis=-1)
        x = mish(Dense(2 * self.dim)(x))
        return Dense(self.dim)(x)


class NoiseNet(nn.Module):
    """eps_theta(a_k, k, s): noise prediction [..., A] from s [..., O], a_k [..., A] and the timestep [...]."""

    action_dim: int
    hidden_dims: Sequence[int]
    activation: str

    @nn.compact
    def __call__(self, observation: chex.Array, x_t: chex.Array, t: chex.Array) -> chex.Array:
        return MLP(self.hidden_dims, self.action_dim, self.activation)(
            observation, x_t, TimeEmbedding()(t)
        )


def make_noise_net(spec: TaskSpec, hidden_dims: Sequence[int], activation: str) -> Network:
    """apply(params, observation [..., O], x_t [..., A], t [...]) -> noise [..., A]."""
    _check_layers(hidden_dims, activation)
    net = NoiseNet(spec.action_dim, tuple(hidden_dims), activation)
    inputs = jnp.zeros((1, spec.observation_dim)), jnp.zeros((1, spec.action_dim)), jnp.zeros((1,))
    return Network(
        lambda key: net.init(key, *inputs)["params"],
        lambda params, *x: net.apply({"params": params}, *x),
    )


def make_actor(spec: TaskSpec, hidden_dims: Sequence[int], activation: str) -> Network:
    """A feed-forward policy: apply(params, observation [..., O]) -> action or mean [..., A] in [-1, 1], through tanh."""
    _check_layers(hidden_dims, activation)
    net = MLP(tuple(hidden_dims), spec.action_dim, activation)
    inputs = jnp.zeros((1, spec.observation_dim))
    return Network(
        lambda key: net.init(key, inputs)["params"],
        lambda params, observation: jnp.tanh(net.apply({"params": params}, observation)),
    )


def with_log_std(network: Network, action_dim: int) -> Network:
    """The same network with one more parameter, log_std [A] = 0, that `apply` leaves alone."""
    return network._replace(
        init=lambda key: {**network.init(key), "log_std": jnp.zeros(action_dim)}
    )


def make_critics(
    spec: TaskSpec, num_critics: int, hidden_dims: Sequence[int], activation: str, layer_norm: bool
) -> Network:
    """An ensemble of Q networks under one vmap.

    apply(params, observation [..., O], action [..., A]) -> Q [N, ...], N the length of the params' leading axis.
    """
    _check_layers(hidden_dims, activation)
    if num_critics < 1:
        raise InputError(
            f"num_critics={num_critics} is too small: use at least 1 (the paper's learners use 2)"
        )
    net = MLP(tuple(hidden_dims), 1, activation, layer_norm)
    inputs = jnp.zeros((1, spec.observation_dim)), jnp.zeros((1, spec.action_dim))

    def init(key):
        return jax.vmap(lambda k: net.init(k, *inputs)["params"])(
            jax.random.split(key, num_critics)
        )

    def apply(params, observation, action):
        return jax.vmap(lambda p: net.apply({"params": p}, observation, action)[..., 0])(params)

    return Network(init, apply, is_ensemble=True)


def make_value(
    spec: TaskSpec, hidden_dims: Sequence[int], activation: str, layer_norm: bool
) -> Network:
    """apply(params, observation [..., O]) -> V [...]."""
    _check_layers(hidden_dims, activation)
    net = MLP(tuple(hidden_dims), 1, activation, layer_norm)
    inputs = jnp.zeros((1, spec.observation_dim))
    return Network(
        lambda key: net.init(key, inputs)["params"],
        lambda params, observation: net.apply({"params": params}, observation)[..., 0],
    )


def _check_layers(hidden_dims: Sequence[int], activation: str) -> None:
    if not hidden_dims or not all(isinstance(width, int) and width >= 1 for width in hidden_dims):
        raise InputError(
            f"hidden_dims={tuple(hidden_dims)} must be integers of at least 1: use for example (256, 256, 256)"
        )
    if activation not in ACTIVATIONS:
        raise InputError(
            f"activation {activation!r} is unknown: use one of {', '.join(ACTIVATIONS)}"
        )
