"""The one sampling driver.

Every sampler here is linear in what the network predicted so far, so a sampler is data: a table with one row per network
call, made on the host in float64 by `ddpm.py`, `dpm_solver.py` and `dpm_solver_pp.py`. Row i says at which timestep
the network is called and how the next point is put together:

    base    <- x if starts_step[i] else base
    history <- (prediction at x, previous predictions ...)
    x       <- base_weight[i] * base + sum_j history_weights[i, j] * history[j] + noise_scale[i] * z,   z ~ N(0, I)

Single-step solvers of order n use n rows per step that share one base; multistep solvers look back into the history.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

HISTORY = 3  # predictions a third-order step needs

Denoise = Callable[
    [chex.Array, chex.Array], chex.Array
]  # (x [B, A], timestep []) -> noise prediction [B, A]


class Sampler(NamedTuple):
    """A sampler as a table over its n network calls; static float64 columns."""

    timestep: np.ndarray  # [n] time the network is told: 0 for the least noisy, K - 1 for pure noise; fractional in between
    alpha: np.ndarray  # [n] sqrt(abar) there
    sigma: np.ndarray  # [n] sqrt(1 - abar) there
    starts_step: np.ndarray  # [n] 1 where x of this row is the base of the rows from here on
    base_weight: np.ndarray  # [n]
    history_weights: np.ndarray  # [n, HISTORY], newest prediction first
    noise_scale: np.ndarray  # [n]
    predicts_data: bool  # the history holds predictions of a_0 (True) or of eps (False)

    @property
    def num_calls(self) -> int:
        return len(self.timestep)

    @property
    def is_stochastic(self) -> bool:
        return bool(np.any(self.noise_scale > 0))


class Row(NamedTuple):
    """One row of a sampler's table, as the solvers build it."""

    tau: float  # time in (0, 1]
    starts_step: bool
    base_weight: float
    history_weights: tuple[float, ...]
    noise_scale: float = 0.0


class Marginals:
    """alpha, sigma and lambda = log(alpha / sigma) at continuous time tau in [0, 1], float64 on the host.

    log alpha is linear between the grid times tau_k = k / K, as in DPM-Solver's discrete-time wrapper (2206.00927, App. D.2).
    """

    def __init__(self, schedule):
        self.num_timesteps = schedule.num_timesteps
        self._tau = np.arange(self.num_timesteps + 1) / self.num_timesteps
        log_alpha = 0.5 * np.cumsum(np.log1p(-np.asarray(schedule.betas, np.float64)))
        self._log_alpha = np.append(0.0, log_alpha)

    def log_alpha(self, tau):
        return np.interp(tau, self._tau, self._log_alpha)

    def alpha(self, tau):
        return np.exp(self.log_alpha(tau))

    def sigma(self, tau):
        return np.sqrt(-np.expm1(2.0 * self.log_alpha(tau)))

    def lam(self, tau):
        return self.log_alpha(tau) - np.log(self.sigma(tau))


def from_rows(rows: list[Row], marginals: Marginals, *, predicts_data: bool) -> Sampler:
    """Packs a solver's rows into the table that `sample` runs."""
    tau = np.array([row.tau for row in rows])
    weights = np.zeros((len(rows), HISTORY))
    for i, row in enumerate(rows):
        weights[i, : len(row.history_weights)] = row.history_weights
    return Sampler(
        timestep=tau * marginals.num_timesteps - 1.0,
        alpha=marginals.alpha(tau),
        sigma=marginals.sigma(tau),
        starts_step=np.array([float(row.starts_step) for row in rows]),
        base_weight=np.array([row.base_weight for row in rows]),
        history_weights=weights,
        noise_scale=np.array([row.noise_scale for row in rows]),
        predicts_data=predicts_data,
    )


def sample(
    sampler: Sampler,
    denoise: Denoise,
    x_T: chex.Array,
    key: chex.PRNGKey,
    *,
    clip: float | None = None,
    unroll: int = 1,
) -> chex.Array:
    """Turns noise into samples by calling the network once for every row of the sampler's table.

    Args:
      sampler: the table, from `make_sampler`.
      denoise: noise prediction, (x [..., A], timestep []) -> [..., A].
      x_T: starting noise [..., A], standard normal.
      key: randomness of a stochastic sampler's steps; a deterministic sampler ignores it.
      clip: bound of the data. At every call the a_0 that the prediction implies is kept in
        [-clip, clip], and so is the result. None leaves both as they are.
      unroll: number of rows compiled into one body of the loop; changes the speed only.

    Returns:
      The samples [..., A].
    """

    def noise_at(index: chex.Array) -> chex.Array:
        return _noise_of_row(key, index, x_T.shape, x_T.dtype)

    return _run(sampler, denoise, x_T, np.arange(sampler.num_calls), noise_at, clip, unroll)


def draw_noise(
    sampler: Sampler, key: chex.PRNGKey, shape: Sequence[int], dtype: jnp.dtype = float
) -> chex.Array | None:
    """Draws beforehand the noise that `sample` would draw from the same key on its way.

    Args:
      sampler: the table with n rows, from `make_sampler`.
      key: the key that `sample` would get.
      shape: shape [..., A] of the samples.
      dtype: floating type of the samples.

    Returns:
      Standard normal noise [n, ..., A], one slice per row; None if the sampler is deterministic.
    """
    if not sampler.is_stochastic:
        return None
    draw = lambda index: _noise_of_row(key, index, tuple(shape), dtype)  # noqa: E731
    return jax.vmap(draw)(np.arange(sampler.num_calls))


def sample_with_noise(
    sampler: Sampler,
    denoise: Denoise,
    x_T: chex.Array,
    noise: chex.Array | None,
    *,
    clip: float | None = None,
    unroll: int = 1,
) -> chex.Array:
    """`sample` as a deterministic function: the noise of its steps is given, not drawn.

    Args:
      sampler: the table with n rows, from `make_sampler`.
      denoise: noise prediction, (x [..., A], timestep []) -> [..., A].
      x_T: starting noise [..., A], standard normal.
      noise: what `draw_noise` returned for this sampler: [n, ..., A], or None if the sampler is
        deterministic.
      clip: as in `sample`.
      unroll: as in `sample`.

    Returns:
      The samples [..., A]. With the noise `draw_noise(sampler, key, x_T.shape, x_T.dtype)` they are
      those of `sample(sampler, denoise, x_T, key)`, up to the rounding that compilation changes.

    Raises:
      AssertionError: the noise does not have the shape that the sampler needs.
    """
    if not sampler.is_stochastic:
        return _run(sampler, denoise, x_T, None, lambda z: z, clip, unroll)
    chex.assert_shape(noise, (sampler.num_calls, *x_T.shape))
    return _run(sampler, denoise, x_T, noise, lambda z: z, clip, unroll)


def _noise_of_row(
    key: chex.PRNGKey, index: chex.Array, shape: Sequence[int], dtype: jnp.dtype
) -> chex.Array:
    return jax.random.normal(jax.random.fold_in(key, index), shape, dtype)


def _run(
    sampler: Sampler,
    denoise: Denoise,
    x_T: chex.Array,
    sources: chex.Array | None,
    noise_at: Callable[[chex.Array], chex.Array],
    clip: float | None,
    unroll: int,
) -> chex.Array:
    """The loop over the rows. Row i of a stochastic sampler adds the noise noise_at(sources[i])."""

    def step(carry, inputs):
        x, base, history = carry
        row, source = inputs
        base = jnp.where(row.starts_step > 0, x, base)
        prediction = _predict(denoise, x, row, sampler.predicts_data, clip)
        history = (prediction, *history[:-1])
        x = row.base_weight * base + sum(
            row.history_weights[j] * history[j] for j in range(HISTORY)
        )
        if sampler.is_stochastic:
            x += row.noise_scale * noise_at(source)
        return (x, base, history), None

    rows = jax.tree.map(
        lambda column: jnp.asarray(column, x_T.dtype), sampler._replace(predicts_data=None)
    )
    carry = (x_T, x_T, (jnp.zeros_like(x_T),) * HISTORY)
    (x, _, _), _ = jax.lax.scan(step, carry, (rows, sources), unroll=unroll)
    return x if clip is None else jnp.clip(x, -clip, clip)


def _predict(
    denoise: Denoise, x: chex.Array, row: Sampler, predicts_data: bool, clip: float | None
) -> chex.Array:
    """The prediction a solver works with, as eps or as a_0; the only place where the implied a_0 is clipped."""
    eps = denoise(x, row.timestep)
    if clip is None and not predicts_data:
        return eps
    x0 = (x - row.sigma * eps) / row.alpha
    if clip is not None:
        x0 = jnp.clip(x0, -clip, clip)
    return x0 if predicts_data else (x - row.alpha * x0) / row.sigma
