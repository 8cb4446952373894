"""The layers that neural networks are made of. This is the only module that knows flax.linen.

In shapes, [...] are the axes of a batch.
"""

from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from edp_jax.ops import ACTIVATIONS, layer_norm, matmul, mish
from edp_jax.types import Array

Module = nn.Module


class Dense(nn.Module):
    """Fully connected layer that takes several inputs, as if they were concatenated.

    It computes bias + sum_i inputs[i] @ kernel_i, where kernel_i are the rows of the kernel that
    belong to input i. Results and initial values are those of an ordinary layer on the
    concatenation. But inputs whose batch axes only broadcast need not be copied to a common shape:
    with M actions [M, B, A] at each observation [B, O], the product with the observations is
    computed for B rows, not for M B.

    Attributes:
      features: width of the output.
    """

    features: int

    @nn.compact
    def __call__(self, *inputs: Array) -> Array:
        """Inputs [..., *] of any widths -> [..., features]."""
        sizes = [x.shape[-1] for x in inputs]
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (sum(sizes), self.features))
        bias = self.param("bias", nn.initializers.zeros_init(), (self.features,))
        parts = jnp.split(kernel, np.cumsum(sizes)[:-1])
        return bias + sum(matmul(x, part) for x, part in zip(inputs, parts, strict=True))


class LayerNorm(nn.Module):
    """Layer normalisation with a learned scale and bias: [..., F] -> [..., F]."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        ones, zeros, width = nn.initializers.ones, nn.initializers.zeros, x.shape[-1:]
        return layer_norm(x, self.param("scale", ones, width), self.param("bias", zeros, width))


class MLP(nn.Module):
    """Multilayer perceptron on one or more inputs, with a linear output.

    Attributes:
      hidden_dims: widths of the hidden layers, at least one.
      out_dim: width of the output.
      activation: a key of `ACTIVATIONS`.
      layer_norm: normalise each hidden layer before its activation.
    """

    hidden_dims: Sequence[int]
    out_dim: int
    activation: str
    layer_norm: bool = False

    @nn.compact
    def __call__(self, *inputs: Array) -> Array:
        """Inputs [..., *] of any widths -> [..., out_dim]."""
        x = Dense(self.hidden_dims[0])(*inputs)
        for width in (*self.hidden_dims[1:], None):
            x = LayerNorm()(x) if self.layer_norm else x
            x = ACTIVATIONS[self.activation](x)
            x = Dense(width or self.out_dim)(x)
        return x


class TimeEmbedding(nn.Module):
    """Embedding of the timestep: cosines and sines of it, then two layers (EDP, App. B).

    Attributes:
      dim: width of the output; the hidden layer is twice as wide.
    """

    dim: int = 16

    @nn.compact
    def __call__(self, t: Array) -> Array:
        """Timesteps [...] -> [..., dim]."""
        half = self.dim // 2
        frequencies = jnp.exp(-jnp.log(1e4) * jnp.arange(half) / half)
        angles = jnp.asarray(t, jnp.float32)[..., None] * frequencies
        x = jnp.concatenate([jnp.cos(angles), jnp.sin(angles)], axis=-1)
        x = mish(Dense(2 * self.dim)(x))
        return Dense(self.dim)(x)


class NoiseNet(nn.Module):
    """eps_theta(a_k, k; s): predicts the noise in an action (EDP Eq. 5).

    Attributes:
      action_dim: width of the action.
      hidden_dims: widths of the hidden layers, at least one.
      activation: a key of `ACTIVATIONS`; the embedding of the timestep always uses mish.
    """

    action_dim: int
    hidden_dims: Sequence[int]
    activation: str

    @nn.compact
    def __call__(self, observation: Array, x_t: Array, t: Array) -> Array:
        """Observations [..., O], noisy actions [..., A] and timesteps [...] -> noise [..., A]."""
        mlp = MLP(self.hidden_dims, self.action_dim, self.activation)
        return mlp(observation, x_t, TimeEmbedding()(t).astype(x_t.dtype))
