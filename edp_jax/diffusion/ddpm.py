"""Ancestral sampling (DDPM, 2006.11239, Algorithm 2) and DDIM (2010.02502, Eq. 12).

DDPM on a subset of the timesteps is DDIM with eta = 1 (DDIM, section 4.1). On all K timesteps it is
Algorithm 2.
"""

import numpy as np

from edp_jax.diffusion.samplers import Marginals, Row, Sampler, from_rows


def ddim(marginals: Marginals, num_calls: int, eta: float = 0.0) -> Sampler:
    """DDIM on timesteps that are spread evenly over 1..K.

    Args:
      marginals: of the noise schedule.
      num_calls: number n of network calls, 1..K.
      eta: share of DDPM's noise in each step, from 0 (deterministic) to 1 (DDPM).

    Returns:
      The sampler's table with n rows.
    """
    K = marginals.num_timesteps
    times = np.append(np.round(np.linspace(K, 1, num_calls)) / K, 0.0)
    rows = []
    for time, next_time in zip(times[:-1], times[1:], strict=True):
        alpha, sigma = marginals.alpha(time), marginals.sigma(time)
        next_alpha, next_sigma = marginals.alpha(next_time), marginals.sigma(next_time)
        noise = eta * next_sigma / sigma * np.sqrt(1.0 - (alpha / next_alpha) ** 2)
        # Eq. 12 with eps written as (x - alpha x0) / sigma
        x_weight = np.sqrt(max(next_sigma**2 - noise**2, 0.0)) / sigma
        rows.append(Row(time, True, x_weight, (next_alpha - x_weight * alpha,), noise))
    return from_rows(rows, marginals, predicts_data=True)


def ddpm(marginals: Marginals, num_calls: int) -> Sampler:
    """Ancestral sampling whose steps have the posterior's variance (DDPM Eq. 7).

    Args:
      marginals: of the noise schedule.
      num_calls: number n of network calls, 1..K.

    Returns:
      The sampler's table with n rows.
    """
    return ddim(marginals, num_calls, eta=1.0)
