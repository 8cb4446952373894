"""Operations with derivatives of their own, which networks spend much of their time in.

Both derivatives are exact. They are written out because that is faster (docs/performance.md).
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
