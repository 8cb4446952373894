"""Offline datasets: `find_task` names one, `prepare` makes it ready for a learner, `load` only reads and checks its file."""

from edp_jax.data.d4rl import RawDataset
from edp_jax.data.prepare import Dataset, prepare
from edp_jax.data.source import load
from edp_jax.data.tasks import Task, find_task, list_tasks

__all__ = ["Dataset", "RawDataset", "Task", "find_task", "list_tasks", "load", "prepare"]
