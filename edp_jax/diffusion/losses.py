"""Losses and likelihoods of the diffusion model: arrays in, arrays out."""

import chex
import jax.numpy as jnp

from edp_jax.diffusion.schedule import NoiseSchedule


def denoising_loss(predicted_noise: chex.Array, noise: chex.Array) -> chex.Array:
    """Squared error of the noise prediction per sample [B], averaged over the action's dimensions (EDP Eq. 5). Inputs [B, A]."""
    return jnp.mean(jnp.square(predicted_noise - noise), axis=-1)


def gaussian_log_likelihood(
    mean: chex.Array, action: chex.Array, log_std: chex.Array = 0.0
) -> chex.Array:
    """log N(a; mean, std^2) [B]; around a0_hat with std 1 it is the paper's stand-in for log pi(a | s) (EDP Eq. 12).

    mean, action [B, A]; log_std [] or [A].
    """
    error = (action - mean) * jnp.exp(-log_std)
    return -0.5 * jnp.sum(jnp.square(error) + 2.0 * log_std + jnp.log(2.0 * jnp.pi), axis=-1)


def elbo_weight(schedule: NoiseSchedule, t: chex.Array) -> chex.Array:
    """Weight beta_k / (2 alpha_k (1 - abar_k)) of the squared noise error at timestep t [B] in the variational bound.

    DDPM (2006.11239) Eq. 12 with reverse variance beta_k, alpha_k = 1 - beta_k.
    """
    beta, abar = jnp.asarray(schedule.betas)[t], jnp.asarray(schedule.alphas_cumprod)[t]
    return beta / (2.0 * (1.0 - beta) * (1.0 - abar))


def elbo_log_likelihood(
    schedule: NoiseSchedule, t: chex.Array, predicted_noise: chex.Array, noise: chex.Array
) -> chex.Array:
    """One-sample estimate [B] of the lower bound of log pi(a | s), up to a constant: -K w_k ||eps - eps_theta||^2, k uniform.

    t [B] integer; predicted_noise, noise [B, A].
    """
    error = jnp.sum(jnp.square(predicted_noise - noise), axis=-1)
    return -schedule.num_timesteps * elbo_weight(schedule, t) * error
