"""EDP with CRR (arXiv 2305.20081, section 4.2)."""

from configs import base


def get_config(task: str | None = None):
    return base.make_config(task, algorithm="crr")
