"""Evaluation: simulators by name, closed-loop episodes of many seeds at once, and scores."""

from edp_jax.evaluation.rollout import Episodes, rollout
from edp_jax.evaluation.scores import normalized_score, summarize

__all__ = ["Episodes", "normalized_score", "rollout", "summarize"]
