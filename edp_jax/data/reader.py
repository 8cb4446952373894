"""What a format of datasets has to say of itself; `edp_jax.data.readers` lists them all."""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

from edp_jax.data.layout import AS_STORED, Layout
from edp_jax.data.raw import RawDataset, check_readable
from edp_jax.data.storage import MEMORY, Storage
from edp_jax.tasks import Task

Progress = Callable[[str], None]  # takes one line for the user


class Request(NamedTuple):
    """A dataset to read, and how."""

    task: Task
    data_dir: str  # the folder that downloaded and made files are kept in
    progress: Progress = print
    storage: Storage = MEMORY  # where large arrays lie
    layout: Layout = AS_STORED


@dataclasses.dataclass(frozen=True)
class Reader:
    """A format of datasets."""

    name: str  # the same as `Task.reader` of its tasks
    usage: str  # what the name of such a task looks like, for messages
    find: Callable[[str], Task | None]
    """The task of a name; None where the name is not of this format.

    Raises:
      InputError: the name is of this format, but not well formed.
    """
    read: Callable[[Request], tuple[RawDataset, str | None]]
    """The steps of a dataset, and the path of the one file they are in; None where there is none.

    Raises:
      InputError: the dataset cannot be had or used.
    """
    locate: Callable[[Task, str], str | None] = lambda task, data_dir: None
    """The file of a task and a data folder where it is on disk, else None."""
    layout: tuple[str, ...] = ()  # the settings of `Layout` that it reads; others are refused
    check: Callable[[Task, str], None] = lambda task, data_dir: None
    """Refuses a task and a data folder of which `read` would fail, as far as that is known at once.

    Raises:
      InputError: a file of the user is not there, or a package that reads or makes the data.
    """


def check_file(task: Task, data_dir: str) -> None:
    """`Reader.check` of a format of users' files."""
    del data_dir
    check_readable(task.file_name or task.name)
