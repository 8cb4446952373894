"""Lists the tasks, which of their data are on disk, and what is in one of them.

python -m experiments.tasks                         all known names
python -m experiments.tasks kitchen-complete-v0     what is in one dataset
python -m experiments.tasks lerobot:FOLDER          how a folder is understood

A dataset that is not on this machine is downloaded or made first.
"""

import os
import signal
import tempfile
from collections.abc import Sequence

from absl import flags

from edp_jax import data
from edp_jax.errors import as_flags
from edp_jax.settings import describe, make

from . import launch

_MOST = 6  # names of columns that are printed


def define_flags() -> None:
    flags.DEFINE_string(
        "data_dir",
        "",
        "Folder of the data files; by default $D4RL_DATASET_DIR, else ~/.d4rl/datasets.",
    )
    for entry in describe(data.Layout):
        define = flags.DEFINE_list if isinstance(entry.default, tuple) else flags.DEFINE_string
        define(entry.name, entry.default, f"As --config.{entry.name}: {entry.meaning}.")


def main(argv: Sequence[str]) -> None:
    data_dir = os.path.abspath(data.data_folder(flags.FLAGS.data_dir))
    if argv[1:]:
        names = [entry.name for entry in describe(data.Layout)]
        show(
            argv[1], data_dir, make(data.Layout, {name: flags.FLAGS[name].value for name in names})
        )
    else:
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `| head`: end as other lists do
        list_all(data_dir)


def list_all(data_dir: str) -> None:
    """Prints a line per task of the table.

    Args:
      data_dir: the folder of data files.
    """
    columns = "{:34} {:>9}  {:18} {:>22}  {}"
    print(f"data folder: {data_dir}")
    print(columns.format("task", "on disk", "evaluated in", "reference scores", "file"))
    for task in map(data.find_task, data.list_tasks()):
        path = data.find_file(task, data_dir)
        size = f"{os.path.getsize(path) / 1e6:.1f} MB" if path else "-"
        scores = ", ".join(f"{score:.6g}" for score in task.reference_scores or ())
        name = os.path.relpath(path, data_dir) if path else task.file_name or "made on first use"
        print(columns.format(task.name, size, task.environment or "-", scores, name))
    others = ", ".join(reader.usage for reader in data.READERS.values())
    print(f"all that can be named: {others}")


def show(name: str, data_dir: str, layout: data.Layout) -> None:
    """Reads a dataset and prints what is in it.

    Args:
      name: of a task, see `edp_jax.data.find_task`.
      data_dir: the folder of data files.
      layout: what the user says of the data.
    """
    task, storage = data.find_task(name), data.storage_near(tempfile.gettempdir())
    with as_flags(["data_dir", *(entry.name for entry in describe(data.Layout))]):
        raw, info = data.load(task, data_dir, storage=storage, layout=layout)
    print(f"{task.name}: {info['path'] or 'no single file'}, sha256 {info['sha256']}")
    print(data.describe(info["summary"]))
    for kind in ("observation", "action"):
        if names := info[f"{kind}_names"]:
            more = f" and {len(names) - _MOST} more" if len(names) > _MOST else ""
            print(f"  columns of an {kind}: {', '.join(names[:_MOST])}{more}")
    if raw.action_low is not None and raw.action_high is not None:
        print(f"  action box: {raw.action_low.tolist()} to {raw.action_high.tolist()}")
    scores = raw.reference_scores if task.reference_scores is None else task.reference_scores
    if scores is not None:
        print(f"  reference scores: {scores[0]:.6g}, {scores[1]:.6g}")


if __name__ == "__main__":
    define_flags()
    launch.run(main, positional=1)
