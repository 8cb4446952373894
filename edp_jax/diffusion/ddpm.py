"""Ancestral sampling (DDPM, 2006.11239, Algorithm 2) and DDIM (2010.02502, Eq. 12).

DDPM on a subset of the timesteps is DDIM with eta = 1 (DDIM, section 4.1); with all K of them it is Algorithm 2.
"""

import numpy as np

from edp_jax.diffusion.samplers import Marginals, Row, Sampler, from_rows


def ddim(marginals: Marginals, num_calls: int, eta: float = 0.0) -> Sampler:
    """DDIM on `num_calls` timesteps spread evenly over 1..K; eta scales the noise from none (0, the ODE) to DDPM's (1)."""
    K = marginals.num_timesteps
    taus = np.append(np.round(np.linspace(K, 1, num_calls)) / K, 0.0)
    rows = []
    for tau, next_tau in zip(taus[:-1], taus[1:], strict=True):
        alpha, sigma = marginals.alpha(tau), marginals.sigma(tau)
        next_alpha, next_sigma = marginals.alpha(next_tau), marginals.sigma(next_tau)
        noise = eta * next_sigma / sigma * np.sqrt(1.0 - (alpha / next_alpha) ** 2)
        # Eq. 12 with eps written as (x - alpha x0) / sigma
        x_weight = np.sqrt(max(next_sigma**2 - noise**2, 0.0)) / sigma
        rows.append(Row(tau, True, x_weight, (next_alpha - x_weight * alpha,), noise))
    return from_rows(rows, marginals, predicts_data=True)


def ddpm(marginals: Marginals, num_calls: int) -> Sampler:
    """Ancestral sampling with the posterior variance beta~ (DDPM Eq. 7)."""
    return ddim(marginals, num_calls, eta=1.0)
