"""EDP with CQL (arXiv 2006.04779)."""

from configs import base


def get_config(task: str | None = None):
    return base.make_config(task, algorithm="cql")
