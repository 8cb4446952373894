"""Folders of LeRobot (huggingface.co/docs/lerobot), versions 2.0, 2.1 and 3.0: parquet and JSON.

| version | list of episodes | rows |
| --- | --- | --- |
| 2.0, 2.1 | `meta/episodes.jsonl` | a parquet file per episode |
| 3.0 | `meta/episodes/chunk-*/file-*.parquet` | parquet files of many episodes each |

`meta/info.json` names the version, the columns with their shapes, and where the rows are. Each
episode ends in a cut, unless `next.done` or the reward rule says that the task ended.
"""

import dataclasses
import itertools
import os
from collections.abc import Container, Iterator

import numpy as np

from edp_jax.data import arrow, boxes
from edp_jax.data import lerobot_meta as meta
from edp_jax.data.arrow import read_columns
from edp_jax.data.ends import as_flags
from edp_jax.data.layout import AS_STORED, Layout, check_keys, rewards_by_rule
from edp_jax.data.raw import RawDataset, from_arrays
from edp_jax.data.reader import Reader, Request
from edp_jax.data.storage import MEMORY, Storage
from edp_jax.tasks import Task
from edp_jax.types import InputError

PREFIX = "lerobot:"
_FLAGS = ("next.reward", "next.done", "next.truncated")


def read_lerobot(
    path: str | os.PathLike, *, layout: Layout = AS_STORED, storage: Storage = MEMORY
) -> RawDataset:
    """Reads and checks a folder. Images and videos are left out, and a note says so.

    LeRobot declares no box of actions. It is the range of each column, as its policies scale them.

    Args:
      path: of the folder that holds meta/ and data/.
      layout: observation_keys, in the order in which they are put side by side; empty: those that
        LeRobot's policies take, `observation.state` and `observation.environment_state`, else all
        vectors that begin with "observation". action_keys; empty: `action`. reward_rule; "stored"
        are those of `next.reward`, where there is one.
      storage: where the arrays lie.

    Raises:
      InputError: pyarrow is missing, the folder is of another version, a key is not there or no
        vector, or files and meta/ do not agree.
    """
    folder = meta.open_folder(os.fspath(path))
    keys = layout.observation_keys or meta.default_keys(folder)
    action_keys = layout.action_keys or (meta.ACTION,)
    check_keys(folder.source, keys, action_keys, _FLAGS)
    widths = {key: meta.width_of(folder, key) for key in (*keys, *action_keys)}
    if layout.reward_rule == "stored":
        widths |= dict.fromkeys(folder.features.keys() & set(_FLAGS), 1)
    episodes = meta.read_episodes(folder)
    columns = _read_rows(folder, episodes, widths)
    last = np.zeros(folder.info["total_frames"], bool)
    last[np.cumsum([episode.length for episode in episodes]) - 1] = True
    has_rewards = layout.reward_rule != "stored" or "next.reward" in widths
    rewards, terminals = _rewards(folder.source, layout.reward_rule, columns, last)
    actions = np.concatenate([columns[key] for key in action_keys], axis=1)
    low, high = boxes.range_of(actions)
    raw = from_arrays(
        folder.source,
        {
            "observations": np.concatenate([columns[key] for key in keys], axis=1),
            "actions": actions,
            "rewards": rewards,
            "terminals": terminals,
            "action_low": low,
            "action_high": high,
        },
        apart=True,
        last=last,
        storage=storage,
    )
    return dataclasses.replace(
        raw,
        has_rewards=has_rewards,
        understood=(*_understood(folder, keys, action_keys), *_left_out(folder, columns)),
        details={key: folder.info.get(key) for key in ("robot_type", "fps")},
        observation_names=meta.names_of(folder, keys),
        action_names=meta.names_of(folder, action_keys),
    )


def find(name: str) -> Task | None:
    """The task of a name with the prefix lerobot:."""
    if not name.startswith(PREFIX):
        return None
    folder = os.path.expanduser(name.removeprefix(PREFIX))
    if not folder:
        raise InputError("task 'lerobot:' names no folder; write lerobot:<folder>")
    return Task(name, "custom", "lerobot", file_name=folder)


def read(request: Request) -> tuple[RawDataset, str | None]:
    """Reads a folder of LeRobot."""
    folder = request.task.file_name or ""
    return read_lerobot(folder, layout=request.layout, storage=request.storage), None


def check(task: Task, data_dir: str) -> None:
    """Refuses a folder that is none of LeRobot, and any without the package that reads it."""
    del data_dir
    arrow.package(task.name)
    meta.open_folder(task.file_name or "")


READER = Reader(
    "lerobot",
    "lerobot:<folder>",
    find,
    read,
    layout=("observation_keys", "action_keys", "reward_rule"),
    check=check,
)


def _read_rows(
    folder: meta.Folder, episodes: list[meta.Episode], widths: dict[str, int]
) -> dict[str, np.ndarray]:
    """The columns [N, width] of all files, each of which must hold the rows that it is to hold."""
    parts = []
    for file, group in itertools.groupby(episodes, lambda episode: episode.file):
        expected, path, source = list(group), os.path.join(folder.path, file), folder.source
        if not os.path.isfile(path):
            first = f"with episode {expected[0].index}"
            raise InputError(f"{source}: {file[:80]} {first} is missing; {meta.REMEDY}")
        part = read_columns(path, [*widths], where_there=("episode_index", "frame_index"))
        _check_rows(f"{source}: {file}", part, expected)
        for key, width in widths.items():
            if part[key].dtype.kind not in "buif":
                problem = f"{file} has no numbers in {key!r}, which meta/info.json says"
                raise InputError(f"{source}: {problem}; {meta.REMEDY}")
            part[key] = part[key].reshape(len(part[key]), -1)
            if part[key].shape[1] != width:
                raise InputError(
                    f"{source}: {file} has {part[key].shape[1]} numbers of {key!r} per row, but "
                    f"meta/info.json says {width}; {meta.REMEDY}"
                )
        parts.append(part)
    return {key: np.concatenate([part[key] for part in parts]) for key in widths}


def _check_rows(source: str, part: dict[str, np.ndarray], expected: list[meta.Episode]) -> None:
    lengths = [episode.length for episode in expected]
    rows = len(next(iter(part.values())))
    if rows != sum(lengths):
        raise InputError(
            f"{source} has {rows:,} rows, but {sum(lengths):,} by the lengths of its "
            f"{len(expected):,} episodes in meta/; {meta.REMEDY}"
        )
    wanted = {
        "episode_index": np.repeat([episode.index for episode in expected], lengths),
        "frame_index": np.concatenate([np.arange(length) for length in lengths]),
    }
    for key in wanted.keys() & part.keys():
        wrong = np.flatnonzero(part[key] != wanted[key])
        if len(wrong):
            row = wrong[0]
            raise InputError(
                f"{source} has {key} {part[key][row]} in row {row}, where meta/ says "
                f"{wanted[key][row]}: rows are missing or out of order; {meta.REMEDY}"
            )


def _rewards(
    source: str, rule: str, columns: dict[str, np.ndarray], last: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Rewards [N] and terminals [N] bool."""
    if rule != "stored":
        return rewards_by_rule(rule, last)
    never = np.zeros((len(last), 1), np.float32)
    rewards, *flags = (columns.get(key, never)[:, 0] for key in _FLAGS)
    done, truncated = map(as_flags, [source] * 2, _FLAGS[1:], flags)
    return rewards, done & ~truncated


def _understood(
    folder: meta.Folder, keys: tuple[str, ...], action_keys: tuple[str, ...]
) -> Iterator[str]:
    info = folder.info
    yield (
        f"format: LeRobot {info['codebase_version']}, {info.get('robot_type') or 'robot unknown'}, "
        f"{info.get('fps') or 'unknown'} steps per second"
    )
    yield f"observations: {', '.join(keys)}"
    yield f"actions: {', '.join(action_keys)}; their box is the range of each column"


def _left_out(folder: meta.Folder, read: Container[str]) -> Iterator[str]:
    """What a policy trained on the columns that are read does not know."""
    others = [
        f"{key} ({feature.get('dtype')})"
        for key, feature in folder.features.items()
        if key.startswith(("observation", meta.ACTION, "next.")) and key not in read
    ]
    if others:
        yield f"not read: {', '.join(others)}"
    tasks = folder.info.get("total_tasks")
    if isinstance(tasks, int) and tasks > 1:
        yield f"{tasks:,} tasks, which nothing in an observation tells apart: they count as one"
