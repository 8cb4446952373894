"""Operations with derivatives of their own, which networks spend much of their time in.

The derivatives are exact. They are written out because that is faster (docs/performance.md).
"""

import jax
import jax.numpy as jnp

from edp_jax.types import Array


@jax.custom_jvp
def mish(x: Array) -> Array:
    """Activation x tanh(softplus(x)) (1908.08681), computed with one exponential.

    With e = exp(x), tanh(log(1 + e)) = n / (n + 2), where n = e (e + 2). The derivative below uses
    the same exponential.

    Args:
      x: [...].

    Returns:
      [...] the activation of each element.
    """
    return x * _tanh_softplus(x)[0]


def _mish_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (x,), (dx,) = primals, tangents
    tanh, sigmoid = _tanh_softplus(x)
    return x * tanh, (tanh + x * sigmoid * (1.0 - tanh * tanh)) * dx


def _tanh_softplus(x: Array) -> tuple[Array, Array]:
    """tanh(softplus(x)) and its inner derivative, sigmoid(x)."""
    e = jnp.exp(jnp.minimum(x, 20.0))  # tanh(softplus(20)) is 1 in float32
    n = e * (e + 2.0)
    return n / (n + 2.0), e / (e + 1.0)


mish.defjvp(_mish_jvp)  # pyright: ignore[reportFunctionMemberAccess]

ACTIVATIONS = {"mish": mish, "relu": jax.nn.relu, "gelu": jax.nn.gelu, "silu": jax.nn.silu}


@jax.custom_vjp
def matmul(x: Array, kernel: Array) -> Array:
    """Matrix product with a gradient of its own, which is faster on CPUs.

    The gradient of the kernel is computed as one product over all rows of x, in the layout of the
    kernel. JAX's own comes out transposed, which makes Adam three times slower on a CPU.

    Args:
      x: [..., I].
      kernel: [I, O].

    Returns:
      [..., O] x @ kernel.
    """
    return x @ kernel


def _matmul_fwd(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return matmul(x, kernel), (x, kernel)


def _matmul_bwd(residuals: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    x, kernel = residuals
    rows, row_gradients = x.reshape(-1, x.shape[-1]), gradient.reshape(-1, gradient.shape[-1])
    x_gradient = jnp.einsum("no,io->ni", row_gradients, kernel).reshape(x.shape)
    return x_gradient, jnp.einsum("ni,no->io", rows, row_gradients)


matmul.defvjp(_matmul_fwd, _matmul_bwd)  # pyright: ignore[reportFunctionMemberAccess]


@jax.custom_vjp
def layer_norm(x: Array, scale: Array, bias: Array) -> Array:
    """Layer normalisation (1607.06450), whose sums of products are matrix products with ones.

    A sum of products that XLA computes in one loop is sixty times as slow on a CPU as the same sum
    of an array.

    Args:
      x: [..., F], F features.
      scale: [F].
      bias: [F].

    Returns:
      [..., F] scale (x - mean) / sqrt(var + 1e-6) + bias, mean and variance over the features.
    """
    return _layer_norm_fwd(x, scale, bias)[0]


def _layer_norm_fwd(x: Array, scale: Array, bias: Array) -> tuple[Array, tuple[Array, ...]]:
    mean = jnp.mean(x, axis=-1, keepdims=True)
    square = _feature_mean(x * x)
    inverse = jax.lax.rsqrt(jnp.maximum(square - mean * mean, 0.0) + 1e-6)
    return (x - mean) * (inverse * scale) + bias, (x, mean, inverse, scale)


def _layer_norm_bwd(residuals: tuple[Array, ...], gradient: Array) -> tuple[Array, Array, Array]:
    x, mean, inverse, scale = residuals
    normal = (x - mean) * inverse
    scaled = gradient * scale
    along = _feature_mean(scaled * normal)
    x_gradient = inverse * (scaled - jnp.mean(scaled, axis=-1, keepdims=True) - normal * along)
    rows = tuple(range(x.ndim - 1))
    return x_gradient, _row_sum(gradient * normal), jnp.sum(gradient, axis=rows)


layer_norm.defvjp(_layer_norm_fwd, _layer_norm_bwd)  # pyright: ignore[reportFunctionMemberAccess]


def _feature_mean(x: Array) -> Array:
    share = jnp.full((x.shape[-1], 1), 1.0 / x.shape[-1], x.dtype)
    return jnp.matmul(x, share, precision="highest")


def _row_sum(x: Array) -> Array:
    rows = x.reshape(-1, x.shape[-1])
    return jnp.matmul(jnp.ones((1, len(rows)), x.dtype), rows, precision="highest")[0]
