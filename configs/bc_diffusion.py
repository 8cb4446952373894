"""Behaviour cloning with the diffusion policy (arXiv 2305.20081, Eq. 5)."""

from configs import base


def get_config(task: str | None = None):
    return base.make_config(task, algorithm="bc")
