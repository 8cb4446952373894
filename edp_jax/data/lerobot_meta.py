"""What meta/ of a LeRobot folder says: the columns, the episodes, and where their rows are."""

import glob
import os
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from edp_jax.data.arrow import read_columns
from edp_jax.data.names import listed
from edp_jax.data.raw import called
from edp_jax.errors import one_line
from edp_jax.files import parse_json
from edp_jax.types import InputError

ACTION = "action"
_LONGEST = 2**31  # steps of an episode, and more
_PATTERN = re.compile(r"([^{}]|\{\w+(:0?\d{1,2}d?)?\})+")  # as in data/{episode_index:06d}.parquet
REMEDY = "copy or download the folder again"
_STATES = ("observation.state", "observation.environment_state")  # those that its policies take


class Episode(NamedTuple):
    """An episode, and the file that holds its rows."""

    index: int
    length: int  # steps
    file: str  # below the folder


class Folder(NamedTuple):
    """A folder of LeRobot."""

    path: str
    source: str  # what error messages call it
    info: dict[str, Any]  # meta/info.json

    @property
    def features(self) -> dict[str, dict[str, Any]]:
        """By name: the dtype, shape and names of each column, images among them."""
        return self.info["features"]


def open_folder(path: str) -> Folder:
    """Reads meta/info.json.

    Raises:
      InputError: there is none, it is damaged, or of a version that is not read.
    """
    source = called(path, "LeRobot folder")
    if not os.path.isfile(os.path.join(path, "meta", "info.json")):
        remedy = "name the folder that holds meta/ and data/"
        raise InputError(f"{source}: there is no meta/info.json in it; {remedy}")
    (info,) = _read_json(Folder(path, source, {}), "meta/info.json", lines=False)
    version = str(info.get("codebase_version"))
    if version not in ("v2.0", "v2.1", "v3.0"):
        remedy = "convert it to v2.1 or v3.0 with LeRobot's scripts"
        raise InputError(f"{source}: version {version[:20]} is not read; {remedy}")
    wanted = {"features": dict, "total_episodes": int, "total_frames": int, "data_path": str}
    wanted |= {} if version == "v3.0" else {"chunks_size": int}
    for key, kind in wanted.items():
        if not isinstance(info.get(key), kind):
            raise InputError(f"{source}: meta/info.json has no {key!r}; {REMEDY}")
    if not all(isinstance(feature, dict) for feature in info["features"].values()):
        raise InputError(f"{source}: meta/info.json has features without a shape; {REMEDY}")
    return Folder(path, source, info)


def default_keys(folder: Folder) -> tuple[str, ...]:
    """The columns that LeRobot's policies take as a state, else all vectors "observation...".

    Raises:
      InputError: there are none.
    """
    vectors = [key for key, feature in folder.features.items() if _is_vector(feature)]
    found = [key for key in _STATES if key in vectors]
    found = found or [key for key in vectors if key.startswith("observation")]
    if not found:
        kinds = ", ".join(f"{key} ({value.get('dtype')})" for key, value in folder.features.items())
        raise InputError(
            f"{folder.source}: no vector begins with 'observation' ({kinds[:100]}), and images are "
            "not read; use data with a state"
        )
    return tuple(found)


def width_of(folder: Folder, key: str) -> int:
    """How many numbers a column has per row.

    Raises:
      InputError: there is no such column, or it is no vector.
    """
    if key not in folder.features:
        raise InputError(
            f"{folder.source}: no feature {key!r}; it has {listed(list(folder.features))}"
        )
    feature = folder.features[key]
    if not _is_vector(feature):
        kind = f"{feature.get('dtype')} {feature.get('shape')}"
        raise InputError(
            f"{folder.source}: {key[:60]!r} is no vector ({kind[:40]}), and images are not read; "
            "name others as --config.observation_keys, --config.action_keys"
        )
    return feature["shape"][0]


def names_of(folder: Folder, keys: tuple[str, ...]) -> tuple[str, ...]:
    """What the columns of vectors are called: by info.json, else by key and number."""
    owners, names = [], []
    for key in keys:
        width, found = width_of(folder, key), list(_texts(folder.features[key].get("names")))
        owners += [key] * width
        names += found if len(found) == width else [f"{key}[{index}]" for index in range(width)]
    if len(set(names)) < len(names):
        names = [f"{key}: {name}" for key, name in zip(owners, names, strict=True)]
    return tuple(names)


def read_episodes(folder: Folder) -> list[Episode]:
    """All episodes in their order.

    Raises:
      InputError: their list is missing or damaged, or has other totals than info.json.
    """
    v3 = folder.info["codebase_version"] == "v3.0"
    name = "meta/episodes" if v3 else "meta/episodes.jsonl"
    try:
        episodes = list((_episodes_v3 if v3 else _episodes_v2)(folder))
    except InputError:
        raise
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, ArithmeticError) as error:
        reason = f"{type(error).__name__} {error}"[:80]
        raise InputError(f"{folder.source}: {name} cannot be read ({reason}); {REMEDY}") from error
    for episode in episodes:
        if not 1 <= episode.length < _LONGEST:
            problem = f"episode {episode.index:.6g} has the length {episode.length:.6g}"
            raise InputError(f"{folder.source}: {name}: {problem}; {REMEDY}")
        if os.path.isabs(episode.file) or os.path.normpath(episode.file).startswith(".."):
            problem = f"data_path leads out of the folder, to {episode.file[:60]!r}"
            raise InputError(f"{folder.source}: meta/info.json: {problem}; {REMEDY}")
    frames = sum(episode.length for episode in episodes)
    for key, count in (("total_episodes", len(episodes)), ("total_frames", frames)):
        if count != folder.info[key]:
            raise InputError(
                f"{folder.source}: {name} counts {count:,}, but meta/info.json says {key} "
                f"{folder.info[key]!r:.20}; {REMEDY}, or correct that file"
            )
    if not episodes or [episode.index for episode in episodes] != list(range(len(episodes))):
        problem = "does not count episodes from 0 without a gap"
        raise InputError(f"{folder.source}: {name} {problem}; {REMEDY}")
    return episodes


def _episodes_v2(folder: Folder) -> Iterator[Episode]:
    lines = _read_json(folder, "meta/episodes.jsonl", lines=True)
    for line in sorted(lines, key=lambda line: line["episode_index"]):
        index = line["episode_index"]
        chunk = index // folder.info["chunks_size"]
        file = _path(folder).format(episode_chunk=chunk, episode_index=index)
        yield Episode(index, int(line["length"]), file)


def _episodes_v3(folder: Folder) -> Iterator[Episode]:
    names = ("episode_index", "length", "data/chunk_index", "data/file_index")
    paths = sorted(glob.glob("meta/episodes/*/*.parquet", root_dir=folder.path))
    if not paths:
        raise InputError(f"{folder.source}: no meta/episodes/*/*.parquet in it; {REMEDY}")
    parts = [read_columns(os.path.join(folder.path, path), names) for path in paths]
    rows = zip(*(np.concatenate([part[name] for part in parts]) for name in names), strict=True)
    for index, length, chunk, number in sorted(rows):
        file = _path(folder).format(chunk_index=int(chunk), file_index=int(number))
        yield Episode(int(index), int(length), file)


def _path(folder: Folder) -> str:
    """The path of the data files with places for numbers, as in data/file-{index:03d}.parquet."""
    pattern = folder.info["data_path"]
    if not _PATTERN.fullmatch(pattern):
        raise ValueError(f"data_path={pattern!r:.60}")
    return pattern


def _is_vector(feature: dict[str, Any]) -> bool:
    """Whether a column is one axis of numbers."""
    shape = feature.get("shape")
    is_number = str(feature.get("dtype")).startswith(("float", "int", "uint"))
    return is_number and isinstance(shape, list) and len(shape) == 1 and isinstance(shape[0], int)


def _read_json(folder: Folder, name: str, *, lines: bool) -> list[dict[str, Any]]:
    """The object of a JSON file, or that of each line."""
    try:
        with open(os.path.join(folder.path, name), encoding="utf-8-sig") as file:
            text = file.read()
        parts = [part for part in text.splitlines() if part.strip()] if lines else [text]
        objects = [parse_json(part) for part in parts]
    except (OSError, ValueError) as error:
        reason = one_line(error)[:80]
        raise InputError(f"{folder.source}: {name} cannot be read ({reason}); {REMEDY}") from error
    if not all(isinstance(item, dict) for item in objects):
        raise InputError(f"{folder.source}: {name} holds something else than objects; {REMEDY}")
    return objects


def _texts(names: Any) -> Iterator[str]:
    """All texts in nested lists or dicts: LeRobot stores names in all of these ways."""
    if isinstance(names, str):
        yield names
    elif isinstance(names, list | dict):
        for part in names.values() if isinstance(names, dict) else names:
            yield from _texts(part)
