"""Evaluation: simulators by name, episodes of the policies of many seeds at once, and scores."""

from edp_jax.evaluation.envs import check_sizes
from edp_jax.evaluation.rollout import Episodes, Fault, rollout
from edp_jax.evaluation.scores import episode_means, finite_mean, normalized_score, summarize

__all__ = [
    "Episodes",
    "Fault",
    "check_sizes",
    "episode_means",
    "finite_mean",
    "normalized_score",
    "rollout",
    "summarize",
]
