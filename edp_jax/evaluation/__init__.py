"""Evaluation: simulators by name, episodes of the policies of many seeds at once, and scores."""

from edp_jax.evaluation.envs import check_sizes
from edp_jax.evaluation.rollout import Episodes, rollout
from edp_jax.evaluation.scores import normalized_score, summarize

__all__ = ["Episodes", "check_sizes", "normalized_score", "rollout", "summarize"]
