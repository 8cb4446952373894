"""From a file's arrays to transitions: episode ends, returns, normalisation, reward transforms. Pure numpy."""

import difflib

import numpy as np

from edp_jax.data.raw import RawDataset
from edp_jax.data.storage import MEMORY, Storage, count_where, map_rows, row_blocks
from edp_jax.types import InputError, TaskSpec, Transition, unpack

REWARD_KINDS = ("none", "antmaze", "iql_antmaze", "standardize", "iql_locomotion")
ACTION_LIMIT = 0.999  # actions are clipped to +- this, in the learners' [-1, 1]: EDP's public code, after CQL's
_ACTION_TOLERANCE = 1e-5  # of half the box: what counts as rounding
_CONSTANT_TOLERANCE = 1e-6


def episode_ends(raw: RawDataset) -> np.ndarray:
    """Returns [N] bool: true in the last row of each episode, and in the last row of the file."""
    ends = raw.terminals | raw.timeouts
    ends[-1] = True
    return ends


def usable_rows(raw: RawDataset) -> np.ndarray:
    """Returns [N] bool: false where an episode was cut off and the file does not say what followed."""
    if raw.next_observations is not None:
        return np.ones(len(raw.rewards), dtype=bool)
    return raw.terminals | ~episode_ends(raw)


def episode_numbers(raw: RawDataset) -> np.ndarray:
    """Returns [N] int: the episode of each row, counted from 0."""
    return np.append(0, np.cumsum(episode_ends(raw))[:-1])


def to_transitions(raw: RawDataset, storage: Storage = MEMORY) -> Transition:
    """Pairs each step with its next observation; leaves with leading axis B, see `usable_rows`, views of one new array of packed
    rows in `storage`.

    A terminal has discount 0 and, as nothing follows it, its own observation as the next one. A timeout has discount 1:
    learners bootstrap through it. Without `next_observations` in the file, the last step of an episode that a timeout or
    the end of the file cut off has no next observation and is dropped. A step that is both counts as a terminal.

    Raises:
      InputError: no transition is left.
    """
    rows = np.flatnonzero(usable_rows(raw))
    if not len(rows):
        raise InputError(
            "dataset: no transition has a next observation, every row ends an episode; add next_observations"
        )
    terminals = raw.terminals[rows]
    followed, following = raw.next_observations, rows
    if followed is None:
        followed, following = raw.observations, np.where(terminals, rows, rows + 1)
    packed = storage.empty((len(rows), 2 * raw.observation_dim + raw.action_dim + 2))
    transitions = unpack(packed, TaskSpec(raw.observation_dim, raw.action_dim))
    map_rows(lambda index: raw.observations[index], rows, out=transitions.observation)
    map_rows(lambda index: raw.actions[index], rows, out=transitions.action)
    map_rows(lambda index: followed[index], following, out=transitions.next_observation)
    transitions.reward[:] = raw.rewards[rows]
    transitions.discount[:] = ~terminals
    return transitions


def episode_returns(raw: RawDataset) -> np.ndarray:
    """Returns the undiscounted return of each episode as float64 [episodes]; a cut-off last episode counts."""
    starts = np.append(0, np.flatnonzero(episode_ends(raw))[:-1] + 1)
    return np.add.reduceat(raw.rewards.astype(np.float64), starts)


def constant_columns(observations: np.ndarray) -> np.ndarray:
    """Returns [O] bool: columns of `observations` [B, O] that are constant to float32 accuracy.

    The range decides, not the standard deviation: that of a constant float32 column is seldom exactly 0.
    """
    low, high = observations.min(axis=0), observations.max(axis=0)
    return high - low <= _CONSTANT_TOLERANCE * np.maximum(np.abs(low), np.abs(high))


def normalization(observations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns mean [O] and standard deviation [O] of each column of `observations` [B, O], float32.

    Statistics are per dimension; constant columns get standard deviation 1, so they become 0.
    """
    size, blocks = len(observations), list(row_blocks(observations))
    mean = sum(observations[rows].sum(axis=0, dtype=np.float64) for rows in blocks) / size
    std = np.sqrt(sum(np.square(observations[rows] - mean).sum(axis=0) for rows in blocks) / size)
    return mean.astype(np.float32), np.where(constant_columns(observations), 1.0, std).astype(
        np.float32
    )


def action_box(raw: RawDataset, *candidates: tuple | None) -> tuple[np.ndarray, np.ndarray]:
    """Returns low [A] and high [A], float32, of the box that the stored actions [N, A] are in.

    It is the first of `candidates`, pairs of numbers or vectors, that is there and bounded; without one it is [-1, 1], D4RL's.

    Raises:
      InputError: a box has another size or is empty, or actions lie outside by more than rounding.
    """
    boxes = [
        box
        for box in candidates
        if box is not None and all(np.isfinite(side).all() for side in box)
    ]
    low, high = (np.asarray(side, np.float32) for side in (boxes or [(-1.0, 1.0)])[0])
    sizes = {low.size, high.size} - {1, raw.action_dim}
    if sizes:
        raise InputError(
            f"action box: {sizes.pop()} numbers, actions have {raw.action_dim}; give one for all, or one for each"
        )
    low, high = np.broadcast_to(low, raw.action_dim), np.broadcast_to(high, raw.action_dim)
    if not (low < high).all():
        column = int(np.argmin(low < high))
        raise InputError(
            f"action box: empty in column {column}, from {low[column]} to {high[column]}; set --config.action_low below "
            "--config.action_high"
        )
    slack = _ACTION_TOLERANCE * (high - low) / 2
    outside, first = count_where(
        lambda actions: (actions < low - slack) | (actions > high + slack), raw.actions
    )
    if first is not None:
        row, column = first
        raise InputError(
            f"dataset: {outside} action values outside their box, the first {raw.actions[row, column]} in row {row}, "
            f"column {column} (box: {low[column]} to {high[column]}); set --config.action_low and --config.action_high, "
            "or the environment, --config.env_id"
        )
    return low, high


def scale_actions(actions: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Returns `actions` [N, A] of the box `low`, `high` [A] in the learners' units: [-1, 1], clipped to +-ACTION_LIMIT."""
    return np.clip((actions - (low + high) / 2) / ((high - low) / 2), -ACTION_LIMIT, ACTION_LIMIT)


def transform_rewards(rewards: np.ndarray, raw: RawDataset, kind: str) -> np.ndarray:
    """Returns the rewards [B] to learn from, float32.

    | kind | rewards | source |
    | --- | --- | --- |
    | none | r | |
    | antmaze | 4 (r - 0.5) | CQL (arXiv 2006.04779), used on AntMaze by Diffusion-QL and EDP |
    | iql_antmaze | r - 1 | IQL (arXiv 2110.06169, appendix A), on AntMaze |
    | iql_locomotion | 1000 r / (largest - smallest return of the episodes of `raw`) | IQL, on locomotion |
    | standardize | (r - mean) / std, over `rewards` | Diffusion-QL (arXiv 2208.06193) and EDP, on Adroit |

    Raises:
      InputError: an unknown kind, or a spread of 0 to divide by.
    """
    values = rewards.astype(np.float64)
    match kind:
        case "none":
            pass
        case "antmaze":
            values = 4.0 * (values - 0.5)
        case "iql_antmaze":
            values = values - 1.0
        case "standardize":
            if np.ptp(values) == 0.0:
                raise InputError(
                    f"reward transform {kind!r}: all rewards are {values[0]}, nothing to scale; use 'none'"
                )
            values = (values - values.mean()) / values.std()
        case "iql_locomotion":
            returns = episode_returns(raw)
            if np.ptp(returns) == 0.0:
                raise InputError(
                    f"reward transform {kind!r}: all episodes return {returns[0]}, nothing to scale; use 'none'"
                )
            values = values * 1000.0 / np.ptp(returns)
        case _:
            near = difflib.get_close_matches(kind, REWARD_KINDS, n=1, cutoff=0.0)[0]
            raise InputError(
                f"reward transform {kind!r}: unknown; use {near!r} or one of {', '.join(REWARD_KINDS)}"
            )
    return values.astype(np.float32)


def summarize(raw: RawDataset) -> dict:
    """Returns counts, ranges and returns of `raw` as plain numbers and lists that JSON can hold."""
    returns = episode_returns(raw)
    return {
        "transitions": len(raw.rewards),
        "episodes": len(returns),
        "terminals": int(raw.terminals.sum()),
        "timeouts": int(raw.timeouts.sum()),
        "observation_dim": raw.observations.shape[1],
        "action_dim": raw.actions.shape[1],
        "return": {
            "min": float(returns.min()),
            "mean": float(returns.mean()),
            "max": float(returns.max()),
        },
        "observation_range": [float(raw.observations.min()), float(raw.observations.max())],
        "action_range": [float(raw.actions.min()), float(raw.actions.max())],
        "constant_columns": np.flatnonzero(constant_columns(raw.observations)).tolist(),
    }


def describe(summary: dict) -> str:
    """What `summarize` counted, in lines for a terminal."""
    constant = summary["constant_columns"]
    return "\n".join(
        (
            f"  {summary['transitions']:,} transitions in {summary['episodes']:,} episodes, {summary['terminals']:,} terminals, "
            f"{summary['timeouts']:,} timeouts",
            "  return of an episode: "
            + ", ".join(f"{name} {value:.6g}" for name, value in summary["return"].items()),
            f"  observations [{summary['observation_dim']}] from {summary['observation_range'][0]:.6g} to "
            f"{summary['observation_range'][1]:.6g}, constant columns: {_ranges(constant) or 'none'}",
            f"  actions [{summary['action_dim']}] from {summary['action_range'][0]:.6g} to {summary['action_range'][1]:.6g}",
        )
    )


def _ranges(numbers: list[int]) -> str:
    """Sorted integers with runs drawn together: "0-2, 7"."""
    starts = [number for number in numbers if number - 1 not in numbers]
    ends = [number for number in numbers if number + 1 not in numbers]
    return ", ".join(
        str(first) if first == last else f"{first}-{last}"
        for first, last in zip(starts, ends, strict=True)
    )
