"""Losses of the diffusion model: arrays in, arrays out."""

import chex
import jax.numpy as jnp


def denoising_loss(predicted_noise: chex.Array, noise: chex.Array) -> chex.Array:
    """Squared error of the noise prediction per sample [B], averaged over the action's dimensions (EDP Eq. 5). Inputs [B, A]."""
    return jnp.mean(jnp.square(predicted_noise - noise), axis=-1)
