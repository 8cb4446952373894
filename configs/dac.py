"""DAC (arXiv 2405.20555): a diffusion policy guided at its noisy actions."""

from ml_collections import ConfigDict

from edp_jax.configuration import make_config


def get_config(task: str | None = None) -> ConfigDict:
    """The configuration for a task: its name or the path of a data file; None: the default."""
    return ConfigDict(make_config("dac", task))
