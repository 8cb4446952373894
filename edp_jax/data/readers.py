"""The registry of formats. Another one is a module with a `READER` and its line in `READERS`."""

import difflib

from edp_jax import tasks
from edp_jax.data import builtin, d4rl, hdf5, legacy, lerobot, minari, npz, ogbench, tables, unread
from edp_jax.data.raw import called
from edp_jax.data.reader import Reader
from edp_jax.types import InputError

_LONGEST = 100  # characters of a name in an error

READERS: dict[str, Reader] = {
    reader.name: reader
    for reader in (
        builtin.READER,
        d4rl.READER,
        minari.READER,
        legacy.READER,
        ogbench.READER,
        lerobot.READER,
        hdf5.READER,
        npz.READER,
        tables.READER,
    )
}


def list_tasks() -> list[str]:
    """The names of the tasks of the table; built-in ones first."""
    return list(tasks.TASKS)


def find_task(name: str) -> tasks.Task:
    """The task of a name that one of `READERS` recognises: of the table, with a prefix, or a path.

    Raises:
      InputError: none does (the message lists near names), or the name is not well formed.
    """
    for reader in READERS.values():
        task = reader.find(name)
        if task is not None:
            return task
    if why := unread.reason(name):
        raise InputError(f"{called(name)}: {why}")
    near = difflib.get_close_matches(name, tasks.TASKS, n=3, cutoff=0.5) or list_tasks()[:3]
    raise InputError(
        f"task {name[:_LONGEST]!r}: no such task; use {', '.join(near)}, or another name: "
        "python -m experiments.tasks lists all kinds"
    )


def find_file(task: tasks.Task, data_dir: str) -> str | None:
    """The path of a task's data file where it is on disk already, else None."""
    return READERS[task.reader].locate(task, data_dir)
