"""Noise schedules and the forward process (EDP, arXiv 2305.20081, section 3 and Eq. 8-9).

A diffusion has K timesteps. Step k = 1..K of the paper has index t = k - 1 in every table, so t = 0
is the least noisy one. abar_k is the product of 1 - beta_1 .. 1 - beta_k.
"""

import chex
import jax.numpy as jnp
import numpy as np
from flax import struct

from edp_jax.types import Array, InputError


class NoiseSchedule(struct.PyTreeNode):
    """Tables over the K timesteps, computed in float64 and stored in float32."""

    betas: Array  # [K] variance of the noise that step k adds
    alphas_cumprod: Array  # [K] abar_k
    sqrt_alphas_cumprod: Array  # [K] sqrt(abar_k): weight of a_0 in a_k
    sqrt_one_minus_alphas_cumprod: Array  # [K] sqrt(1 - abar_k): weight of the noise in a_k
    sqrt_recip_alphas_cumprod: Array  # [K] 1 / sqrt(abar_k)
    sqrt_recipm1_alphas_cumprod: Array  # [K] sqrt(1 / abar_k - 1)
    posterior_mean_coef1: Array  # [K] weight of a_0 in the mean of q(a_{k-1} | a_k, a_0)
    posterior_mean_coef2: Array  # [K] weight of a_k in that mean
    posterior_variance: Array  # [K] variance of q(a_{k-1} | a_k, a_0); 0 at k = 1
    posterior_log_variance: Array  # [K] its logarithm; at k = 1, where it is log 0, that of k = 2

    @property
    def num_timesteps(self) -> int:
        return self.betas.shape[0]


def vp_betas(num_timesteps: int, beta_min: float = 0.1, beta_max: float = 10.0) -> np.ndarray:
    """Discretised variance-preserving SDE (EDP section 5; Xiao et al., 2112.07804, Eq. 10).

    Args:
      num_timesteps: K.
      beta_min: rate of the SDE's noise at its beginning, per unit of time; the K steps take 1.
      beta_max: rate of the SDE's noise at its end.

    Returns:
      [K] float64: 1 - exp(-beta_min / K - (beta_max - beta_min) (2 k - 1) / (2 K^2)).
    """
    k = np.arange(1, num_timesteps + 1, dtype=np.float64)
    exponent = (
        beta_min / num_timesteps + 0.5 * (beta_max - beta_min) * (2 * k - 1) / num_timesteps**2
    )
    return -np.expm1(-exponent)


def linear_betas(num_timesteps: int) -> np.ndarray:
    """Linear schedule of DDPM (2006.11239, section 4), for any number of timesteps.

    DDPM has 1e-4 to 2e-2 in 1000 steps. Other numbers of steps scale these ends by 1000 / K, so
    that abar_K stays about the same.

    Args:
      num_timesteps: K.

    Returns:
      [K] float64, each at most 0.999.
    """
    scale = 1000.0 / num_timesteps
    return np.minimum(
        np.linspace(1e-4 * scale, 2e-2 * scale, num_timesteps, dtype=np.float64), 0.999
    )


def cosine_betas(num_timesteps: int, offset: float = 0.008) -> np.ndarray:
    """Cosine schedule of Improved DDPM (2102.09672, Eq. 17).

    Args:
      num_timesteps: K.
      offset: s of the paper; it keeps the first betas from vanishing.

    Returns:
      [K] float64, each at most 0.999: 1 - f(k) / f(k - 1) with f(k) = cos^2((k / K + s) / (1 + s)
      pi / 2).
    """
    x = np.arange(num_timesteps + 1, dtype=np.float64) / num_timesteps
    abar = np.cos((x + offset) / (1 + offset) * np.pi / 2) ** 2
    return np.minimum(1.0 - abar[1:] / abar[:-1], 0.999)


SCHEDULES = {"vp": vp_betas, "linear": linear_betas, "cosine": cosine_betas}


def make_schedule(name: str, num_timesteps: int) -> NoiseSchedule:
    """Builds a noise schedule by name.

    Args:
      name: a key of `SCHEDULES`: "vp", "linear" or "cosine".
      num_timesteps: K, at least 1.

    Returns:
      The schedule's tables.

    Raises:
      InputError: the name is unknown or K is below 1.
    """
    if name not in SCHEDULES:
        raise InputError(f"noise schedule {name!r} is unknown: use one of {', '.join(SCHEDULES)}")
    if num_timesteps < 1:
        raise InputError(
            f"num_timesteps={num_timesteps} is too small: a diffusion needs at least 1 timestep"
        )
    return from_betas(SCHEDULES[name](num_timesteps))


def from_betas(betas: np.ndarray) -> NoiseSchedule:
    """Computes all tables of a schedule from its betas.

    Args:
      betas: [K] float64, each between 0 and 1.

    Returns:
      The schedule's tables.
    """
    log_abar = np.cumsum(np.log1p(-betas))
    abar, one_minus_abar = np.exp(log_abar), -np.expm1(log_abar)
    previous_abar = np.append(1.0, abar[:-1])
    previous_one_minus_abar = np.append(0.0, one_minus_abar[:-1])
    posterior_variance = betas * previous_one_minus_abar / one_minus_abar
    tables = NoiseSchedule(
        betas=betas,
        alphas_cumprod=abar,
        sqrt_alphas_cumprod=np.sqrt(abar),
        sqrt_one_minus_alphas_cumprod=np.sqrt(one_minus_abar),
        sqrt_recip_alphas_cumprod=1.0 / np.sqrt(abar),
        sqrt_recipm1_alphas_cumprod=np.sqrt(one_minus_abar / abar),
        posterior_mean_coef1=betas * np.sqrt(previous_abar) / one_minus_abar,
        posterior_mean_coef2=previous_one_minus_abar * np.sqrt(1.0 - betas) / one_minus_abar,
        posterior_variance=posterior_variance,
        posterior_log_variance=np.log(
            np.append(posterior_variance[1:2], posterior_variance[1:]) if len(betas) > 1 else betas
        ),
    )
    return NoiseSchedule(
        **{name: np.asarray(table, np.float32) for name, table in vars(tables).items()}
    )


def add_noise(schedule: NoiseSchedule, x0: Array, t: Array, noise: Array) -> Array:
    """Forward process: puts noise into clean actions, as much as belongs to a timestep.

    Args:
      schedule: noise schedule with K timesteps.
      x0: [..., A] clean actions a_0.
      t: [...] integer timestep of each action, 0..K-1.
      noise: [..., A] standard normal.

    Returns:
      [..., A] a_k = sqrt(abar_k) a_0 + sqrt(1 - abar_k) noise (EDP Eq. 8).

    Raises:
      AssertionError: the shapes do not fit together.
    """
    chex.assert_equal_shape([x0, noise])
    return (
        _at(schedule.sqrt_alphas_cumprod, t, x0) * x0
        + _at(schedule.sqrt_one_minus_alphas_cumprod, t, x0) * noise
    )


def predict_x0(schedule: NoiseSchedule, x_t: Array, t: Array, eps: Array) -> Array:
    """Action approximation: takes the predicted noise out of noisy actions, in one step.

    Args:
      schedule: noise schedule with K timesteps.
      x_t: [..., A] noisy actions a_k.
      t: [...] integer timestep of each action, 0..K-1.
      eps: [..., A] the network's prediction of the noise in them.

    Returns:
      [..., A] a0_hat = a_k / sqrt(abar_k) - sqrt(1 / abar_k - 1) eps (EDP Eq. 9), not clipped.

    Raises:
      AssertionError: the shapes do not fit together.
    """
    chex.assert_equal_shape([x_t, eps])
    return (
        _at(schedule.sqrt_recip_alphas_cumprod, t, x_t) * x_t
        - _at(schedule.sqrt_recipm1_alphas_cumprod, t, x_t) * eps
    )


def posterior(schedule: NoiseSchedule, x0: Array, x_t: Array, t: Array) -> tuple[Array, Array]:
    """Distribution of the action one timestep earlier, given the clean and the noisy one.

    Args:
      schedule: noise schedule with K timesteps.
      x0: [..., A] clean actions a_0.
      x_t: [..., A] noisy actions a_k.
      t: [...] integer timestep of each action, 0..K-1.

    Returns:
      Mean [..., A] and log-variance [..., 1] of the Gaussian q(a_{k-1} | a_k, a_0) (DDPM,
      2006.11239, Eq. 6-7).

    Raises:
      AssertionError: the shapes do not fit together.
    """
    chex.assert_equal_shape([x0, x_t])
    mean = (
        _at(schedule.posterior_mean_coef1, t, x_t) * x0
        + _at(schedule.posterior_mean_coef2, t, x_t) * x_t
    )
    return mean, _at(schedule.posterior_log_variance, t, x_t)


def _at(table: Array, t: Array, x: Array) -> Array:
    """The table's entries at t [...], as a factor [..., 1] for x [..., A]."""
    chex.assert_shape(t, x.shape[:-1])
    return jnp.asarray(table)[t][..., None]
