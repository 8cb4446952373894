"""Losses and likelihoods of a diffusion model, as functions of what its network predicted.

Arrays whose shapes do not fit are refused with an AssertionError; they never broadcast.

`recorded` [..., A] is 1 for the entries of an action that were recorded and 0 for the others, as
behind an episode's end (`edp_jax.types.Transition.recorded`): those add nothing. None: all were.
"""

import chex
import jax.numpy as jnp

from edp_jax.diffusion.schedule import NoiseSchedule
from edp_jax.types import Array


def denoising_loss(predicted_noise: Array, noise: Array, recorded: Array | None = None) -> Array:
    """Squared error of the noise prediction: what a diffusion model is trained with.

    Args:
      predicted_noise: [..., A] output of the network at a noisy action.
      noise: [..., A] the noise that was put into the action.
      recorded: [..., A], see the module.

    Returns:
      [...] the squared error of each sample, averaged over the action's dimensions (EDP Eq. 5).
    """
    chex.assert_equal_shape([predicted_noise, noise])
    return jnp.mean(_kept(jnp.square(predicted_noise - noise), recorded), axis=-1)


def gaussian_log_likelihood(
    mean: Array, action: Array, log_std: float | Array = 0.0, recorded: Array | None = None
) -> Array:
    """Log-density of actions under a Gaussian with a diagonal covariance.

    Around the approximated action a0_hat of a diffusion policy and with standard deviation 1, it is
    the paper's stand-in for log pi(a | s), which a diffusion model does not have (EDP Eq. 12).

    Args:
      mean: [..., A].
      action: [..., A].
      log_std: [] or [A] logarithm of the standard deviation, the same for all samples.
      recorded: [..., A], see the module.

    Returns:
      [...] log N(action; mean, exp(log_std)^2), summed over the action's dimensions: the density of
      what was recorded.
    """
    chex.assert_equal_shape([mean, action])
    if jnp.ndim(log_std) > 0:
        chex.assert_shape(log_std, mean.shape[-1:])
    error = (action - mean) * jnp.exp(-log_std)
    terms = jnp.square(error) + 2.0 * log_std + jnp.log(2.0 * jnp.pi)
    return -0.5 * jnp.sum(_kept(terms, recorded), axis=-1)


def noise_log_likelihood(
    predicted_noise: Array, noise: Array, recorded: Array | None = None
) -> Array:
    """Log-density of the noise in an action under a Gaussian around the predicted noise.

    It stands for log pi(a | s) as the Gaussian around a0_hat does (EDP Eq. 12), but weighs all
    timesteps alike. There an error of the predicted noise counts (1 - abar) / abar times as much,
    which is above 100 at the noisiest timesteps, where the action can hardly be told.

    Args:
      predicted_noise: [..., A] output of the network at a noisy action.
      noise: [..., A] the noise that was put into the action.
      recorded: [..., A], see the module.

    Returns:
      [...] -1/2 ||noise - predicted_noise||^2, without the constant of the Gaussian.
    """
    chex.assert_equal_shape([predicted_noise, noise])
    return -0.5 * jnp.sum(_kept(jnp.square(predicted_noise - noise), recorded), axis=-1)


def elbo_weight(schedule: NoiseSchedule, t: Array) -> Array:
    """Weight of the squared noise error at a timestep in the variational bound of the likelihood.

    Args:
      schedule: noise schedule with K timesteps.
      t: [...] integer timesteps in 0..K-1, where t = k - 1.

    Returns:
      [...] beta_k / (2 alpha_k (1 - abar_k)), where alpha_k = 1 - beta_k (DDPM, 2006.11239, Eq. 12,
      with the variance beta_k for the reverse steps).
    """
    beta, abar = jnp.asarray(schedule.betas)[t], jnp.asarray(schedule.alphas_cumprod)[t]
    return beta / (2.0 * (1.0 - beta) * (1.0 - abar))


def elbo_log_likelihood(
    schedule: NoiseSchedule,
    t: Array,
    predicted_noise: Array,
    noise: Array,
    recorded: Array | None = None,
) -> Array:
    """Estimates the variational lower bound of log pi(a | s) from one timestep per sample.

    Args:
      schedule: noise schedule with K timesteps.
      t: [...] integer timesteps, drawn uniformly from 0..K-1.
      predicted_noise: [..., A] output of the network at the noisy action of that timestep.
      noise: [..., A] the noise that was put into the action.
      recorded: [..., A], see the module.

    Returns:
      [...] -K elbo_weight(t) ||noise - predicted_noise||^2. Its mean over t is the lower bound, up
      to a constant that the network does not influence (DDPM, 2006.11239, Eq. 5 and 12).
    """
    chex.assert_equal_shape([predicted_noise, noise])
    chex.assert_shape(t, noise.shape[:-1])
    error = jnp.sum(_kept(jnp.square(predicted_noise - noise), recorded), axis=-1)
    return -schedule.num_timesteps * elbo_weight(schedule, t) * error


def _kept(terms: Array, recorded: Array | None) -> Array:
    if recorded is None:
        return terms
    chex.assert_equal_shape([terms, recorded])
    return recorded * terms
