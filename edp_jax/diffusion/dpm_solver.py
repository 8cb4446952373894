"""DPM-Solver (2206.00927): single-step orders 1-3 (Algorithms 1, 2 and the third-order one) and multistep orders 2-3.

Notation of the paper: h = lambda_t - lambda_s, phi_1(h) = e^h - 1, phi_2(h) = phi_1/h - 1, phi_3(h) = phi_2/h - 1/2;
each step starts at time s and ends at t. Times are uniform in tau and end at 1/K.
"""

import numpy as np

from edp_jax.diffusion.samplers import Marginals, Row, Sampler, from_rows
from edp_jax.types import InputError


def time_grid(marginals: Marginals, num_steps: int) -> np.ndarray:
    """num_steps + 1 times from 1 down to 1/K, the first and the last entry of the schedule's table.

    Raises:
      InputError: K = 1, where both are the same.
    """
    if marginals.num_timesteps == 1:
        raise InputError(
            "num_timesteps=1 is too small for a DPM-Solver, which needs two times to go between: use at least 2"
        )
    return np.linspace(1.0, 1.0 / marginals.num_timesteps, num_steps + 1)


def singlestep_orders(order: int, num_calls: int) -> list[int]:
    """Orders of the steps that use `num_calls` calls; the last one is always 1 (2206.00927, App. D.3: 15 -> 3,3,3,3,2,1).

    PARITY: the published rule ends in order 2 for 3 n + 2 calls (order 3) or 2 n (order 2). With steps uniform in time the last
    one spans most of lambda, and a second-order one scatters the samples: 5 calls give a deviation of 0.56 for data of 0.3.
    """
    full, rest = divmod(num_calls - 1, order)
    return [order] * full + [rest] * (rest > 0) + [1]


def singlestep(marginals: Marginals, num_calls: int, order: int) -> Sampler:
    """DPM-Solver-`order`: each step takes as many calls as its order and a share of the time in proportion."""
    orders = singlestep_orders(order, num_calls)
    taus = time_grid(marginals, num_calls)[np.cumsum([0, *orders])]
    rows = []
    for step_order, s, t in zip(orders, taus[:-1], taus[1:], strict=True):
        rows += _STEPS[step_order](marginals, s, t)
    return from_rows(rows, marginals, predicts_data=False)


def _first_order(m: Marginals, s: float, t: float) -> list[Row]:
    h = m.lam(t) - m.lam(s)
    return [Row(s, True, m.alpha(t) / m.alpha(s), (-m.sigma(t) * np.expm1(h),))]


def _second_order(m: Marginals, s: float, t: float) -> list[Row]:
    h = m.lam(t) - m.lam(s)
    s1 = 0.5 * (s + t)
    r1 = (m.lam(s1) - m.lam(s)) / h
    weight = -m.sigma(t) * np.expm1(h)
    return [
        *_first_order(m, s, s1),
        Row(s1, False, m.alpha(t) / m.alpha(s), (0.5 / r1 * weight, (1.0 - 0.5 / r1) * weight)),
    ]


def _third_order(m: Marginals, s: float, t: float) -> list[Row]:
    h = m.lam(t) - m.lam(s)
    s1, s2 = (2 * s + t) / 3, (s + 2 * t) / 3
    r1, r2 = (m.lam(s1) - m.lam(s)) / h, (m.lam(s2) - m.lam(s)) / h
    phi_22 = np.expm1(r2 * h) / (r2 * h) - 1.0
    slope_2 = -m.sigma(s2) * r2 / r1 * phi_22  # of (eps_s1 - eps_s)
    slope_3 = -m.sigma(t) / r2 * (np.expm1(h) / h - 1.0)  # of (eps_s2 - eps_s)
    return [
        *_first_order(m, s, s1),
        Row(
            s1,
            False,
            m.alpha(s2) / m.alpha(s),
            (slope_2, -m.sigma(s2) * np.expm1(r2 * h) - slope_2),
        ),
        Row(
            s2, False, m.alpha(t) / m.alpha(s), (slope_3, 0.0, -m.sigma(t) * np.expm1(h) - slope_3)
        ),
    ]


_STEPS = {1: _first_order, 2: _second_order, 3: _third_order}


def multistep_orders(order: int, num_steps: int) -> list[int]:
    """Orders of a multistep solver: it grows with the predictions at hand and, below 10 steps, falls at the end too."""
    limit = [min(order, i + 1) for i in range(num_steps)]
    return [min(o, num_steps - i) for i, o in enumerate(limit)] if num_steps < 10 else limit


def multistep(marginals: Marginals, num_calls: int, order: int) -> Sampler:
    """Multistep DPM-Solver (2211.01095, App. D.4): one call per step, older predictions give the derivatives of eps.

    PARITY: the published third-order solver is of second order in practice, for two reasons mended here: its first step is of
    first order (ours is DPM-Solver-2, two calls), and its weight of the second divided difference, which is h^2 eps''/2,
    lacks the factor 2.
    """
    warm_up = order == 3 and num_calls >= 3
    taus = time_grid(marginals, num_calls - warm_up)
    rows = _second_order(marginals, taus[0], taus[1]) if warm_up else []
    orders = multistep_orders(order, len(taus) - 1)
    for i in range(1 if warm_up else 0, len(taus) - 1):
        s, t = taus[i], taus[i + 1]
        called_at = [marginals.lam(row.tau) for row in rows[-1:-3:-1]]  # newest first
        lam = marginals.lam(s)
        h = marginals.lam(t) - lam
        phi_1 = np.expm1(h)
        phi_2 = phi_1 / h - 1.0
        weights = np.array([phi_1, 0.0, 0.0])
        if orders[i] > 1:
            r0 = (lam - called_at[0]) / h
            first = (
                np.array([1.0, -1.0, 0.0]) / r0
            )  # first divided difference of eps, in units of h
        if orders[i] == 2:
            weights += 0.5 * phi_1 * first
        if orders[i] == 3:
            r1 = (called_at[0] - called_at[1]) / h
            second = (first - np.array([0.0, 1.0, -1.0]) / r1) / (r0 + r1)
            weights += phi_2 * (first + r0 * second) + 2.0 * (phi_2 / h - 0.5) * second
        rows.append(
            Row(
                s,
                True,
                marginals.alpha(t) / marginals.alpha(s),
                tuple(-marginals.sigma(t) * weights),
            )
        )
    return from_rows(rows, marginals, predicts_data=False)
