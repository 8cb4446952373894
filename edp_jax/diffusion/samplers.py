"""Samplers as tables of numbers, and the one loop that runs them.

In every sampler here, each next point is a weighted sum of an earlier point, the network's
predictions so far and fresh noise. A sampler is therefore a table with one row per network call.
`ddpm.py`, `dpm_solver.py` and `dpm_solver_pp.py` compute the weights on the host in float64;
`sample` runs any table. Row i does this:

    base    <- x if starts_step[i] else base
    history <- (prediction at x, earlier predictions ...)
    x       <- base_weight[i] * base + sum_j history_weights[i, j] * history[j] + noise_scale[i] * z

with z ~ N(0, I).

Time runs from 1 (pure noise) to 0 (clean data); timestep k = 1..K of the schedule is time k / K.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from edp_jax.diffusion.schedule import NoiseSchedule
from edp_jax.types import Array

HISTORY = 3  # predictions that a third-order step looks at

# (x [..., A], timestep []) -> noise prediction [..., A]
Denoise = Callable[[Array, Array], Array]
Number: TypeAlias = float | np.ndarray


class Sampler(NamedTuple):
    """A sampler that makes n network calls: the columns of its table, static and in float64.

    Attributes:
      timestep: [n] what the network is told: 0 for the least noisy timestep, K - 1 for pure noise.
        DPM-Solvers also call it between two timesteps, at fractional values.
      alpha: [n] sqrt(abar) at that timestep, the weight of a_0 in x.
      sigma: [n] sqrt(1 - abar) there, the weight of the noise in x.
      starts_step: [n] 1 if this call begins a step, else 0. A step of a single-step solver of order
        2 or 3 makes several calls: one at the point x where the step begins, the others at trial
        points on the way. Each of these calls ends in a point computed from where the step began,
        not from the trial point before. So x of the call with 1 is kept as the base, and the rows
        after it reuse it until the next 1. Solvers with one call per step have 1 in every row.
      base_weight: [n] weight of the base in the next x.
      history_weights: [n, HISTORY] weights of the predictions so far, the newest one first.
      noise_scale: [n] standard deviation of the noise added; 0 for deterministic samplers.
      predicts_data: what a prediction is: the clean action a_0 (True) or the noise eps (False).
    """

    timestep: np.ndarray
    alpha: np.ndarray
    sigma: np.ndarray
    starts_step: np.ndarray
    base_weight: np.ndarray
    history_weights: np.ndarray
    noise_scale: np.ndarray
    predicts_data: bool

    @property
    def num_calls(self) -> int:
        """Number n of network calls."""
        return len(self.timestep)

    @property
    def is_stochastic(self) -> bool:
        """Whether any row adds noise; of a scale that is traced it is not known to be 0."""
        return isinstance(self.noise_scale, jax.Array) or bool(np.any(self.noise_scale > 0))


class Row(NamedTuple):
    """One row of a sampler's table, as the solvers build it; see `Sampler`."""

    time: Number  # in (0, 1]
    starts_step: bool
    base_weight: Number
    history_weights: tuple[Number, ...]  # at most HISTORY; the others are 0
    noise_scale: Number = 0.0


class Marginals:
    """alpha, sigma and lambda = log(alpha / sigma) of a noise schedule at any time in [0, 1].

    log alpha is linear between the times k / K of the schedule's timesteps, as in DPM-Solver's
    wrapper for discrete schedules (2206.00927, App. D.2). float64, on the host.

    Attributes:
      num_timesteps: K.
    """

    def __init__(self, schedule: NoiseSchedule) -> None:
        """Reads the betas of a concrete (not traced) schedule."""
        self.num_timesteps = schedule.num_timesteps
        self._times = np.arange(self.num_timesteps + 1) / self.num_timesteps
        log_alpha = 0.5 * np.cumsum(np.log1p(-np.asarray(schedule.betas, np.float64)))
        self._log_alpha = np.append(0.0, log_alpha)

    def log_alpha(self, time: Number) -> np.ndarray:
        """log sqrt(abar)."""
        return np.asarray(np.interp(time, self._times, self._log_alpha))

    def time(self, log_alpha: float) -> float:
        """The time at which log sqrt(abar) has a value: the inverse of `log_alpha`."""
        return float(np.interp(-log_alpha, -self._log_alpha, self._times))

    def alpha(self, time: Number) -> np.ndarray:
        """sqrt(abar), the weight of the clean action."""
        return np.exp(self.log_alpha(time))

    def sigma(self, time: Number) -> np.ndarray:
        """sqrt(1 - abar), the weight of the noise."""
        return np.sqrt(-np.expm1(2.0 * self.log_alpha(time)))

    def lam(self, time: Number) -> np.ndarray:
        """lambda = log(alpha / sigma), half the logarithm of the signal-to-noise ratio."""
        return self.log_alpha(time) - np.log(self.sigma(time))


def from_rows(rows: Sequence[Row], marginals: Marginals, *, predicts_data: bool) -> Sampler:
    """Puts a solver's rows together into the table that `sample` runs.

    Args:
      rows: n rows, in the order of the network calls.
      marginals: of the noise schedule.
      predicts_data: whether the solver works with predictions of a_0 or of the noise.

    Returns:
      The sampler.
    """
    times = np.array([row.time for row in rows])
    weights = np.zeros((len(rows), HISTORY))
    for i, row in enumerate(rows):
        weights[i, : len(row.history_weights)] = row.history_weights
    return Sampler(
        timestep=times * marginals.num_timesteps - 1.0,
        alpha=marginals.alpha(times),
        sigma=marginals.sigma(times),
        starts_step=np.array([float(row.starts_step) for row in rows]),
        base_weight=np.array([row.base_weight for row in rows]),
        history_weights=weights,
        noise_scale=np.array([row.noise_scale for row in rows]),
        predicts_data=predicts_data,
    )


def sample(
    sampler: Sampler,
    denoise: Denoise,
    x_T: Array,
    key: chex.PRNGKey,
    *,
    clip: float | None = None,
    unroll: int = 1,
) -> Array:
    """Turns noise into samples by calling the network once for every row of the sampler's table.

    Args:
      sampler: the table, from `make_sampler`.
      denoise: noise prediction, (x [..., A], timestep []) -> [..., A].
      x_T: starting noise [..., A], standard normal.
      key: randomness of a stochastic sampler's steps; a deterministic sampler ignores it.
      clip: bound of the data. At every call the a_0 that the prediction implies is kept in
        [-clip, clip], and so is the result. None leaves both as they are.
      unroll: number of rows compiled into one body of the loop; changes the speed only. On a TPU
        it is always 1, since more of them take much longer to compile (docs/tpu.md).

    Returns:
      The samples [..., A].

    Raises:
      AssertionError: the noise prediction does not have the shape of x.
    """

    def noise_at(index: Array) -> Array:
        return noise_of_row(key, index, x_T.shape, x_T.dtype)

    return _run(sampler, denoise, x_T, np.arange(sampler.num_calls), noise_at, clip, unroll)


def draw_noise(
    sampler: Sampler, key: chex.PRNGKey, shape: Sequence[int], dtype: DTypeLike = float
) -> Array | None:
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
    draw = lambda index: noise_of_row(key, index, tuple(shape), dtype)  # noqa: E731
    return jax.vmap(draw)(np.arange(sampler.num_calls))


def sample_with_noise(
    sampler: Sampler,
    denoise: Denoise,
    x_T: Array,
    noise: Array | None,
    *,
    clip: float | None = None,
    unroll: int = 1,
) -> Array:
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
      AssertionError: the noise does not have the shape that the sampler needs, or the noise
        prediction not that of x.
    """
    if not sampler.is_stochastic:
        return _run(sampler, denoise, x_T, None, lambda z: z, clip, unroll)
    chex.assert_shape(noise, (sampler.num_calls, *x_T.shape))
    return _run(sampler, denoise, x_T, noise, lambda z: z, clip, unroll)


def noise_of_row(key: chex.PRNGKey, index: Array, shape: Sequence[int], dtype: DTypeLike) -> Array:
    """The standard normal noise that row `index` of a stochastic sampler adds."""
    return jax.random.normal(jax.random.fold_in(key, index), shape, dtype)


def _run(
    sampler: Sampler,
    denoise: Denoise,
    x_T: Array,
    sources: Array | None,
    noise_at: Callable[[Array], Array],
    clip: float | None,
    unroll: int,
) -> Array:
    """The loop over the rows. Row i of a stochastic sampler adds the noise noise_at(sources[i])."""
    columns = sampler._replace(predicts_data=None)
    rows = jax.tree.map(lambda column: jnp.asarray(column, x_T.dtype), columns)

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

    def run(unroll: int) -> Array:
        carry = (x_T, x_T, (jnp.zeros_like(x_T),) * HISTORY)
        return jax.lax.scan(step, carry, (rows, sources), unroll=unroll)[0][0]

    x = jax.lax.platform_dependent(tpu=lambda: run(1), default=lambda: run(unroll))
    return x if clip is None else jnp.clip(x, -clip, clip)


def _predict(
    denoise: Denoise, x: Array, row: Sampler, predicts_data: bool, clip: float | None
) -> Array:
    """The prediction that a solver works with: a_0 or eps, after a_0 was clipped."""
    eps = denoise(x, row.timestep)
    chex.assert_equal_shape([x, eps])
    if clip is None and not predicts_data:
        return eps
    x0 = (x - row.sigma * eps) / row.alpha
    if clip is not None:
        x0 = jnp.clip(x0, -clip, clip)
    return x0 if predicts_data else (x - row.alpha * x0) / row.sigma
