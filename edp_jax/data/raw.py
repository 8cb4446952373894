"""The steps of a dataset as its source holds them, and the checks of every source."""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edp_jax.data import continuity, ends
from edp_jax.data.storage import MEMORY, Storage, count_where, map_rows, row_blocks
from edp_jax.types import InputError

_STEPS = ("rewards", *ends.FLAGS)  # [N]
_ROWS = ("observations", "actions", "next_observations")  # [N, dimension]
_NUMERIC_KINDS = "buif"
_LONGEST = 110  # characters of a path in an error
_UNWRITTEN = 10  # rows of zeros at the end from which on they look like an unfilled buffer


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
    whole_episodes: bool = (
        True  # False: rows are shuffled, or episodes divided, so no return counts
    )
    notes: tuple[str, ...] = ()  # what the user should know of how the source was understood
    has_rewards: bool = True  # False: `rewards` are all 0 because the source has none
    understood: tuple[str, ...] = ()  # lines: the format of its source, and what marks ends in it
    details: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # JSON: what it says else
    observation_names: tuple[str, ...] = ()  # O of them, where the source names its columns
    action_names: tuple[str, ...] = ()  # A of them

    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays that are there, by their names."""
        return {key: value for key, value in vars(self).items() if isinstance(value, np.ndarray)}

    @property
    def observation_dim(self) -> int:
        return self.observations.shape[1]

    @property
    def action_dim(self) -> int:
        return self.actions.shape[1]


def called(path: str, kind: str = "data file") -> str:
    """What error messages call a file: by its path, or the end of a long one."""
    return f"{kind} {path!r}" if len(path) <= _LONGEST else f"{kind} '...{path[-_LONGEST:]}'"


def check_readable(path: str) -> None:
    """Refuses a path of no file that can be read.

    Raises:
      InputError: there is no such file, or no permission.
    """
    if not os.path.isfile(path):
        raise InputError(
            f"{called(path)}: there is no such file; check the path, or put the file there"
        )
    if not os.access(path, os.R_OK):
        raise InputError(
            f"{called(path)}: no permission to read it; give yourself read access to the file"
        )


def from_arrays(
    source: str,
    arrays: Mapping[str, Any],
    *,
    max_episode_steps: int | None = None,
    apart: bool = False,
    last: np.ndarray | None = None,
    notes: tuple[str, ...] = (),
    storage: Storage = MEMORY,
) -> RawDataset:
    """Checks arrays and converts them: numbers of any width become float32, flags bool.

    `edp_jax.data.ends` says which flags there may be and what they mean. Where none marks cuts, an
    episode that no terminal ends is cut at every `max_episode_steps`-th step. Where that is unknown
    too, it is cut at the steps whose next observation is not the observation of the following row.

    Args:
      source: what error messages begin with.
      arrays: numpy's, or h5py's, which are read block by block, under the keys of
        `edp_jax.data.names.NAMES`.
      max_episode_steps: the time limit, where it is known.
      apart: whether the source keeps episodes apart, so that their ends need no check by the rows.
      last: [N] bool, the last step of each episode where the source itself keeps episodes apart.
      notes: lines for the user, to which those on the flags are added.
      storage: where the new arrays lie.

    Raises:
      InputError: a shape or type is wrong, a value is not finite, a flag is neither 0 nor 1, there
        are fewer than 2 steps, or nothing tells where episodes were cut off.
    """
    arrays = {key: _check_array(source, key, value) for key, value in arrays.items()}
    _check_shapes(source, arrays)
    scores = arrays.pop("reference_scores", None)
    arrays = {key: _to_float32(source, key, value, storage) for key, value in arrays.items()}
    if scores is not None:
        arrays["reference_scores"] = np.asarray(scores)
    _check_written(source, arrays)
    stored = found = ends.read_flags(source, arrays)
    found = found if last is None else ends.bounded(found, last)
    if "masks" not in arrays:  # which tell time limits from ends
        found = found._replace(notes=found.notes + continuity.hidden_limit(found))
    found = found._replace(notes=(*notes, *found.notes))
    arrays = {key: value for key, value in arrays.items() if key not in ends.FLAGS}
    if found.timeouts is None and max_episode_steps is not None:
        limited = ends.timeouts_by_length(found.terminals, max_episode_steps)
        found = found._replace(timeouts=limited)
    if "next_observations" in arrays and not apart:
        rows = arrays["observations"], arrays["next_observations"]
        if last is None:
            continuity.check_resets(source, found, *rows, arrays["rewards"])
        found, arrays["next_observations"] = continuity.compare_rows(source, found, *rows)
    if "next_observations" not in arrays and not apart:
        lines = continuity.unrelated_rows(found, arrays["observations"])
        lines += continuity.misplaced_ends(found, arrays["observations"])
        found = found._replace(notes=(*found.notes, *lines))
    if last is None and not apart:
        found = found._replace(notes=found.notes + continuity.unmarked(stored, found))
    if found.timeouts is None:
        raise InputError(
            f"{source}: nothing tells which steps were the last before a time limit; store "
            "'timeouts' (all False where every episode ends in a terminal) or 'next_observations'"
        )
    return RawDataset(
        **arrays,
        terminals=found.terminals,
        timeouts=found.timeouts,
        whole_episodes=found.whole,
        notes=found.notes,
    )


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
        images = " (images are not read)" if value.ndim > ndim and key in _ROWS else ""
        raise InputError(
            f"{source}: key {key!r} has shape {list(value.shape)}{images}; store it as {wanted}"
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


def _check_written(source: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Refuses a buffer that was not filled to its end: last rows in which every number is 0."""
    steps = [arrays["rewards"][:, None], arrays["observations"], arrays["actions"]]
    size = len(steps[0])
    filled = _filled(steps)
    if size - filled >= _UNWRITTEN:
        last = f"the last {size - filled:,}" if filled else "all"
        remedy = f"store the first {filled:,} rows" if filled else "use another file"
        raise InputError(
            f"{source}: {last} of {size:,} rows hold nothing but zeros, as in a buffer that was "
            f"not filled; {remedy}"
        )


def _filled(arrays: Sequence[np.ndarray]) -> int:
    """Number of rows of arrays [N, ...] up to the last that is not all 0, that one included."""
    for rows in reversed(list(row_blocks(*arrays))):
        used = np.logical_or.reduce([array[rows].any(axis=1) for array in arrays])
        if used.any():
            return rows.start + int(np.flatnonzero(used)[-1]) + 1
    return 0


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
