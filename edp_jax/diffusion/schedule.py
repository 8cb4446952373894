"""Noise schedules and the forward process (EDP, arXiv 2305.20081, section 3 and Eq. 8-9).

Timesteps are 0-based: index t = k - 1 of the paper's k = 1..K.
"""

import chex
import jax.numpy as jnp
import numpy as np
from flax import struct

from edp_jax.types import InputError


@struct.dataclass
class NoiseSchedule:
    """Tables over the K timesteps, computed in float64 and stored in float32."""

    betas: chex.Array  # [K]
    alphas_cumprod: chex.Array  # [K] abar_k
    sqrt_alphas_cumprod: chex.Array  # [K]
    sqrt_one_minus_alphas_cumprod: chex.Array  # [K]
    sqrt_recip_alphas_cumprod: chex.Array  # [K] 1 / sqrt(abar_k)
    sqrt_recipm1_alphas_cumprod: chex.Array  # [K] sqrt(1 / abar_k - 1)
    posterior_mean_coef1: chex.Array  # [K] weight of a_0 in the mean of q(a_{k-1} | a_k, a_0)
    posterior_mean_coef2: chex.Array  # [K] weight of a_k in it
    posterior_variance: chex.Array  # [K] 0 at k = 1
    posterior_log_variance: (
        chex.Array
    )  # [K] its logarithm, with the value at k = 2 standing in for log 0 at k = 1

    @property
    def num_timesteps(self) -> int:
        return self.betas.shape[0]


def vp_betas(num_timesteps: int, beta_min: float = 0.1, beta_max: float = 10.0) -> np.ndarray:
    """Discretised variance-preserving SDE [K] (EDP section 5; Xiao et al. 2112.07804, Eq. 10)."""
    k = np.arange(1, num_timesteps + 1, dtype=np.float64)
    exponent = (
        beta_min / num_timesteps + 0.5 * (beta_max - beta_min) * (2 * k - 1) / num_timesteps**2
    )
    return -np.expm1(-exponent)


def linear_betas(num_timesteps: int) -> np.ndarray:
    """Linear schedule [K] of DDPM (2006.11239, section 4), rescaled so that abar_K does not depend on K."""
    scale = 1000.0 / num_timesteps
    return np.minimum(
        np.linspace(1e-4 * scale, 2e-2 * scale, num_timesteps, dtype=np.float64), 0.999
    )


def cosine_betas(num_timesteps: int, offset: float = 0.008) -> np.ndarray:
    """Cosine schedule [K] of Improved DDPM (2102.09672, Eq. 17), each beta at most 0.999."""
    x = np.arange(num_timesteps + 1, dtype=np.float64) / num_timesteps
    abar = np.cos((x + offset) / (1 + offset) * np.pi / 2) ** 2
    return np.minimum(1.0 - abar[1:] / abar[:-1], 0.999)


SCHEDULES = {"vp": vp_betas, "linear": linear_betas, "cosine": cosine_betas}


def make_schedule(name: str, num_timesteps: int) -> NoiseSchedule:
    """Builds the schedule `name` ("vp", "linear" or "cosine") with K = `num_timesteps`.

    Raises:
      InputError: the name is unknown or K < 1.
    """
    if name not in SCHEDULES:
        raise InputError(f"noise schedule {name!r} is unknown: use one of {', '.join(SCHEDULES)}")
    if num_timesteps < 1:
        raise InputError(
            f"num_timesteps={num_timesteps} is too small: a diffusion needs at least 1 timestep"
        )
    return from_betas(SCHEDULES[name](num_timesteps))


def from_betas(betas: np.ndarray) -> NoiseSchedule:
    """The tables that follow from the betas [K], float64."""
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


def _at(table: chex.Array, t: chex.Array, x: chex.Array) -> chex.Array:
    """The entries table[t], shaped to multiply x [B, A]."""
    return jnp.expand_dims(jnp.asarray(table)[t], tuple(range(jnp.ndim(t), jnp.ndim(x))))


def add_noise(
    schedule: NoiseSchedule, x0: chex.Array, t: chex.Array, noise: chex.Array
) -> chex.Array:
    """Forward kernel (EDP Eq. 8): a_k = sqrt(abar_k) a_0 + sqrt(1 - abar_k) eps. x0, noise [B, A]; t [B] integer."""
    return (
        _at(schedule.sqrt_alphas_cumprod, t, x0) * x0
        + _at(schedule.sqrt_one_minus_alphas_cumprod, t, x0) * noise
    )


def predict_x0(
    schedule: NoiseSchedule, x_t: chex.Array, t: chex.Array, eps: chex.Array
) -> chex.Array:
    """Action approximation (EDP Eq. 9): a0_hat = a_k / sqrt(abar_k) - sqrt(1 / abar_k - 1) eps, not clipped. [B, A]"""
    return (
        _at(schedule.sqrt_recip_alphas_cumprod, t, x_t) * x_t
        - _at(schedule.sqrt_recipm1_alphas_cumprod, t, x_t) * eps
    )


def posterior(
    schedule: NoiseSchedule, x0: chex.Array, x_t: chex.Array, t: chex.Array
) -> tuple[chex.Array, chex.Array]:
    """Mean [B, A] and log-variance [B, 1] of q(a_{k-1} | a_k, a_0) (DDPM, 2006.11239, Eq. 6-7)."""
    mean = (
        _at(schedule.posterior_mean_coef1, t, x_t) * x0
        + _at(schedule.posterior_mean_coef2, t, x_t) * x_t
    )
    return mean, _at(schedule.posterior_log_variance, t, x_t)
