"""Diffusion-QL (arXiv 2208.06193) as published: K = 5, the whole DDPM chain under the gradient, 50 candidates."""

from configs import base


def get_config(task: str | None = None):
    return base.make_config(
        task,
        algorithm="diffusion_ql",
        num_timesteps=5,
        sampler="ddpm",
        sampler_calls=5,
        num_candidates=50,
    )
