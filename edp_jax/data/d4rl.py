"""D4RL's HDF5 layout, read and written with h5py alone (Fu et al. 2020, arXiv 2004.07219)."""

import dataclasses
import os

import h5py
import numpy as np

from edp_jax.files import replacing
from edp_jax.types import InputError

ACTION_TOLERANCE = 1e-5
_VECTORS = ("rewards", "terminals", "timeouts")
_REQUIRED = ("observations", "actions", "rewards", "terminals")
_OPTIONAL = ("timeouts", "next_observations")
_NUMERIC_KINDS = "buif"


@dataclasses.dataclass(frozen=True)
class RawDataset:
    """A dataset as its file holds it: N consecutive steps, episode after episode.

    `terminals` marks steps after which the task itself ended, `timeouts` steps after which only the recording was cut.
    """

    observations: np.ndarray  # [N, O] float32
    actions: np.ndarray  # [N, A] float32, in [-1, 1]
    rewards: np.ndarray  # [N] float32
    terminals: np.ndarray  # [N] bool
    timeouts: np.ndarray  # [N] bool
    next_observations: np.ndarray | None = None  # [N, O] float32


def read_hdf5(path: str | os.PathLike, *, max_episode_steps: int | None = None) -> RawDataset:
    """Reads and checks one file.

    A file without `timeouts` gets one at every `max_episode_steps`-th step of an episode, none where that is None.
    Numbers of any width become float32; actions that leave [-1, 1] by rounding only are clipped.

    Raises:
      InputError: the file is missing, truncated or no HDF5, a key is missing, a shape or type is wrong, a value is not
        finite, an action is outside [-1, 1], or there are fewer than 2 transitions.
    """
    path = os.fspath(path)
    arrays = _read_arrays(path)
    _check_shapes(path, arrays)
    for key in arrays:
        arrays[key] = _to_float32(path, key, arrays[key])
    _check_actions(path, arrays["actions"])
    terminals = arrays["terminals"] != 0
    if "timeouts" in arrays:
        timeouts = arrays["timeouts"] != 0
    else:
        timeouts = _timeouts_by_length(terminals, max_episode_steps)
    return RawDataset(
        observations=arrays["observations"],
        actions=np.clip(arrays["actions"], -1.0, 1.0),
        rewards=arrays["rewards"],
        terminals=terminals,
        timeouts=timeouts,
        next_observations=arrays.get("next_observations"),
    )


def write_hdf5(path: str | os.PathLike, raw: RawDataset, *, attributes: dict) -> None:
    """Writes `raw` in D4RL's layout; `attributes` (str, numbers) become attributes of the file.

    The bytes go to a temporary file in the same folder, which replaces `path` only when it is complete.
    """
    path = os.fspath(path)
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    with replacing(path) as temporary, h5py.File(temporary, "w") as file:
        for field in dataclasses.fields(raw):
            value = getattr(raw, field.name)
            if value is not None:
                file.create_dataset(field.name, data=value)
        for key, value in attributes.items():
            file.attrs[key] = value


def _read_arrays(path: str) -> dict[str, np.ndarray]:
    if not os.path.isfile(path):
        raise InputError(f"data file {path!r}: there is no such file; check the path, or put the file there")
    if not os.access(path, os.R_OK):
        raise InputError(f"data file {path!r}: no permission to read it; give yourself read access to the file")
    if not h5py.is_hdf5(path):
        size = os.path.getsize(path)
        raise InputError(f"data file {path!r}: not an HDF5 file ({size} bytes); delete it and copy or download it again")
    try:
        with h5py.File(path, "r") as file:
            missing = [key for key in _REQUIRED if key not in file]
            if missing:
                raise InputError(
                    f"data file {path!r}: no key {', '.join(map(repr, missing))} (found: {', '.join(file) or 'no keys'}); "
                    f"store arrays named {', '.join(_REQUIRED)}"
                )
            keys = _REQUIRED + tuple(key for key in _OPTIONAL if key in file)
            return {key: _read_array(path, key, file[key]) for key in keys}
    except (OSError, RuntimeError, KeyError) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"data file {path!r}: truncated or damaged at {os.path.getsize(path)} bytes ({reason}); "
            "delete it and copy or download it again"
        ) from error


def _read_array(path: str, key: str, item: h5py.Dataset | h5py.Group) -> np.ndarray:
    if not isinstance(item, h5py.Dataset):
        raise InputError(f"data file {path!r}: key {key!r} is a group, not an array; store one array under {key!r}")
    if item.dtype.kind not in _NUMERIC_KINDS:
        raise InputError(f"data file {path!r}: key {key!r} has dtype {item.dtype}, not numbers; store float32 (flags: bool)")
    return item[()]


def _check_shapes(path: str, arrays: dict[str, np.ndarray]) -> None:
    """Checks the shapes in place; [N, 1] flags and rewards become [N], as in D4RL's own reader."""
    for key, value in arrays.items():
        if key in _VECTORS and value.ndim == 2 and value.shape[1] == 1:
            arrays[key] = value = value[:, 0]
        ndim, wanted = (1, "[N]") if key in _VECTORS else (2, "[N, dimension]")
        if value.ndim != ndim or 0 in value.shape[1:]:
            raise InputError(f"data file {path!r}: key {key!r} has shape {list(value.shape)}; store it as {wanted}")
    lengths = {key: len(value) for key, value in arrays.items()}
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{key} {length}" for key, length in lengths.items())
        raise InputError(f"data file {path!r}: arrays of unequal length ({listed}); store one row per step in each of them")
    if lengths["rewards"] < 2:
        raise InputError(f"data file {path!r}: {lengths['rewards']} transitions, at least 2 needed; use a file with more data")
    following = arrays.get("next_observations")
    if following is not None and following.shape != arrays["observations"].shape:
        raise InputError(
            f"data file {path!r}: key 'next_observations' has shape {list(following.shape)}, observations have "
            f"{list(arrays['observations'].shape)}; store both alike, or leave next_observations out"
        )


def _to_float32(path: str, key: str, value: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        value = value.astype(np.float32)
    bad = ~np.isfinite(value)
    if bad.any():
        rows = np.flatnonzero(bad.reshape(len(value), -1).any(axis=1))
        raise InputError(
            f"data file {path!r}: key {key!r} holds {int(bad.sum())} values that are NaN or infinite in float32, "
            f"the first in row {rows[0]}; remove the episodes with such values"
        )
    return value


def _check_actions(path: str, actions: np.ndarray) -> None:
    outside = np.abs(actions) > 1.0 + ACTION_TOLERANCE
    if outside.any():
        rows = np.flatnonzero(outside.any(axis=1))
        value = actions[rows[0]][outside[rows[0]]][0]
        raise InputError(
            f"data file {path!r}: {int(outside.sum())} action values outside [-1, 1], the first {value} in row {rows[0]}; "
            "rescale the actions to [-1, 1]"
        )


def _timeouts_by_length(terminals: np.ndarray, max_episode_steps: int | None) -> np.ndarray:
    """Returns [N] bool: true at every `max_episode_steps`-th step since the last episode end that is no terminal."""
    timeouts = np.zeros_like(terminals)
    if max_episode_steps is None:
        return timeouts
    start = 0
    for end in np.append(np.flatnonzero(terminals), len(terminals)):
        timeouts[start + max_episode_steps - 1 : end : max_episode_steps] = True
        start = end + 1
    return timeouts
