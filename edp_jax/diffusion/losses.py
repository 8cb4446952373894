"""Losses of the diffusion model: arrays in, arrays out."""

import chex
import jax.numpy as jnp


def denoising_loss(predicted_noise: chex.Array, noise: chex.Array) -> chex.Array:
    """Squared error of the noise prediction per sample [B], averaged over the action's dimensions (EDP Eq. 5). Inputs [B, A]."""
    return jnp.mean(jnp.square(predicted_noise - noise), axis=-1)


def gaussian_log_likelihood(predicted_action: chex.Array, action: chex.Array) -> chex.Array:
    """log N(a; a0_hat, I) [B], the paper's stand-in for log pi(a | s) (EDP Eq. 12). Inputs [B, A]."""
    return -0.5 * jnp.sum(jnp.square(action - predicted_action) + jnp.log(2.0 * jnp.pi), axis=-1)
