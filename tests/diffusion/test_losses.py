"""Denoising losses and likelihoods against hand-computed numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from edp_jax import diffusion
from edp_jax.diffusion.schedule import from_betas

SCHEDULE = from_betas(np.array([0.2, 0.5]))  # abar = 0.8, 0.4


def test_denoising_loss_averages_over_dimensions_only():
    # ((1 - 0)^2 + (2 - 0)^2) / 2 = 2.5 and ((0 - 3)^2 + 0) / 2 = 4.5
    loss = diffusion.denoising_loss(
        jnp.array([[1.0, 2.0], [0.0, 1.0]]), jnp.array([[0.0, 0.0], [3.0, 1.0]])
    )
    np.testing.assert_allclose(loss, [2.5, 4.5])


def test_gaussian_log_likelihood_with_standard_deviation_one():
    # errors of 0.5 and -1: -(0.5^2 + 1^2) / 2 - log(2 pi) for two dimensions
    mean, action = jnp.array([[0.5, -1.0]]), jnp.array([[1.0, -2.0]])
    value = diffusion.gaussian_log_likelihood(mean, action)
    np.testing.assert_allclose(value, [-0.625 - np.log(2 * np.pi)], rtol=1e-6)


@pytest.mark.parametrize(
    "std, expected",
    [
        # errors of 1 and 2 standard deviations: -(1 + 4) / 2 - log(1/2 1/4)
        ([0.5, 0.25], -2.5 + np.log(8.0)),
        # one number for both dimensions, errors of 1 and 1: -(1 + 1) / 2 - 2 log(1/2)
        (0.5, -1.0 + np.log(4.0)),
    ],
)
def test_gaussian_log_likelihood_with_a_standard_deviation(std, expected):
    mean, action = jnp.array([[0.75, -0.25]]), jnp.array([[0.25, 0.25]])
    value = diffusion.gaussian_log_likelihood(mean, action, jnp.log(jnp.array(std)))
    np.testing.assert_allclose(value, [expected - np.log(2 * np.pi)], rtol=1e-6)


def test_gaussian_log_likelihood_gradients():
    # d/dmean = (action - mean) / std^2 = -0.5 / 0.25; d/dlog_std = error^2 - 1 = 1 - 1 and 4 - 1
    mean, action = jnp.array([[0.75, -0.75]]), jnp.array([[0.25, 0.25]])
    mean_gradient, log_std_gradient = jax.grad(
        lambda mean, log_std: diffusion.gaussian_log_likelihood(mean, action, log_std)[0],
        argnums=(0, 1),
    )(mean, jnp.log(jnp.full(2, 0.5)))
    np.testing.assert_allclose(mean_gradient, [[-2.0, 4.0]], rtol=1e-6)
    np.testing.assert_allclose(log_std_gradient, [0.0, 3.0], atol=1e-6)


def test_noise_log_likelihood():
    # -(1^2 + 2^2) / 2 and -(3^2 + 0^2) / 2
    value = diffusion.noise_log_likelihood(
        jnp.array([[1.0, 2.0], [0.0, 1.0]]), jnp.array([[0.0, 0.0], [3.0, 1.0]])
    )
    np.testing.assert_allclose(value, [-2.5, -4.5], rtol=1e-6)


def test_elbo_weight():
    # 0.2 / (2 * 0.8 * 0.2) and 0.5 / (2 * 0.5 * 0.6)
    weight = diffusion.elbo_weight(SCHEDULE, jnp.array([0, 1]))
    np.testing.assert_allclose(weight, [0.625, 0.5 / 0.6], rtol=1e-6)


def test_elbo_log_likelihood_sums_over_dimensions():
    # -2 * 0.625 * (1^2 + 2^2) and -2 * 0.5 / 0.6 * (3^2 + 0^2)
    value = diffusion.elbo_log_likelihood(
        SCHEDULE,
        jnp.array([0, 1]),
        jnp.array([[1.0, 2.0], [0.0, 1.0]]),
        jnp.array([[0.0, 0.0], [3.0, 1.0]]),
    )
    np.testing.assert_allclose(value, [-6.25, -15.0], rtol=1e-6)


def test_elbo_weight_is_the_kl_divergence_between_two_reverse_steps():
    """KL(N(m_1, beta), N(m_2, beta)) = |m_1 - m_2|^2 / (2 beta).

    The means are m = (x - beta / sqrt(1 - abar) eps) / sqrt(1 - beta) (DDPM Eq. 11).
    """
    schedule = diffusion.make_schedule("vp", 7)
    t, eps, other = jnp.array([4]), jnp.array([[0.3, -1.0]]), jnp.array([[0.1, 0.5]])
    beta, abar = schedule.betas[4], schedule.alphas_cumprod[4]
    means = [(0.2 - beta / np.sqrt(1 - abar) * e) / np.sqrt(1 - beta) for e in (eps, other)]
    kl = np.sum((means[0] - means[1]) ** 2) / (2 * beta)
    np.testing.assert_allclose(
        diffusion.elbo_log_likelihood(schedule, t, other, eps), [-7 * kl], rtol=1e-5
    )


def test_losses_take_several_batch_axes():
    # [1, 3, 2]: means over the last axis (1 + 4) / 2, sums (1 + 4), for each of the 3 samples
    ones = jnp.broadcast_to(jnp.array([1.0, 2.0]), (1, 3, 2))
    np.testing.assert_allclose(diffusion.denoising_loss(ones, 0 * ones), [[2.5] * 3])
    likelihood = diffusion.gaussian_log_likelihood(ones, 0 * ones, jnp.zeros(2))
    np.testing.assert_allclose(likelihood, [[-2.5 - np.log(2 * np.pi)] * 3], rtol=1e-6)
    bound = diffusion.elbo_log_likelihood(SCHEDULE, jnp.zeros((1, 3), int), ones, 0 * ones)
    np.testing.assert_allclose(bound, [[-2 * 0.625 * 5.0] * 3], rtol=1e-6)


B, H, A = 3, 4, 2
T = np.zeros(B, int)


@pytest.mark.parametrize(
    "function",
    [
        diffusion.denoising_loss,
        diffusion.gaussian_log_likelihood,
        diffusion.noise_log_likelihood,
        lambda x, y: diffusion.elbo_log_likelihood(SCHEDULE, T, x, y),
        lambda x, y: diffusion.add_noise(SCHEDULE, x, T, y),
        lambda x, y: diffusion.predict_x0(SCHEDULE, x, T, y),
        lambda x, y: diffusion.posterior(SCHEDULE, x, y, T),
    ],
    ids=["denoising", "gaussian", "noise", "elbo", "add_noise", "predict_x0", "posterior"],
)
@pytest.mark.parametrize("wrong", [(A,), (1, A), (B, 1), (H, B, A), (B, 1, A)])
def test_arrays_of_different_shapes_are_refused(function, wrong):
    function(jnp.ones((B, A)), jnp.ones((B, A)))
    with pytest.raises(AssertionError):
        function(jnp.ones((B, A)), jnp.ones(wrong))


@pytest.mark.parametrize(
    "function",
    [
        lambda x, t: diffusion.elbo_log_likelihood(SCHEDULE, t, x, x),
        lambda x, t: diffusion.add_noise(SCHEDULE, x, t, x),
        lambda x, t: diffusion.predict_x0(SCHEDULE, x, t, x),
        lambda x, t: diffusion.posterior(SCHEDULE, x, x, t),
    ],
    ids=["elbo", "add_noise", "predict_x0", "posterior"],
)
@pytest.mark.parametrize("wrong", [(), (1,), (B, 1), (B, A)])
def test_every_sample_needs_its_own_timestep(function, wrong):
    function(jnp.ones((B, A)), T)
    with pytest.raises(AssertionError):
        function(jnp.ones((B, A)), np.zeros(wrong, int))


@pytest.mark.parametrize("wrong", [(1,), (B,), (B, A), (1, A)])
def test_log_std_is_one_number_or_one_per_dimension(wrong):
    with pytest.raises(AssertionError):
        diffusion.gaussian_log_likelihood(jnp.ones((B, A)), jnp.ones((B, A)), jnp.ones(wrong))


RECORDED = jnp.array([[1.0, 1.0, 0.0, 0.0]])
FIRST = jnp.array([[0.3, -1.0, 5.0, jnp.pi]])
SECOND = jnp.array([[0.1, 0.5, -7.0, 2.0]])
LOG_STD = jnp.array([0.1, -0.2, 0.3, 0.4])


@pytest.mark.parametrize(
    ("loss", "share"),
    [
        (lambda x, y, recorded, n: diffusion.denoising_loss(x, y, recorded), 0.5),
        (lambda x, y, recorded, n: diffusion.noise_log_likelihood(x, y, recorded), 1.0),
        (
            lambda x, y, recorded, n: diffusion.gaussian_log_likelihood(
                x, y, LOG_STD[:n], recorded
            ),
            1.0,
        ),
        (
            lambda x, y, recorded, n: diffusion.elbo_log_likelihood(
                SCHEDULE, jnp.array([1]), x, y, recorded
            ),
            1.0,
        ),
    ],
)
def test_what_was_not_recorded_adds_nothing(loss, share):
    """Sums are those over the recorded half; a mean over all entries is half of theirs."""
    of_half = lambda x: loss(x[:, :2], SECOND[:, :2], None, 2).sum()  # noqa: E731
    masked = lambda x: loss(x, SECOND, RECORDED, 4).sum()  # noqa: E731
    value, gradient = jax.value_and_grad(masked)(FIRST)
    expected, of_recorded = jax.value_and_grad(of_half)(FIRST)
    np.testing.assert_allclose(value, share * expected, rtol=1e-6)
    np.testing.assert_allclose(gradient, share * of_recorded, rtol=1e-6)
    assert not gradient[:, 2:].any()
    with pytest.raises(AssertionError):
        loss(FIRST, SECOND, RECORDED[0], 4)
