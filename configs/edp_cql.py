"""EDP with CQL (arXiv 2006.04779): EDP-TD3 with low values for actions off the data."""

from ml_collections import ConfigDict

from edp_jax.configuration import make_config


def get_config(task: str | None = None) -> ConfigDict:
    """The configuration for a task: its name or the path of a data file; None: the default."""
    return ConfigDict(make_config("edp_cql", task))
