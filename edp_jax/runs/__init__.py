"""The folder of a run: `Run` reads it, `record` and `outputs` write all in it but its tables."""

from edp_jax.runs.reader import Evaluations, Metrics, Run, Times

__all__ = ["Evaluations", "Metrics", "Run", "Times"]
