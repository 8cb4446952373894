"""DPM-Solver (2206.00927): single-step solvers of order 1 to 3 and multistep solvers of order 2, 3.

A step leads from time s to time t; time 1 is pure noise and time 0 clean data. h stands for
lambda_t - lambda_s, and phi_1 = e^h - 1, phi_2 = phi_1 / h - 1, phi_3 = phi_2 / h - 1/2, which is
h times the paper's phi functions. All numbers of network calls share the evenly spaced times of
`time_grid`.
"""

import numpy as np

from edp_jax.diffusion.samplers import Marginals, Row, Sampler, from_rows
from edp_jax.types import InputError


def time_grid(marginals: Marginals, num_steps: int) -> np.ndarray:
    """Times at which a DPM-Solver's steps begin and end.

    Args:
      marginals: of a noise schedule with K timesteps.
      num_steps: number of intervals.

    Returns:
      [num_steps + 1] evenly spaced times from 1 down to 1 / K, the times of the schedule's last and
      first timestep.

    Raises:
      InputError: K = 1, where both are the same.
    """
    if marginals.num_timesteps == 1:
        raise InputError(
            "num_timesteps=1 is too small for a DPM-Solver, which needs two times to go between: "
            "use at least 2"
        )
    return np.linspace(1.0, 1.0 / marginals.num_timesteps, num_steps + 1)


def singlestep_orders(order: int, num_calls: int) -> list[int]:
    """Orders of the steps of a single-step solver; a step of order n makes n network calls.

    The last step always has order 1.

    Args:
      order: the highest order, 1 to 3.
      num_calls: number of network calls in all.

    Returns:
      The order of each step, for example 3, 3, 3, 3, 2, 1 for 15 calls (2206.00927, App. D.3).
    """
    # PARITY: the published rule ends with order 2 for 3 n + 2 calls (order 3) or 2 n calls
    # (order 2). The last step spans most of lambda, where a second-order step scatters the samples:
    # with 5 calls their standard deviation is 0.56 for data of 0.3.
    full, rest = divmod(num_calls - 1, order)
    return [order] * full + [rest] * (rest > 0) + [1]


def singlestep(marginals: Marginals, num_calls: int, order: int) -> Sampler:
    """Single-step DPM-Solver: Algorithm 1, Algorithm 2 and the third-order one of the paper.

    A step of order n makes n network calls and takes a share of the time in proportion.

    Args:
      marginals: of the noise schedule.
      num_calls: number n of network calls, 1..K.
      order: the order of most steps, 1 to 3; see `singlestep_orders`.

    Returns:
      The sampler's table with n rows.

    Raises:
      InputError: the schedule has a single timestep.
    """
    orders = singlestep_orders(order, num_calls)
    times = time_grid(marginals, num_calls)[np.cumsum([0, *orders])]
    rows = []
    for step_order, s, t in zip(orders, times[:-1], times[1:], strict=True):
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
    weights = (0.5 / r1 * weight, (1.0 - 0.5 / r1) * weight)
    return [*_first_order(m, s, s1), Row(s1, False, m.alpha(t) / m.alpha(s), weights)]


def _third_order(m: Marginals, s: float, t: float) -> list[Row]:
    h = m.lam(t) - m.lam(s)
    s1, s2 = (2 * s + t) / 3, (s + 2 * t) / 3
    r1, r2 = (m.lam(s1) - m.lam(s)) / h, (m.lam(s2) - m.lam(s)) / h
    phi_22 = np.expm1(r2 * h) / (r2 * h) - 1.0
    slope_2 = -m.sigma(s2) * r2 / r1 * phi_22  # of (eps_s1 - eps_s)
    slope_3 = -m.sigma(t) / r2 * (np.expm1(h) / h - 1.0)  # of (eps_s2 - eps_s)
    weights_2 = (slope_2, -m.sigma(s2) * np.expm1(r2 * h) - slope_2)
    weights_3 = (slope_3, 0.0, -m.sigma(t) * np.expm1(h) - slope_3)
    return [
        *_first_order(m, s, s1),
        Row(s1, False, m.alpha(s2) / m.alpha(s), weights_2),
        Row(s2, False, m.alpha(t) / m.alpha(s), weights_3),
    ]


_STEPS = {1: _first_order, 2: _second_order, 3: _third_order}


def multistep_orders(order: int, num_steps: int) -> list[int]:
    """Orders of the steps of a multistep solver.

    A step of order n needs n predictions, so the first steps have a lower order. With fewer than
    10 steps the last ones have, too, which makes them more robust (2211.01095, App. D.4).

    Args:
      order: the highest order.
      num_steps: number of steps.

    Returns:
      The order of each step, for example 1, 2, 3, 2, 1 for 5 steps of a third-order solver.
    """
    limit = [min(order, i + 1) for i in range(num_steps)]
    return [min(o, num_steps - i) for i, o in enumerate(limit)] if num_steps < 10 else limit


def multistep(marginals: Marginals, num_calls: int, order: int) -> Sampler:
    """Multistep DPM-Solver (2211.01095, App. D.4): one network call per step.

    Earlier predictions take the place of further calls; their differences give the derivatives of
    eps in lambda.

    Args:
      marginals: of the noise schedule.
      num_calls: number n of network calls, 1..K.
      order: 2 or 3.

    Returns:
      The sampler's table with n rows.

    Raises:
      InputError: the schedule has a single timestep.
    """
    # PARITY: the published third-order solver is of second order in practice, for two reasons.
    # Its first step is of first order; here that step is DPM-Solver-2, with two calls. And its
    # second divided difference, which is h^2 eps'' / 2, lacks the factor 2.
    warm_up = order == 3 and num_calls >= 3
    times = time_grid(marginals, num_calls - warm_up)
    rows = _second_order(marginals, times[0], times[1]) if warm_up else []
    orders = multistep_orders(order, len(times) - 1)
    for i in range(1 if warm_up else 0, len(times) - 1):
        s, t = times[i], times[i + 1]
        lam = [marginals.lam(time) for time in (t, s, *(row.time for row in rows[-1:-3:-1]))]
        weights = -marginals.sigma(t) * _multistep_weights(orders[i], -np.diff(lam))
        rows.append(Row(s, True, marginals.alpha(t) / marginals.alpha(s), tuple(weights)))
    return from_rows(rows, marginals, predicts_data=False)


def _multistep_weights(order: int, gaps: np.ndarray) -> np.ndarray:
    """Weights of the newest three predictions in a step of the given order.

    `gaps` are distances in lambda: the step's own h, then those between the last three calls of the
    network, newest first.
    """
    h = gaps[0]
    phi_1 = np.expm1(h)
    newest = np.array([phi_1, 0.0, 0.0])
    if order == 1:
        return newest
    r0 = gaps[1] / h
    first = np.array([1.0, -1.0, 0.0]) / r0  # first divided difference of eps, in units of h
    if order == 2:
        return newest + 0.5 * phi_1 * first
    r1 = gaps[2] / h
    second = (first - np.array([0.0, 1.0, -1.0]) / r1) / (r0 + r1)
    phi_2 = phi_1 / h - 1.0
    return newest + (phi_2 * (first + r0 * second) + 2.0 * (phi_2 / h - 0.5) * second)
