"""Offline datasets: `find_task` names one, `load` reads and checks its data, `prepare` makes that ready for a learner."""

from edp_jax.data.prepare import Dataset, Preprocessing, prepare
from edp_jax.data.raw import RawDataset
from edp_jax.data.source import find_file, load
from edp_jax.data.storage import Storage, storage_near
from edp_jax.data.tasks import Task, find_task, list_tasks

__all__ = ["Dataset", "Preprocessing", "RawDataset", "Storage", "Task"]
__all__ += ["find_file", "find_task", "list_tasks", "load", "prepare", "storage_near"]
