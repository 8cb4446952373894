"""Noise schedules and the forward process against hand-computed numbers."""

import jax.numpy as jnp
import numpy as np
import pytest

from edp_jax import diffusion
from edp_jax.diffusion.schedule import cosine_betas, from_betas
from edp_jax.types import InputError


def test_tables_of_two_timesteps():
    schedule = from_betas(np.array([0.2, 0.5]))
    expected = {
        "alphas_cumprod": [0.8, 0.4],  # 0.8, 0.8 * 0.5
        "sqrt_alphas_cumprod": [0.894427191, 0.632455532],
        "sqrt_one_minus_alphas_cumprod": [0.447213595, 0.774596669],  # sqrt(0.2), sqrt(0.6)
        "sqrt_recip_alphas_cumprod": [1.118033989, 1.581138830],  # sqrt(1.25), sqrt(2.5)
        "sqrt_recipm1_alphas_cumprod": [0.5, 1.224744871],  # sqrt(0.25), sqrt(1.5)
        "posterior_mean_coef1": [
            1.0,
            0.745355992,
        ],  # beta sqrt(abar_{k-1}) / (1 - abar_k) = 0.5 sqrt(0.8) / 0.6
        "posterior_mean_coef2": [
            0.0,
            0.235702260,
        ],  # (1 - abar_{k-1}) sqrt(1 - beta) / (1 - abar_k) = 0.2 sqrt(0.5) / 0.6
        "posterior_variance": [
            0.0,
            0.166666667,
        ],  # beta (1 - abar_{k-1}) / (1 - abar_k) = 0.5 * 0.2 / 0.6
        "posterior_log_variance": [
            -1.791759469,
            -1.791759469,
        ],  # log(1/6), which stands in for log 0
    }
    for name, values in expected.items():
        np.testing.assert_allclose(
            getattr(schedule, name), values, rtol=1e-6, atol=1e-7, err_msg=name
        )
        assert getattr(schedule, name).dtype == np.float32


@pytest.mark.parametrize(
    "name, betas",
    [
        # 1 - exp(-0.1/2 - 0.5 * 9.9 * (1, 3)/4) = 1 - exp(-1.2875), 1 - exp(-3.7625)
        ("vp", [0.724039, 0.976774]),
        # (1e-4, 2e-2) * 1000/2 = 0.05, 10 -> capped
        ("linear", [0.05, 0.999]),
        # f = cos^2((k/2 + 0.008)/1.008 * pi/2) = 0.999845, 0.493767, 0: 1 - f1/f0, and 1 capped
        ("cosine", [0.506156, 0.999]),
    ],
)
def test_betas_of_two_timesteps(name, betas):
    np.testing.assert_allclose(diffusion.make_schedule(name, 2).betas, betas, rtol=2e-5)


@pytest.mark.parametrize("name", diffusion.SCHEDULES)
@pytest.mark.parametrize("num_timesteps", [1, 5, 100, 1000])
def test_tables_are_sound(name, num_timesteps):
    schedule = diffusion.make_schedule(name, num_timesteps)
    assert schedule.num_timesteps == num_timesteps
    for table in vars(schedule).values():
        assert table.shape == (num_timesteps,) and np.all(np.isfinite(table))
    assert np.all(schedule.betas > 0) and np.all(schedule.betas <= np.float32(0.999))
    assert np.all(np.diff(schedule.alphas_cumprod) < 0)


@pytest.mark.parametrize("num_timesteps", [100, 1000])
def test_largest_amplification_of_vp_does_not_depend_on_k(num_timesteps):
    # the exponents sum to b_min + (b_max - b_min)/2 = 5.05 at any K, and exp(5.05 / 2) = 12.49
    schedule = diffusion.make_schedule("vp", num_timesteps)
    np.testing.assert_allclose(schedule.sqrt_recip_alphas_cumprod[-1], np.exp(5.05 / 2), rtol=1e-5)


def test_linear_drowns_the_guide_at_late_timesteps():
    amplification = diffusion.make_schedule("linear", 1000).sqrt_recip_alphas_cumprod[-1]
    assert 150 < amplification < 160  # 157, where vp has 12.5


def test_cosine_betas_are_capped():
    assert cosine_betas(1000).max() == 0.999


def test_add_noise_at_each_rows_own_timestep():
    schedule = from_betas(np.array([0.2, 0.5]))
    x_t = diffusion.add_noise(
        schedule,
        jnp.array([[1.0, -1.0], [0.5, 0.0]]),
        jnp.array([0, 1]),
        jnp.array([[1.0, 2.0], [-1.0, 1.0]]),
    )
    # row 0: sqrt(0.8) x0 + sqrt(0.2) eps; row 1: sqrt(0.4) x0 + sqrt(0.6) eps
    np.testing.assert_allclose(x_t, [[1.341641, 0.0], [-0.458369, 0.774597]], atol=2e-6)


@pytest.mark.parametrize("name", diffusion.SCHEDULES)
def test_predict_x0_undoes_add_noise(name):
    schedule = diffusion.make_schedule(name, 50)
    rng = np.random.default_rng(0)
    t = np.arange(49)  # cosine's last timestep holds no trace of x0 that float32 could bring back
    x0, noise = (
        rng.uniform(-1, 1, (49, 3)).astype(np.float32),
        rng.normal(size=(49, 3)).astype(np.float32),
    )
    x_t = diffusion.add_noise(schedule, x0, t, noise)
    np.testing.assert_allclose(diffusion.predict_x0(schedule, x_t, t, noise), x0, atol=1e-4)


@pytest.mark.parametrize("name", diffusion.SCHEDULES)
def test_posterior_is_bayes_rule(name):
    """q(x_{k-1} | x_k, x_0) is proportional to prior times likelihood.

    The prior is N(x_{k-1}; sqrt(abar_{k-1}) x_0, 1 - abar_{k-1}), the likelihood N(x_k; sqrt(1 -
    beta) x_{k-1}, beta).
    """
    K = 10
    schedule = diffusion.make_schedule(name, K)
    betas = np.asarray(schedule.betas, np.float64)[1:]
    previous_abar = np.cumprod(1.0 - np.asarray(schedule.betas, np.float64))[:-1]
    x0, x_t = np.linspace(-1, 1, K - 1)[:, None], np.linspace(2, -1, K - 1)[:, None]
    precision = 1.0 / (1.0 - previous_abar) + (1.0 - betas) / betas
    prior = np.sqrt(previous_abar) * x0[:, 0] / (1.0 - previous_abar)
    likelihood = np.sqrt(1.0 - betas) * x_t[:, 0] / betas
    mean, log_variance = diffusion.posterior(
        schedule, jnp.asarray(x0), jnp.asarray(x_t), np.arange(1, K)
    )
    assert mean.shape == log_variance.shape == (K - 1, 1)
    np.testing.assert_allclose(mean[:, 0], (prior + likelihood) / precision, rtol=2e-5, atol=2e-6)
    np.testing.assert_allclose(np.exp(log_variance[:, 0]), 1.0 / precision, rtol=2e-5)


def test_posterior_of_the_first_timestep_is_x0():
    schedule = diffusion.make_schedule("vp", 5)
    mean, _ = diffusion.posterior(schedule, jnp.array([[0.3]]), jnp.array([[2.0]]), jnp.array([0]))
    np.testing.assert_allclose(mean, [[0.3]], atol=1e-6)


def test_forward_process_takes_several_batch_axes():
    """[H, B, A] with timesteps [H, B] is H batches."""
    schedule = diffusion.make_schedule("vp", 5)
    rng = np.random.default_rng(0)
    x, noise = rng.normal(size=(2, 4, 3, 2)).astype(np.float32)
    t = rng.integers(5, size=(4, 3))
    for function in (
        lambda x, t, noise: diffusion.add_noise(schedule, x, t, noise),
        lambda x, t, noise: diffusion.predict_x0(schedule, x, t, noise),
        lambda x, t, noise: diffusion.posterior(schedule, x, noise, t)[0],
    ):
        expected = [function(*inputs) for inputs in zip(x, t, noise, strict=True)]
        np.testing.assert_allclose(function(x, t, noise), expected, rtol=1e-6)


@pytest.mark.parametrize(
    "name, num_timesteps, named",
    [("quadratic", 10, "quadratic"), ("vp", 0, "num_timesteps=0"), ("vp", -3, "-3")],
)
def test_refusals(name, num_timesteps, named):
    with pytest.raises(InputError, match=named):
        diffusion.make_schedule(name, num_timesteps)
