"""Minari's datasets (minari.farama.org), by the optional package of that name, as one array per quantity."""

import re
import shutil
import warnings
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

from edp_jax.data.preprocess import episode_ends
from edp_jax.data.raw import RawDataset, from_arrays
from edp_jax.types import InputError

_ID = re.compile(r"[-\w]+(/[-\w]+)*-v\d+", re.ASCII)
_REMEDY = "pip install -e '.[minari]'"


def check_id(dataset_id: str) -> None:
    """Raises InputError where `dataset_id` is no (namespace/)name-v<number>."""
    if not _ID.fullmatch(dataset_id):
        raise InputError(
            f"Minari dataset {dataset_id!r}: not an id; write minari:(namespace/)name-v<number>"
        )


def read_minari(dataset_id: str, progress: Callable[[str], None] = print) -> RawDataset:
    """Reads a dataset of this machine (hdf5 or arrow), which is downloaded first where it is not there.

    Observations that are dicts or tuples are flattened, a dict in the order of its sorted keys (as gymnasium flattens them). The
    last step of an episode that does not terminate is a timeout. The dataset's action space is its action box, its
    `ref_min_score` and `ref_max_score` are its reference scores.

    Raises:
      InputError: the package is missing, there is no such dataset, it cannot be read, or its spaces are no numbers.
    """
    check_id(dataset_id)
    minari = _import(dataset_id)
    source = f"minari:{dataset_id}"
    try:
        dataset = minari.load_dataset(dataset_id)
    except FileNotFoundError:
        progress(f"{source}: not on this machine, Minari downloads it")
        place = minari.storage.get_dataset_path(dataset_id)
        dataset = _read(
            source,
            lambda: minari.load_dataset(dataset_id, download=True),
            f", or put its folder at '{place}'",
        )
    except Exception as error:
        raise _unusable(source, error) from error
    low, high = _action_box(source, dataset.action_space)
    episodes = _read(
        source,
        lambda: [_episode(source, dataset.observation_space, episode) for episode in dataset],
    )
    if not episodes:
        raise InputError(
            f"{source}: no episodes, at least 2 transitions needed; use another dataset"
        )
    arrays = {key: np.concatenate([episode[key] for episode in episodes]) for key in episodes[0]}
    scores = [dataset.storage.metadata.get(key) for key in ("ref_min_score", "ref_max_score")]
    declared = {"action_low": low, "action_high": high}
    if None not in scores:
        declared["reference_scores"] = np.array(scores, np.float64)
    return from_arrays(source, arrays | declared)


def check_new(dataset_id: str) -> None:
    """Raises InputError where no dataset of that id can be written: not an id, no package, no folder, or there is one already."""
    check_id(dataset_id)
    minari = _import(dataset_id)
    try:
        path = minari.storage.get_dataset_path(dataset_id)
    except OSError as error:
        raise InputError(
            f"minari:{dataset_id}: {error}; give another folder as $MINARI_DATASETS_PATH"
        ) from error
    if path.exists():
        raise InputError(
            f"minari:{dataset_id}: exists already, {path}; count its version up, or delete that folder"
        )


def write_minari(
    dataset_id: str, raw: RawDataset, env: Any, *, algorithm: str, description: str
) -> None:
    """Writes the steps of `raw`, recorded in copies of `env`, as a dataset of this machine; all of it or nothing.

    `env`, as gymnasium makes it, becomes the dataset's environment, with `FlattenObservation` around it where its observations
    are no vectors, since those of `raw` are flat.

    Raises:
      InputError: see `check_new`.
    """
    check_new(dataset_id)
    minari = _import(dataset_id)
    import gymnasium

    if len(env.observation_space.shape or ()) != 1:
        env = gymnasium.wrappers.FlattenObservation(env)
    starts = np.append(0, np.flatnonzero(episode_ends(raw)) + 1)
    episodes = [slice(start, end) for start, end in zip(starts[:-1], starts[1:], strict=True)]
    scores = None if raw.reference_scores is None else raw.reference_scores.tolist()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that there is no author, no permalink
            minari.create_dataset_from_buffers(
                dataset_id,
                [_buffer(minari, raw, rows) for rows in episodes],
                env=env,
                observation_space=gymnasium.spaces.Box(
                    -np.inf, np.inf, raw.observations.shape[1:], np.float32
                ),
                algorithm_name=algorithm,
                description=description,
                **(
                    {}
                    if scores is None
                    else {"ref_min_score": scores[0], "ref_max_score": scores[1]}
                ),
            )
    except BaseException:
        shutil.rmtree(minari.storage.get_dataset_path(dataset_id), ignore_errors=True)
        raise


def _buffer(minari: ModuleType, raw: RawDataset, rows: slice) -> Any:
    return minari.data_collector.EpisodeBuffer(
        observations=np.concatenate([raw.observations[rows], raw.next_observations[rows][-1:]]),
        actions=raw.actions[rows],
        rewards=raw.rewards[rows],
        terminations=raw.terminals[rows],
        truncations=raw.timeouts[rows],
    )


def _import(dataset_id: str) -> ModuleType:
    try:
        import minari
    except ImportError as error:
        raise InputError(f"minari:{dataset_id}: {error}; {_REMEDY}") from error
    return minari


def _read(source: str, action: Callable[[], Any], otherwise: str = "") -> Any:
    try:
        return action()
    except InputError:
        raise
    except Exception as error:  # damaged files, versions, networks: Minari and its storages raise errors of many kinds
        raise _unusable(source, error, otherwise) from error


def _unusable(source: str, error: Exception, otherwise: str = "") -> InputError:
    reason = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, ImportError):
        return InputError(f"{source}: {reason}; {_REMEDY}{otherwise}")
    return InputError(
        f"{source}: {reason}; see what there is with `minari list local` and `minari list remote`{otherwise}"
    )


def _action_box(source: str, space: Any) -> tuple[np.ndarray, np.ndarray]:
    from gymnasium.spaces import Box

    if not isinstance(space, Box) or len(space.shape) != 1:
        raise InputError(
            f"{source}: actions are {space}; use a dataset whose actions are vectors (a Box of one dimension)"
        )
    return space.low, space.high


def _episode(source: str, space: Any, episode: Any) -> dict[str, np.ndarray]:
    """The T steps of an episode, whose observations are T + 1."""
    observations = _flatten(source, space, episode.observations)
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
    """[T, O] float32 of T observations of `space`."""
    from gymnasium import spaces

    if isinstance(space, spaces.Dict):
        parts = [_flatten(source, space[key], values[key]) for key in sorted(space.keys())]
    elif isinstance(space, spaces.Tuple):
        parts = [_flatten(source, part, value) for part, value in zip(space, values, strict=True)]
    elif isinstance(space, (spaces.Box, spaces.MultiBinary)):
        return np.asarray(values, np.float32).reshape(len(values), -1)
    else:
        raise InputError(
            f"{source}: observations hold a {space}; use a dataset whose observations are numbers (Box)"
        )
    return np.concatenate(parts, axis=1)
