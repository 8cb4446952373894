"""DPM-Solver++ (2211.01095): the second-order multistep solver, as an ODE (2M) and as an SDE.

It works on predictions x0 of the clean data. A step leads from time s to time t. With
h = lambda_t - lambda_s and D = x0 + (h / (2 h_previous)) (x0 - x0_previous), it computes

    ODE (Algorithm 2):  x_t = sigma_t / sigma_s x_s + alpha_t (1 - e^-h) D
    SDE (Eq. 18):       x_t = sigma_t / sigma_s e^-h x_s + alpha_t (1 - e^-2h) D
                              + sigma_t sqrt(1 - e^-2h) z,   z ~ N(0, I)
"""

import numpy as np

from edp_jax.diffusion.dpm_solver import multistep_orders, time_grid
from edp_jax.diffusion.samplers import Marginals, Row, Sampler, from_rows


def multistep(marginals: Marginals, num_calls: int, *, sde: bool) -> Sampler:
    """DPM-Solver++(2M), or SDE-DPM-Solver++(2M).

    Args:
      marginals: of the noise schedule.
      num_calls: number n of network calls, 1..K; also the number of steps.
      sde: solve the SDE, with noise in every step, and not the ODE.

    Returns:
      The sampler's table with n rows.

    Raises:
      InputError: the schedule has a single timestep.
    """
    times = time_grid(marginals, num_calls)
    lam = marginals.lam(times)
    rows = []
    for i, step_order in enumerate(multistep_orders(2, num_calls)):
        s, t = times[i], times[i + 1]
        h = lam[i + 1] - lam[i]
        decay = 2.0 * h if sde else h
        weights = np.array([1.0, 0.0])
        if step_order == 2:
            weights += 0.5 * h / (lam[i] - lam[i - 1]) * np.array([1.0, -1.0])
        rows.append(
            Row(
                time=s,
                starts_step=True,
                base_weight=marginals.sigma(t) / marginals.sigma(s) * np.exp(h - decay),
                history_weights=tuple(-marginals.alpha(t) * np.expm1(-decay) * weights),
                noise_scale=marginals.sigma(t) * np.sqrt(-np.expm1(-2.0 * h)) if sde else 0.0,
            )
        )
    return from_rows(rows, marginals, predicts_data=True)
