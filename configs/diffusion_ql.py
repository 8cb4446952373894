"""Diffusion-QL (arXiv 2208.06193) as published: K = 5, the whole chain under the gradient."""

from ml_collections import ConfigDict

from edp_jax.configuration import make_config


def get_config(task: str | None = None) -> ConfigDict:
    """The configuration for a task: its name or the path of a data file; None: the default."""
    return ConfigDict(make_config("diffusion_ql", task))
