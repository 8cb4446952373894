"""The steps of a dataset as its source holds them, and the checks of every source."""

import dataclasses
import os
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from edp_jax.data.storage import MEMORY, Storage, count_where, map_rows
from edp_jax.types import InputError

REQUIRED = ("observations", "actions", "rewards", "terminals")
OPTIONAL = ("timeouts", "next_observations", "action_low", "action_high", "reference_scores")
SYNONYMS = {
    "observations": "obs",
    "actions": "action",
    "rewards": "reward",
    "terminals": "done",
    "timeouts": "truncated",
    "next_observations": "next_obs",
}
_STEPS = ("rewards", "terminals", "timeouts")  # [N]
_ROWS = ("observations", "actions", "next_observations")  # [N, dimension]
_NUMERIC_KINDS = "buif"


@dataclasses.dataclass(frozen=True)
class RawDataset:
    """N consecutive steps, episode after episode, in the units of their source.

    `terminals` marks the steps that ended the task, `timeouts` those after which only the recording
    was cut.
    """

    observations: np.ndarray  # [N, O] float32
    actions: np.ndarray  # [N, A] float32
    rewards: np.ndarray  # [N] float32
    terminals: np.ndarray  # [N] bool
    timeouts: np.ndarray  # [N] bool
    next_observations: np.ndarray | None = None  # [N, O] float32
    action_low: np.ndarray | None = None  # [A] float32, where the source declares an action box
    action_high: np.ndarray | None = None  # [A] float32
    reference_scores: np.ndarray | None = None  # [2] float64, returns that count as 0 and 100

    @property
    def observation_dim(self) -> int:
        return self.observations.shape[1]

    @property
    def action_dim(self) -> int:
        return self.actions.shape[1]


def check_readable(path: str) -> None:
    """Refuses a path of no file that can be read.

    Raises:
      InputError: there is no such file, or no permission.
    """
    if not os.path.isfile(path):
        raise InputError(
            f"data file {path!r}: there is no such file; check the path, or put the file there"
        )
    if not os.access(path, os.R_OK):
        raise InputError(
            f"data file {path!r}: no permission to read it; give yourself read access to the file"
        )


def find_names(source: str, present: Iterable[str]) -> dict[str, str]:
    """Finds the arrays of a dataset among those of a file.

    Args:
      source: what error messages call the file.
      present: the names of all its arrays.

    Returns:
      For each field of `RawDataset` that is there the name of its array: its own, or its synonym.

    Raises:
      InputError: a required array is missing, or one is there under both names.
    """
    present = list(present)
    names = {}
    for key in REQUIRED + OPTIONAL:
        found = [name for name in (key, SYNONYMS.get(key)) if name in present]
        if len(found) > 1:
            raise InputError(
                f"{source}: {found[0]!r} and {found[1]!r} mean the same; keep one of them"
            )
        if found:
            names[key] = found[0]
    missing = [key for key in REQUIRED if key not in names]
    if missing:
        raise InputError(
            f"{source}: no key {', '.join(map(repr, missing))} "
            f"(found: {', '.join(present) or 'no keys'}); store arrays named {', '.join(REQUIRED)}"
        )
    return names


def from_arrays(
    source: str,
    arrays: Mapping[str, Any],
    *,
    max_episode_steps: int | None = None,
    storage: Storage = MEMORY,
) -> RawDataset:
    """Checks arrays and converts them: numbers of any width become float32, flags bool.

    Where `timeouts` is missing, an episode that no terminal ends is cut at every
    `max_episode_steps`-th step. Where that is unknown too, it is cut at the steps whose next
    observation is not the observation of the following row.

    Args:
      source: what error messages begin with.
      arrays: numpy's, or h5py's, which are read block by block, under the names of `RawDataset`.
      max_episode_steps: the time limit, where it is known.
      storage: where the new arrays lie.

    Raises:
      InputError: a shape or type is wrong, a value is not finite, there are fewer than 2 steps, or
        nothing tells where episodes were cut off.
    """
    arrays = {key: _check_array(source, key, value) for key, value in arrays.items()}
    _check_shapes(source, arrays)
    scores = arrays.pop("reference_scores", None)
    arrays = {key: _to_float32(source, key, value, storage) for key, value in arrays.items()}
    if scores is not None:
        arrays["reference_scores"] = np.asarray(scores)
    arrays["terminals"] = arrays["terminals"] != 0
    if "timeouts" in arrays:
        arrays["timeouts"] = arrays["timeouts"] != 0
    elif max_episode_steps is not None:
        arrays["timeouts"] = _timeouts_by_length(arrays["terminals"], max_episode_steps)
    elif "next_observations" in arrays:
        arrays["timeouts"] = _timeouts_by_jumps(arrays)
    else:
        raise InputError(
            f"{source}: nothing tells which steps were the last before a time limit; store "
            "'timeouts' (all False where every episode ends in a terminal) or 'next_observations'"
        )
    return RawDataset(**arrays)


def _check_array(source: str, key: str, value: Any) -> Any:
    """The array itself; flags and rewards [N, 1] become [N]."""
    if value.dtype.kind not in _NUMERIC_KINDS:
        problem = f"has dtype {value.dtype}, not numbers"
        raise InputError(f"{source}: key {key!r} {problem}; store float32 (flags: bool)")
    if key in _STEPS and value.ndim == 2 and value.shape[1] == 1:
        value = value[:, 0]
    ndim, wanted = (2, "[N, dimension]") if key in _ROWS else (1, "[dimension]")
    wanted = "[N]" if key in _STEPS else wanted
    if value.ndim != ndim or 0 in value.shape[1:]:
        raise InputError(
            f"{source}: key {key!r} has shape {list(value.shape)}; store it as {wanted}"
        )
    return value


def _check_shapes(source: str, arrays: Mapping[str, Any]) -> None:
    lengths = {key: len(arrays[key]) for key in _ROWS + _STEPS if key in arrays}
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{key} {length}" for key, length in lengths.items())
        raise InputError(
            f"{source}: arrays of unequal length ({listed}); store one row per step in each of them"
        )
    if lengths["rewards"] < 2:
        problem = f"{lengths['rewards']} transitions, at least 2 needed"
        raise InputError(f"{source}: {problem}; use a file with more data")
    wanted = {"next_observations": arrays["observations"].shape, "reference_scores": (2,)}
    wanted |= dict.fromkeys(("action_low", "action_high"), arrays["actions"].shape[1:])
    for key in wanted.keys() & arrays.keys():
        shape = arrays[key].shape
        if shape != wanted[key]:
            problem = f"has shape {list(shape)}, not {list(wanted[key])}"
            raise InputError(f"{source}: key {key!r} {problem}; store that, or leave it out")
    if ("action_low" in arrays) != ("action_high" in arrays):
        raise InputError(
            f"{source}: one of action_low and action_high is missing; store both, or none"
        )


def _to_float32(source: str, key: str, value: Any, storage: Storage) -> np.ndarray:
    with np.errstate(over="ignore"):
        value = map_rows(
            lambda rows: rows.astype(np.float32), value, out=storage.empty(value.shape)
        )
    bad, first = count_where(lambda rows: ~np.isfinite(rows), value)
    if first is not None and key not in ("action_low", "action_high"):
        raise InputError(
            f"{source}: key {key!r} holds {bad} values that are NaN or infinite in float32, "
            f"the first in row {first[0]}; remove the episodes with such values"
        )
    return value


def _timeouts_by_length(terminals: np.ndarray, max_episode_steps: int) -> np.ndarray:
    """[N] bool: every `max_episode_steps`-th step of an episode, unless it is a terminal."""
    timeouts = np.zeros_like(terminals)
    start = 0
    for end in np.append(np.flatnonzero(terminals), len(terminals)):
        timeouts[start + max_episode_steps - 1 : end : max_episode_steps] = True
        start = end + 1
    return timeouts


def _timeouts_by_jumps(arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """[N] bool: where the next row is not what followed, and the last row, but for terminals."""
    jumps = np.ones(len(arrays["rewards"]), bool)
    following, observations = arrays["next_observations"][:-1], arrays["observations"][1:]
    map_rows(lambda a, b: (a != b).any(axis=1), following, observations, out=jumps[:-1])
    return jumps & ~arrays["terminals"]
