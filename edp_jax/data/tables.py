"""Tables in .csv and .parquet files: one row per step, and a column that tells episodes apart.

| columns | meaning |
| --- | --- |
| `episode`, or `episode_id`, `episode_index` | numbers or names; episodes follow each other |
| `observation_0`, ..., or `obs_0`, ..., or `observation` with lists | what the agent saw |
| `next_observation_0`, ... | what it saw next; may be left out |
| `action_0`, ..., or `action` with lists | what it did |
| `reward`, `terminal`, `timeout`, and their synonyms in `edp_jax.data.names` | as in other files |
| `step`, or `timestep`, `frame_index` | grows within an episode; may be left out |

Where most steps of `step` are equally large, one that is larger shows that rows are missing there.
"""

import collections
import dataclasses
import os
import re

import numpy as np

from edp_jax.data import arrow
from edp_jax.data.arrow import column_names, read_columns
from edp_jax.data.ends import FLAGS
from edp_jax.data.layout import AS_STORED, Layout, check_keys, rewards_by_rule
from edp_jax.data.names import NAMES, find_names, listed
from edp_jax.data.raw import RawDataset, called, from_arrays
from edp_jax.data.reader import Reader, Request, check_file
from edp_jax.data.stacked import Stacked
from edp_jax.data.storage import MEMORY, Storage
from edp_jax.tasks import Task
from edp_jax.types import InputError

_EPISODES = ("episode", "episode_id", "episode_index")
_STEPS = ("step", "timestep", "frame_index")
_PREFIXES = {
    "observations": ("observation", "observations", "obs"),
    "actions": ("action", "actions"),
}


def read_table(
    path: str | os.PathLike, *, layout: Layout = AS_STORED, storage: Storage = MEMORY
) -> RawDataset:
    """Reads and checks one table.

    Args:
      path: a file that fits into memory.
      layout: observation_keys and action_keys are columns; empty: see the table above, columns
        without numbers are left out.
      storage: where the arrays lie that are made of its columns.

    Raises:
      InputError: pyarrow is missing, the file is missing or damaged, columns are missing or
        ambiguous, a cell is empty or no number, or the rows of an episode are not in order.
    """
    path = os.fspath(path)
    source, there = called(path), column_names(path)
    _check_names(source, there)
    keys = {
        "observations": layout.observation_keys or _columns(source, there, "observations"),
        "actions": layout.action_keys or _columns(source, there, "actions"),
    }
    led_to = (name for key in ("rewards", *FLAGS) for name in NAMES[key])
    check_keys(source, keys["observations"], keys["actions"], tuple(led_to))
    following = [f"next_{key}" for key in keys["observations"]]
    if not set(there).isdisjoint(following):
        keys["next_observations"] = following
    else:
        _check_unused(source, there, following[0])
    used = dict.fromkeys(key for group in keys.values() for key in group)
    flags, has_rewards = _flags(source, [name for name in there if name not in used], layout)
    order = [_episode_column(source, there)] + [name for name in _STEPS if name in there][:1]
    read = read_columns(path, list(dict.fromkeys([*used, *flags.values(), *order])))
    last, gaps = _last(source, *((name, read[name]) for name in order))
    numbers = {name: _numbers(source, name, read[name]) for name in (*used, *flags.values())}
    tables = {
        group: Stacked(source, [{name: numbers[name] for name in names}])
        for group, names in keys.items()
    }
    steps = {key: numbers[name] for key, name in flags.items()}
    if layout.reward_rule != "stored":
        steps["rewards"], steps["terminals"] = rewards_by_rule(layout.reward_rule, last)
    if not has_rewards:  # demonstrations, which may have no flags either
        steps["rewards"] = np.zeros(len(last), np.float32)
        steps = steps if flags else steps | {"terminals": np.zeros(len(last), bool)}
    notes = (
        (f"by {order[1]!r} rows are missing at {gaps.sum():,} places: episodes are cut there",)
        if gaps.any()
        else ()
    )
    raw = from_arrays(source, tables | steps, last=last | gaps, notes=notes, storage=storage)
    told = [f"{group}: {listed(list(keys[group]))}" for group in ("observations", "actions")]
    read_too = {*flags.values(), *order}
    others = [name for name in there if name not in used and name not in read_too]
    left_out = f"; left out: {listed(others)}" if others else ""
    rule = f"table, {last.sum():,} episodes by {order[0]!r}, those without an end of the task are"
    return dataclasses.replace(
        raw,
        understood=(f"format: {rule} cut", "; ".join(told) + left_out),
        whole_episodes=raw.whole_episodes and not gaps.any(),
        has_rewards=has_rewards,
        observation_names=tables["observations"].columns,
        action_names=tables["actions"].columns,
    )


def find(name: str) -> Task | None:
    """The task of a user's own table."""
    if not name.lower().endswith((".csv", ".parquet")):
        return None
    return Task(name, "custom", "table", file_name=os.path.expanduser(name))


def read(request: Request) -> tuple[RawDataset, str | None]:
    """Reads a user's own table."""
    path = request.task.file_name or request.task.name
    return read_table(path, layout=request.layout, storage=request.storage), path


def check(task: Task, data_dir: str) -> None:
    """Refuses a table that is not there, and any without the package that reads it."""
    arrow.package(task.name)
    check_file(task, data_dir)


READER = Reader(
    "table",
    "the path of a .csv or .parquet file",
    find,
    read,
    layout=("observation_keys", "action_keys", "reward_rule"),
    check=check,
)


def _check_names(source: str, there: list[str]) -> None:
    name, count = collections.Counter(there).most_common(1)[0] if there else ("", 0)
    if count > 1:
        raise InputError(f"{source}: two columns are named {name[:60]!r}; rename one of them")
    if {"task_index", "frame_index"} <= set(there):
        raise InputError(
            f"{source}: a part of a LeRobot dataset; name its folder, the one that holds meta/, as "
            "lerobot:<folder>"
        )


def _columns(source: str, there: list[str], group: str) -> list[str]:
    """The columns of a group: one of lists, else numbered ones."""
    for prefix in _PREFIXES[group]:
        if prefix in there:
            return [prefix]
    key = "observation_keys" if group == "observations" else "action_keys"
    pattern = re.compile(rf"({'|'.join(_PREFIXES[group])})[_.](.+)")
    found = {name: match for name in there if (match := pattern.fullmatch(name))}
    prefixes = sorted({match[1] for match in found.values()})
    if len(prefixes) != 1:
        start = _PREFIXES[group][0]
        what = " and of ".join(f"{prefix}_..." for prefix in prefixes)
        problem = f"columns of {what}" if prefixes else f"no columns {start}_0, {start}_1, ..."
        raise InputError(
            f"{source}: {problem} (found: {listed(there)}); name yours by --config.{key}"
        )
    numbered = {name: int(match[2]) for name, match in found.items() if match[2].isdecimal()}
    if not numbered:  # some may be another quantity: action_torque beside action_log_prob
        raise InputError(
            f"{source}: columns without numbers ({listed(list(found))}); name those that make up "
            f"{group} by --config.{key}"
        )
    names = sorted(numbered, key=lambda name: numbered[name])
    numbers = [numbered[name] for name in names]
    gap = next((n for n, m in zip(numbers, numbers[1:], strict=False) if m != n + 1), None)
    if gap is not None or numbers[0] > 1:
        lost = 0 if gap is None else gap + 1
        raise InputError(
            f"{source}: no column {prefixes[0]}_{lost}, or one is there twice; name the columns by "
            f"--config.{key}"
        )
    return names


def _flags(source: str, others: list[str], layout: Layout) -> tuple[dict[str, str], bool]:
    """The columns of rewards and flags by their keys in `NAMES`, and whether there are rewards."""
    if layout.reward_rule != "stored":
        return {}, True
    given = {"observations": layout.observation_keys, "actions": layout.action_keys}
    replaced = [name for key, names in given.items() if names for name in NAMES[key]]
    others = [name for name in others if name not in replaced]
    has_rewards = any(name in NAMES["rewards"] for name in others)
    has_flags = any(name in NAMES[key] for key in FLAGS for name in others)
    tells_ends = any(
        name in NAMES[key] for key in ("terminals", "done", "masks") for name in others
    )
    if (has_rewards or has_flags) and not tells_ends:
        raise InputError(
            f"{source}: no column tells where the task ended (found: {listed(others)}); add a "
            "column 'terminal', all 0 where every episode is only cut"
        )
    made = ["observations", "actions"] + ([] if has_rewards else ["rewards"])
    made += [] if has_rewards or has_flags else ["terminals"]  # demonstrations: cuts alone
    found = find_names(source, [*others, *made])
    there = set(others)
    return {key: name for key, name in found.items() if name in there}, has_rewards


def _check_unused(source: str, there: list[str], following: str) -> None:
    """Refuses next observations under other names than those of the observations."""
    for name in there:
        if "next" in name and any(prefix in name for prefix in _PREFIXES["observations"]):
            raise InputError(
                f"{source}: column {name[:40]!r} is not read as a next observation; name it as the "
                f"observations are named, {following[:40]!r}, or leave it out"
            )


def _episode_column(source: str, there: list[str]) -> str:
    found = [name for name in _EPISODES if name in there]
    if len(found) != 1:
        what = f"two columns, {found[0]!r} and {found[1]!r}, tell" if found else "no column tells"
        raise InputError(
            f"{source}: {what} episodes apart (found: {listed(there)}); have one column 'episode'"
        )
    return found[0]


def _last(
    source: str, episodes: tuple[str, np.ndarray], steps: tuple[str, np.ndarray] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """[N] bool: the last row of each episode, and the rows before those that are missing.

    Args:
      source: what error messages begin with.
      episodes: name and values [N] of the column that tells them apart.
      steps: those of the column that grows within an episode, where there is one.
    """
    name, values = episodes
    if values.ndim != 1 or not len(values):
        raise InputError(f"{source}: column {name!r} holds no episodes; store one number per row")
    _, numbers = np.unique(values, return_inverse=True)
    begins = np.append(True, numbers[1:] != numbers[:-1])
    rows = np.flatnonzero(begins)
    _, first = np.unique(numbers[rows], return_index=True)
    if len(first) != len(rows):
        row = rows[np.setdiff1d(np.arange(len(rows)), first)[0]]
        raise InputError(
            f"{source}: episode {str(values[row])[:40]!r} goes on in row {row} after another one; "
            "sort the rows by episode and step"
        )
    last, gaps = np.append(begins[1:], True), np.zeros(len(values), bool)
    if steps is not None:
        name, counted = steps[0], _numbers(source, *steps)
        if counted.ndim != 1 or not np.isfinite(counted).all():
            raise InputError(f"{source}: column {name!r} holds no steps; store one number per row")
        back = np.flatnonzero((counted[1:] <= counted[:-1]) & ~begins[1:])
        if len(back):
            raise InputError(
                f"{source}: column {name!r} does not grow from row {back[0]} to {back[0] + 1} of "
                "an episode; sort the rows by episode and step"
            )
        gaps[:-1] = ~last[:-1] & _gaps(np.diff(counted.astype(np.float64)), ~last[:-1])
    return last, gaps


def _gaps(sizes: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Which sizes of steps are larger than most inside episodes, where most are equally large."""
    usual = np.median(sizes[inside]) if inside.any() else np.inf
    equal = np.isclose(sizes[inside], usual, rtol=0.01)
    return (sizes > 1.5 * usual) & (2 * equal.sum() > len(equal))


def _numbers(source: str, name: str, values: np.ndarray) -> np.ndarray:
    """Numbers as they are; texts become numbers."""
    if values.dtype.kind in "buif":
        return values
    for (row, *_), text in np.ndenumerate(values):
        try:
            float(text)
        except (TypeError, ValueError) as error:
            raise InputError(
                f"{source}: column {name!r} holds {str(text)[:30]!r} in row {row}, which is no "
                "number; correct it, or leave the column out"
            ) from error
    return values.astype(np.float64)
