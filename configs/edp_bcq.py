"""EDP with BCQ (arXiv 1812.02900): targets and actions choose the best of several samples."""

from ml_collections import ConfigDict

from edp_jax.configuration import make_config


def get_config(task: str | None = None) -> ConfigDict:
    """The configuration for a task: its name or the path of a data file; None: the default."""
    return ConfigDict(make_config("edp_bcq", task))
