"""Samplers on Gaussian data, where the exact noise and the exact solution of the ODE are known.

For x_0 ~ N(mu, s^2) the marginal at a time t is N(alpha mu, v), v = alpha^2 s^2 + sigma^2, so that
    eps(x, t) = sigma (x - alpha mu) / v
    x(t) = alpha mu + sqrt(v / v_T) (x_T - alpha_T mu).
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from edp_jax import diffusion
from edp_jax.diffusion.dpm_solver import multistep_orders, singlestep_orders
from edp_jax.diffusion.samplers import Marginals, Sampler
from edp_jax.diffusion.schedule import from_betas
from edp_jax.types import InputError

MU, S = 0.3, 0.5
KEY = jax.random.key(0)


class Gaussian:
    """Gaussian data under a schedule.

    log alpha is linear between the timesteps, as every solver assumes.
    """

    def __init__(self, schedule):
        self.num_timesteps = schedule.num_timesteps
        self.times = np.arange(self.num_timesteps + 1) / self.num_timesteps
        self.log_alpha = np.append(
            0.0, 0.5 * np.cumsum(np.log1p(-np.asarray(schedule.betas, np.float64)))
        )

    def marginal(self, time):
        """Mean and standard deviation at a time."""
        alpha = np.exp(np.interp(time, self.times, self.log_alpha))
        return alpha * MU, np.sqrt(alpha**2 * S**2 + 1.0 - alpha**2)

    def denoise(self, x, t):
        log_alpha = jnp.interp((t + 1.0) / self.num_timesteps, self.times, self.log_alpha)
        alpha, variance = jnp.exp(log_alpha), -jnp.expm1(2.0 * log_alpha)
        return jnp.sqrt(variance) * (x - alpha * MU) / (alpha**2 * S**2 + variance)

    def exact(self, x_T, time):
        (mean_T, std_T), (mean, std) = self.marginal(1.0), self.marginal(time)
        return mean + std / std_T * (x_T - mean_T)


@pytest.mark.parametrize(
    "name, order",
    [
        ("ddim", 1),
        ("dpm_solver_1", 1),
        ("dpm_solver_2", 2),
        ("dpm_solver_3", 3),
        ("dpm_solver_2m", 2),
        ("dpm_solver_3m", 3),
        ("dpm_solver_pp_2m", 2),
    ],
)
def test_order_of_convergence(name, order):
    """Twice the calls divide the error by 2^order.

    In float64, with a lambda that is smooth in time except for the first timestep.

    The third-order single-step solver is followed up to its last step, which is of first order.
    """
    with jax.enable_x64(True):
        ends_at_zero = name == "ddim"  # the others end at 1/K
        schedule = (
            diffusion.make_schedule("vp", 1000)
            if ends_at_zero
            else from_betas(np.array([0.2] + [1e-3] * 999))
        )
        data, x_T = Gaussian(schedule), jnp.linspace(-2.0, 2.0, 9)
        end, errors = 0.0 if ends_at_zero else 1e-3, []
        for calls in (24, 48, 96, 192):
            if name == "dpm_solver_3":
                sampler = diffusion.make_sampler(name, schedule, calls + 1)
                end = (sampler.timestep[-1] + 1.0) / 1000
                sampler = Sampler(*(column[:-1] for column in sampler[:-1]), predicts_data=False)
            else:
                sampler = diffusion.make_sampler(name, schedule, calls)
            errors.append(
                np.abs(
                    diffusion.sample(sampler, data.denoise, x_T, KEY) - data.exact(x_T, end)
                ).max()
            )
    slopes = np.log2(errors[:-1]) - np.log2(errors[1:])
    assert np.all(np.diff(errors) < 0)
    assert abs(slopes[-1] - order) < 0.2, slopes
    assert np.mean(slopes[-2:]) > order - 0.25, slopes


def moments(sampler, data):
    """Exact mean and variance of the samples of Gaussian data.

    Every quantity is linear in (1, x_T, z_1 .. z_n); an array holds its coefficients.
    """
    mean_T, std_T = data.marginal(1.0)
    x = np.zeros(2 + sampler.num_calls)
    x[1], history, base = 1.0, [0.0] * 3, None
    for i in range(sampler.num_calls):
        base = x if sampler.starts_step[i] else base
        mean, std = data.marginal((sampler.timestep[i] + 1.0) / data.num_timesteps)
        centred = x.copy()
        centred[0] -= mean
        eps = sampler.sigma[i] * centred / std**2
        history = [
            (x - sampler.sigma[i] * eps) / sampler.alpha[i] if sampler.predicts_data else eps,
            *history[:2],
        ]
        x = sampler.base_weight[i] * base + sum(
            w * h for w, h in zip(sampler.history_weights[i], history, strict=True)
        )
        x[2 + i] += sampler.noise_scale[i]
    return x[0] + x[1] * mean_T, (x[1] * std_T) ** 2 + np.sum(x[2:] ** 2)


@pytest.mark.parametrize("name, order, end", [("ddpm", 1, 0.0), ("sde_dpm_solver_pp_2m", 2, 1e-3)])
def test_stochastic_samplers_converge_to_mean_and_variance(name, order, end):
    """The mean is exact at any number of calls.

    The error of the variance falls with the solver's (weak) order.
    """
    schedule = diffusion.make_schedule("vp", 1000)
    data = Gaussian(schedule)
    mean, std = data.marginal(end)
    errors = []
    for num_calls in (100, 200, 400):
        sampled_mean, sampled_variance = moments(
            diffusion.make_sampler(name, schedule, num_calls), data
        )
        np.testing.assert_allclose(sampled_mean, mean, atol=1e-9)
        errors.append(abs(sampled_variance / std**2 - 1.0))
    assert errors[-1] < 0.03
    np.testing.assert_allclose(np.log2(errors[:-1]) - np.log2(errors[1:]), order, atol=0.25)


@pytest.mark.parametrize(
    "name, num_calls, end, bias",
    [
        # beta~ is the variance for data without spread: too small by O(1/calls)
        ("ddpm", 1000, 0.0, -0.011),
        ("ddpm", 100, 0.0, -0.093),
        ("sde_dpm_solver_pp_2m", 200, 1e-3, 0.016),  # O(1/calls^2)
    ],
)
def test_stochastic_samplers_reproduce_mean_and_variance(name, num_calls, end, bias):
    n = 10_000
    schedule = diffusion.make_schedule("vp", 1000)
    data = Gaussian(schedule)
    mean_T, std_T = data.marginal(1.0)
    x_T = mean_T + std_T * jax.random.normal(jax.random.key(1), (n,))
    x = np.asarray(
        diffusion.sample(diffusion.make_sampler(name, schedule, num_calls), data.denoise, x_T, KEY),
        np.float64,
    )
    mean, std = data.marginal(end)
    assert abs(x.mean() - mean) < 4 * std / np.sqrt(n)  # standard error of a mean
    assert abs(x.var() / std**2 - (1.0 + bias)) < 4 * np.sqrt(2 / n)  # ... of a variance, relative


def test_deterministic_samplers_ignore_the_key_and_stochastic_ones_use_it():
    schedule = diffusion.make_schedule("vp", 10)
    data, x_T = Gaussian(schedule), jnp.ones((2, 3))
    for name in ("ddim", "ddpm"):
        sampler = diffusion.make_sampler(name, schedule, 4)
        first, second = (
            diffusion.sample(sampler, data.denoise, x_T, jax.random.key(i)) for i in (0, 1)
        )
        assert bool(jnp.all(first == second)) == (not sampler.is_stochastic) == (name == "ddim")


@pytest.mark.parametrize("name", ["ddpm", "sde_dpm_solver_pp_2m"])
def test_noise_drawn_beforehand_gives_the_same_samples(name):
    """Slice i of the noise is normal(fold_in(key, i)), and the chain does the same with it.

    Bit for bit where each operation runs by itself. A compiled chain rounds differently where the
    compiler merges the drawing of the noise with the arithmetic around it.
    """
    schedule = diffusion.make_schedule("vp", 10)
    data, x_T = Gaussian(schedule), jnp.linspace(-1.0, 1.0, 6).reshape(2, 3)
    sampler = diffusion.make_sampler(name, schedule, 4)
    noise = diffusion.draw_noise(sampler, KEY, x_T.shape)
    assert noise.shape == (4, 2, 3)
    for i in range(4):
        expected = jax.random.normal(jax.random.fold_in(KEY, i), (2, 3))
        np.testing.assert_array_equal(noise[i], expected)

    def drawn_on_the_way(key):
        return diffusion.sample(sampler, data.denoise, x_T, key, clip=1.5)

    def drawn_beforehand(key):
        noise = diffusion.draw_noise(sampler, key, x_T.shape)
        return diffusion.sample_with_noise(sampler, data.denoise, x_T, noise, clip=1.5, unroll=4)

    expected = drawn_on_the_way(KEY)
    np.testing.assert_allclose(jax.jit(drawn_beforehand)(KEY), expected, atol=1e-6)
    with jax.disable_jit():
        np.testing.assert_array_equal(drawn_beforehand(KEY), drawn_on_the_way(KEY))
    other = diffusion.sample_with_noise(sampler, data.denoise, x_T, -noise, clip=1.5)
    assert np.abs(other - expected).max() > 0.1  # the noise given is the noise used


def test_a_deterministic_sampler_needs_no_noise():
    schedule = diffusion.make_schedule("vp", 10)
    data, x_T = Gaussian(schedule), jnp.ones((2, 3))
    sampler = diffusion.make_sampler("dpm_solver_3", schedule, 4)
    assert diffusion.draw_noise(sampler, KEY, x_T.shape) is None
    np.testing.assert_array_equal(
        diffusion.sample_with_noise(sampler, data.denoise, x_T, None),
        diffusion.sample(sampler, data.denoise, x_T, KEY),
    )


@pytest.mark.parametrize("shape", [None, (3, 2, 3), (4, 3), (4, 1, 3)])
def test_noise_of_another_shape_is_refused(shape):
    schedule = diffusion.make_schedule("vp", 10)
    sampler = diffusion.make_sampler("ddpm", schedule, 4)
    noise = None if shape is None else jnp.zeros(shape)
    with pytest.raises(AssertionError):
        diffusion.sample_with_noise(sampler, lambda x, t: x, jnp.ones((2, 3)), noise)


@pytest.mark.parametrize(
    "num_calls, orders",
    [
        (1, [1]),
        (2, [1, 1]),
        (3, [2, 1]),
        (4, [3, 1]),
        (5, [3, 1, 1]),
        (6, [3, 2, 1]),
        (7, [3, 3, 1]),
        (15, [3, 3, 3, 3, 2, 1]),
    ],
)
def test_singlestep_orders(num_calls, orders):
    """As in DPM-Solver (App. D.3), but for 3 n + 2 calls."""
    assert singlestep_orders(3, num_calls) == orders


@pytest.mark.parametrize("order", [1, 2, 3])
def test_singlestep_orders_use_every_call(order):
    for num_calls in range(1, 40):
        orders = singlestep_orders(order, num_calls)
        assert sum(orders) == num_calls and set(orders) <= set(range(1, order + 1))


@pytest.mark.parametrize("name", ["ddim", "dpm_solver_1", "dpm_solver_2", "dpm_solver_3"])
def test_few_calls_narrow_the_samples_and_never_scatter_them(name):
    schedule = diffusion.make_schedule("vp", 1000)
    data = Gaussian(schedule)
    for num_calls in range(1, 16):
        mean, variance = moments(diffusion.make_sampler(name, schedule, num_calls), data)
        assert abs(mean - MU) < 1e-3 and np.sqrt(variance) < 1.01 * S


def test_multistep_orders_grow_and_fall():
    assert multistep_orders(3, 5) == [1, 2, 3, 2, 1]
    assert (
        multistep_orders(2, 12) == [1] + [2] * 11
    )  # with many steps the last ones keep their order
    assert multistep_orders(2, 9)[-2:] == [2, 1] and multistep_orders(2, 10)[-2:] == [2, 2]
    assert multistep_orders(3, 1) == [1]


@pytest.mark.parametrize("name", diffusion.SAMPLERS)
def test_any_number_of_calls(name):
    """num_calls network calls at timesteps of the table, finite results in the box."""
    for K in (4, 100):
        schedule = diffusion.make_schedule("vp", K)
        for num_calls in (1, 2, 3, 4):
            sampler, told = diffusion.make_sampler(name, schedule, num_calls), []

            def denoise(x, t, told=told):
                told.append(float(t))
                return jnp.sin(5.0 * x) - x

            with jax.disable_jit():
                x = diffusion.sample(sampler, denoise, jnp.linspace(-3.0, 3.0, 8), KEY, clip=1.0)
            assert sampler.num_calls == len(told) == num_calls
            assert told[0] == K - 1 and np.all(np.diff(told) < 0) and told[-1] >= 0
            assert np.all(np.isfinite(x)) and np.all(np.abs(x) <= 1.0)


@pytest.mark.parametrize("schedule_name", diffusion.SCHEDULES)
@pytest.mark.parametrize("name", diffusion.SAMPLERS)
def test_tables_are_finite_at_every_number_of_calls(name, schedule_name):
    """No timestep is outside the schedule, which would give NaN, and none is visited twice."""
    for K, calls in ((100, (1, 2, 5, 15, 50, 99, 100)), (7, range(1, 8))):
        schedule = diffusion.make_schedule(schedule_name, K)
        for num_calls in calls:
            sampler = diffusion.make_sampler(name, schedule, num_calls)
            assert all(np.all(np.isfinite(column)) for column in sampler[:-1])
            assert sampler.timestep[0] == K - 1 and sampler.timestep[-1] >= -1e-9
            assert np.all(np.diff(sampler.timestep) < 0)


@pytest.mark.parametrize("name", ["ddim", "dpm_solver_3", "dpm_solver_pp_2m"])
def test_clip_keeps_the_implied_action_in_the_box(name):
    """The predicted noise asks for an action far outside; the clip makes it the box's nearest."""
    schedule = diffusion.make_schedule("vp", 1000)
    sampler, x_T = diffusion.make_sampler(name, schedule, 15), jnp.array([[0.5, -0.5]])
    wild = lambda x, t: jnp.array([[-30.0, 30.0]])  # noqa: E731
    free = diffusion.sample(sampler, wild, x_T, KEY)
    clipped = diffusion.sample(sampler, wild, x_T, KEY, clip=0.7)
    assert np.all(np.abs(free) > 1.0)
    end = Marginals(schedule).sigma(
        1e-3
    )  # the DPM solvers end at 1/K, where that much noise remains
    np.testing.assert_allclose(clipped, [[0.7, -0.7]], atol=end)
    assert np.all(np.abs(clipped) <= 0.7)


def test_clip_does_nothing_inside_the_box():
    schedule = diffusion.make_schedule("vp", 100)
    sampler = diffusion.make_sampler("dpm_solver_3", schedule, 6)
    towards = lambda x, t: (x - Marginals(schedule).alpha(1.0) * 0.2) / 2.0  # noqa: E731
    x_T = jnp.array([0.1, -0.1])
    free = diffusion.sample(sampler, towards, x_T, KEY)
    np.testing.assert_allclose(
        diffusion.sample(sampler, towards, x_T, KEY, clip=1e3), free, atol=1e-5
    )


def test_ddim_with_half_the_noise():
    """Two calls at abar = 0.4 and 0.8, by DDIM Eq. 12 and 16.

    noise = 0.5 sqrt(0.2 / 0.6) sqrt(1 - 0.4 / 0.8) = 0.204124, weight of x sqrt((0.2 - noise^2) /
    0.6) = 0.513701, weight of x0 sqrt(0.8) - 0.513701 sqrt(0.4) = 0.569534; then x0 itself.
    """
    sampler = diffusion.make_sampler("ddim", from_betas(np.array([0.2, 0.5])), 2, eta=0.5)
    np.testing.assert_allclose(sampler.noise_scale, [0.204124, 0.0], atol=1e-6)
    np.testing.assert_allclose(sampler.base_weight, [0.513701, 0.0], atol=1e-6)
    np.testing.assert_allclose(sampler.history_weights, [[0.569534, 0, 0], [1, 0, 0]], atol=1e-6)
    np.testing.assert_allclose(sampler.timestep, [1.0, 0.0], atol=1e-9)
    assert sampler.predicts_data and np.all(sampler.starts_step == 1)


def test_a_single_step_solver_returns_to_the_base_of_its_step():
    """The calls of 3, 2 and 1 for a step of that order: the first one starts it."""
    sampler = diffusion.make_sampler("dpm_solver_3", diffusion.make_schedule("vp", 100), 6)
    np.testing.assert_array_equal(sampler.starts_step, [1, 0, 0, 1, 0, 1])


@pytest.mark.parametrize("shape", [(1, 3), (2, 1), (3,), (4, 2, 3)])
def test_a_noise_prediction_of_another_shape_is_refused(shape):
    sampler = diffusion.make_sampler("ddim", diffusion.make_schedule("vp", 10), 4)
    with pytest.raises(AssertionError):
        diffusion.sample(sampler, lambda x, t: jnp.ones(shape), jnp.ones((2, 3)), KEY)


def test_ddim_with_full_noise_is_ddpm():
    schedule = diffusion.make_schedule("vp", 100)
    for num_calls in (100, 7):
        ddim, ddpm = (
            diffusion.make_sampler(name, schedule, num_calls, eta=eta)
            for name, eta in (("ddim", 1.0), ("ddpm", None))
        )
        for column, expected in zip(ddim, ddpm, strict=True):
            np.testing.assert_array_equal(column, expected)


def test_ddpm_takes_the_posterior_steps():
    """With K calls a row is the posterior: coef1 x0 + coef2 x_k, variance beta~ (DDPM Eq. 7)."""
    schedule = diffusion.make_schedule("vp", 20)
    sampler = diffusion.make_sampler("ddpm", schedule, 20)
    np.testing.assert_allclose(sampler.timestep, np.arange(19, -1, -1), atol=1e-9)
    np.testing.assert_allclose(
        sampler.history_weights[:, 0], schedule.posterior_mean_coef1[::-1], atol=1e-6
    )
    np.testing.assert_allclose(sampler.base_weight, schedule.posterior_mean_coef2[::-1], atol=1e-6)
    np.testing.assert_allclose(sampler.noise_scale**2, schedule.posterior_variance[::-1], atol=1e-6)


@pytest.mark.parametrize(
    "name, calls, eta, named",
    [
        ("euler", 5, None, "euler"),
        ("ddim", 11, None, "sampler_calls=11"),
        ("dpm_solver_3", 0, None, "sampler_calls=0"),
        ("dpm_solver_3", 5, 0.5, "eta=0.5"),
        ("ddpm", 5, 0.5, "eta=0.5"),
        ("sde_dpm_solver_pp_2m", 5, 0.0, "eta=0.0"),
        ("ddim", 5, 1.5, "eta=1.5"),
        ("ddim", 5, -0.5, "eta=-0.5"),
    ],
)
def test_refusals(name, calls, eta, named):
    with pytest.raises(InputError, match=named) as error:
        diffusion.make_sampler(name, diffusion.make_schedule("vp", 10), calls, eta=eta)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("platform", "is_loop"), [("cpu", False), ("cuda", False), ("tpu", True)])
def test_the_calls_are_unrolled_but_on_a_tpu(platform, is_loop):
    schedule = diffusion.make_schedule("vp", 10)
    sampler = diffusion.make_sampler("ddim", schedule, 4, eta=0.0)

    def run(x_T):
        return diffusion.sample(sampler, lambda x, t: 0.5 * x, x_T, jax.random.key(0), unroll=4)

    text = jax.jit(run).trace(jnp.ones(3)).lower(lowering_platforms=(platform,)).as_text()
    assert ("stablehlo.while" in text) is is_loop
