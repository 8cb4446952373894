"""Minari's datasets (minari.farama.org), read and written by the optional package of that name."""

import re
import shutil
import warnings
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import numpy as np

from edp_jax import minari_package
from edp_jax.data import hdf5
from edp_jax.data.preprocess import episode_ends
from edp_jax.data.raw import RawDataset, from_arrays
from edp_jax.data.reader import Reader, Request
from edp_jax.errors import one_line
from edp_jax.tasks import Task
from edp_jax.types import InputError

PREFIX = "minari:"
_SCORES = ("ref_min_score", "ref_max_score")
_ID = re.compile(r"[-\w]+(/[-\w]+)*-v\d+", re.ASCII)


def check_id(dataset_id: str) -> None:
    """Refuses what is no id of Minari, (namespace/)name-v<number>.

    Raises:
      InputError: see above.
    """
    if not _ID.fullmatch(dataset_id):
        raise InputError(
            f"Minari dataset {dataset_id!r}: not an id; write minari:(namespace/)name-v<number>"
        )


def read_minari(dataset_id: str, progress: Callable[[str], None] = print) -> RawDataset:
    """Reads a dataset, which Minari downloads first where it is not on this machine.

    Observations that are dicts or tuples are flattened as gymnasium flattens them, a dict in the
    order of its sorted keys. The last step of an episode that does not end the task is a timeout.
    An episode that does not have one observation more than it has steps is left out, and a note
    says so. The action box is the action space of the dataset. Its reference scores are the
    `ref_min_score` and `ref_max_score` of its metadata.

    Args:
      dataset_id: (namespace/)name-v<number>.
      progress: takes a line before a download.

    Raises:
      InputError: the package is missing, there is no such dataset, it cannot be read, or actions or
        observations are no numbers.
    """
    check_id(dataset_id)
    source = f"minari:{dataset_id}"
    dataset, metadata = minari_package.open_dataset(dataset_id, progress)
    low, high = _action_box(source, dataset.action_space)
    space = dataset.observation_space

    def read() -> tuple[list[dict[str, np.ndarray] | str], int | None]:
        file = dataset.storage.data_path / "main_data.hdf5"
        stored = len(hdf5.check_contained(source, file)) if file.is_file() else None
        return [_episode(source, space, episode) for episode in dataset], stored

    found, stored = minari_package.told(source, read)
    episodes = [episode for episode in found if isinstance(episode, dict)]
    left_out = [episode for episode in found if isinstance(episode, str)]
    notes = tuple(_lost(metadata, found, stored))
    if left_out:
        notes += (f"{len(left_out):,} of {len(found):,} episodes are left out: {left_out[0]}",)
    if not episodes:
        reason = notes[0] if notes else "no episodes, 2 transitions needed"
        raise InputError(f"{source}: {reason}; use another dataset")
    arrays = {key: np.concatenate([episode[key] for episode in episodes]) for key in episodes[0]}
    scores = [metadata.get(key) for key in _SCORES]
    declared = {"action_low": low, "action_high": high}
    if None not in scores:
        declared["reference_scores"] = np.array(scores, np.float64)
    return from_arrays(source, arrays | declared, apart=True, notes=notes)


def check_new(dataset_id: str) -> None:
    """Refuses an id that no new dataset can have on this machine.

    Raises:
      InputError: it is no id, the package or its folder is missing, or it is taken already.
    """
    check_id(dataset_id)
    minari = minari_package.package(dataset_id)
    try:
        path = minari.storage.get_dataset_path(dataset_id)
    except OSError as error:
        remedy = "give another folder as $MINARI_DATASETS_PATH"
        raise InputError(f"minari:{dataset_id}: {one_line(error)}; {remedy}") from error
    if path.exists():
        remedy = "count its version up, or delete that folder"
        raise InputError(f"minari:{dataset_id}: exists already, {path}; {remedy}")


def write_minari(
    dataset_id: str, raw: RawDataset, env: Any, *, algorithm: str, description: str
) -> None:
    """Writes a dataset of this machine: all of it or nothing.

    Args:
      dataset_id: (namespace/)name-v<number>, see `check_new`.
      raw: the steps, with `next_observations`.
      env: the environment they were recorded in, as gymnasium makes it. It becomes the environment
        of the dataset, with `FlattenObservation` around it where its observations are no vectors.
      algorithm, description: texts of the metadata.

    Raises:
      InputError: see `check_new`; or Minari cannot write it.
    """
    check_new(dataset_id)
    minari = minari_package.package(dataset_id)
    import gymnasium

    if len(env.observation_space.shape or ()) != 1:
        env = gymnasium.wrappers.FlattenObservation(env)
    starts = np.append(0, np.flatnonzero(episode_ends(raw)) + 1)
    episodes = [slice(start, end) for start, end in zip(starts[:-1], starts[1:], strict=True)]
    space = gymnasium.spaces.Box(-np.inf, np.inf, raw.observations.shape[1:], np.float32)
    scores = {}
    if raw.reference_scores is not None:
        scores = dict(zip(_SCORES, raw.reference_scores.tolist(), strict=True))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that there is no author, no permalink
            minari.create_dataset_from_buffers(
                dataset_id,
                [_buffer(minari, raw, rows) for rows in episodes],
                env=env,
                observation_space=space,
                algorithm_name=algorithm,
                description=description,
                **scores,
            )
    except BaseException as error:
        remove(dataset_id)
        if isinstance(error, Exception):
            raise InputError(
                f"minari:{dataset_id}: Minari cannot write it ({one_line(error)}); give another "
                "id, or use --output=FILE.hdf5"
            ) from error
        raise


def remove(dataset_id: str) -> None:
    """Deletes a dataset of this machine, if it is there."""
    path = minari_package.package(dataset_id).storage.get_dataset_path(dataset_id)
    shutil.rmtree(path, ignore_errors=True)


def find(name: str) -> Task | None:
    """The task of a name with the prefix minari:."""
    if not name.startswith(PREFIX):
        return None
    check_id(name.removeprefix(PREFIX))
    return Task(name, "minari", "minari", environment=name)


def read(request: Request) -> tuple[RawDataset, str | None]:
    """Reads a dataset of Minari, which consists of several files."""
    return read_minari(request.task.name.removeprefix(PREFIX), request.progress), None


def check(task: Task, data_dir: str) -> None:
    """Refuses a dataset of Minari without its package."""
    del data_dir
    minari_package.package(task.name.removeprefix(PREFIX))


READER = Reader("minari", "minari:<dataset id>", find, read, check=check)


def _buffer(minari: ModuleType, raw: RawDataset, rows: slice) -> Any:
    following = raw.next_observations
    if following is None:
        raise ValueError("an episode of Minari needs the observation after its last step")
    return minari.data_collector.EpisodeBuffer(
        observations=np.concatenate([raw.observations[rows], following[rows][-1:]]),
        actions=raw.actions[rows],
        rewards=raw.rewards[rows],
        terminations=raw.terminals[rows],
        truncations=raw.timeouts[rows],
    )


def _lost(metadata: dict, found: list, stored: int | None) -> Iterator[str]:
    """Lines where the metadata of a dataset tell of other episodes or steps than there are.

    Args:
      metadata: its metadata.
      found: the episodes that they tell of.
      stored: how many the file has, where that is known.
    """
    if stored not in (None, len(found)):
        yield f"the metadata tell of {len(found):,} episodes, and there are {stored:,}"
    steps = sum(len(each["rewards"]) for each in found if isinstance(each, dict))
    told = metadata.get("total_steps")
    if told != steps and all(isinstance(each, dict) for each in found):
        yield f"the metadata tell of {told!r:.20} steps, and there are {steps:,}"


def _action_box(source: str, space: Any) -> tuple[np.ndarray, np.ndarray]:
    from gymnasium.spaces import Box

    if not isinstance(space, Box) or len(space.shape) != 1:
        remedy = "use a dataset whose actions are vectors (a Box of one dimension)"
        raise InputError(f"{source}: actions are {space}; {remedy}")
    if not np.issubdtype(space.dtype, np.floating):
        problem = f"actions are whole numbers, {space}, and policies give numbers in between"
        raise InputError(f"{source}: {problem}; use a dataset of continuous actions")
    return space.low, space.high


def _episode(source: str, space: Any, episode: Any) -> dict[str, np.ndarray] | str:
    """The steps of an episode, which has one observation more than steps; else what is wrong."""
    observations = _flatten(source, space, episode.observations)
    steps = len(episode.rewards)
    lengths = {
        "actions": len(episode.actions),
        "terminations": len(episode.terminations),
        "truncations": len(episode.truncations),
    }
    if len(observations) != steps + 1 or set(lengths.values()) != {steps}:
        counted = ", ".join(f"{count} {key}" for key, count in lengths.items())
        return (
            f"episode {episode.id} has {len(observations)} observations for {steps} rewards "
            f"({counted}), not one more"
        )
    if not steps:
        return f"episode {episode.id} has no steps"
    values = {"observations": observations, "actions": episode.actions, "rewards": episode.rewards}
    for key, array in values.items():
        odd = np.argwhere(~np.isfinite(array))
        if len(odd):
            raise InputError(
                f"{source}: {key} of episode {episode.id} are NaN or infinite at step {odd[0][0]}; "
                "use another dataset, or leave that episode out"
            )
    terminals, timeouts = np.array(episode.terminations, bool), np.array(episode.truncations, bool)
    timeouts[-1:] |= ~terminals[-1:]
    return {
        "observations": observations[:-1],
        "actions": episode.actions,
        "rewards": episode.rewards,
        "terminals": terminals,
        "timeouts": timeouts,
        "next_observations": observations[1:],
    }


def _flatten(source: str, space: Any, values: Any) -> np.ndarray:
    """Observations of a space as one array [steps, O] float32."""
    from gymnasium import spaces

    if isinstance(space, spaces.Dict):
        parts = [_flatten(source, space[key], values[key]) for key in sorted(space.keys())]
    elif isinstance(space, spaces.Tuple):
        parts = [_flatten(source, part, value) for part, value in zip(space, values, strict=True)]
    elif isinstance(space, (spaces.Box, spaces.MultiBinary)):
        return np.asarray(values, np.float32).reshape(len(values), -1)
    else:
        remedy = "use a dataset whose observations are numbers (Box)"
        raise InputError(f"{source}: observations hold a {space}; {remedy}")
    return np.concatenate(parts, axis=1)
