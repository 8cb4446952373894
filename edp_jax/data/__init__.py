"""Offline datasets: `load_dataset` gives one by its name, ready for training.

In steps: `find_task` names it, `load` reads and checks its data, `prepare` makes them ready.
"""

from edp_jax.data.folder import data_folder
from edp_jax.data.layout import Layout
from edp_jax.data.loading import check_there, load, load_dataset
from edp_jax.data.prepare import Dataset, Preprocessing, prepare
from edp_jax.data.preprocess import episodes_of_rows
from edp_jax.data.raw import RawDataset
from edp_jax.data.readers import READERS, find_file, find_task, list_tasks
from edp_jax.data.rewards import RewardTransform
from edp_jax.data.storage import Storage, storage_near
from edp_jax.data.summary import describe
from edp_jax.tasks import Task

__all__ = [
    "READERS",
    "Dataset",
    "Layout",
    "Preprocessing",
    "RawDataset",
    "RewardTransform",
    "Storage",
]
__all__ += ["Task", "check_there", "data_folder", "describe", "episodes_of_rows", "find_file"]
__all__ += ["find_task", "list_tasks", "load", "load_dataset", "prepare", "storage_near"]
