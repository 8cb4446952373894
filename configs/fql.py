"""Flow Q-Learning (arXiv 2502.02538): a one-step policy beside a flow that clones the data."""

from ml_collections import ConfigDict

from edp_jax.configuration import make_config


def get_config(task: str | None = None) -> ConfigDict:
    """The configuration for a task: its name or the path of a data file; None: the default."""
    return ConfigDict(make_config("fql", task))
