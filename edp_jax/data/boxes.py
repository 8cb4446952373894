"""The box of a dataset's actions, which becomes [-1, 1]: where it is from, and whether it fits."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from edp_jax.data.raw import RawDataset
from edp_jax.data.storage import count_where
from edp_jax.types import InputError

_TOLERANCE = 1e-5  # of half the box: what counts as rounding
_HUGE = 1e6  # a bound from which on a box counts as none, where the actions do not reach that far
_UNUSED = 0.01  # the part of such a box that its actions stay below
_SMALL = 0.1  # the part of a declared box below which it looks like the wrong one
_SMALL_OF_DEFAULT = 0.5  # actions in [0, 1] fill half of [-1, 1]
_DEFAULT = "the default: no bounded one in the data or an environment"
_ENVIRONMENT = "that of the environment"
_ROOM = 1e-3  # of the magnitude: half the box of a constant column
_MOST = 4  # columns told one by one
_REMEDY = "set action_box (of a run: --config.action_low and --config.action_high)"


class Box(NamedTuple):
    """The box of the stored actions."""

    low: np.ndarray  # [A] float32
    high: np.ndarray  # [A] float32
    lines: tuple[str, ...]  # for the user: where it is from, and what looks wrong with it


def find(
    raw: RawDataset,
    *,
    given: tuple | None = None,
    declared: tuple | None = None,
    recorded: tuple | None = None,
    environment: tuple | None = None,
) -> Box:
    """Finds the box of the stored actions and checks that they lie in it.

    The first box that is there and has bounds is taken; without one it is [-1, 1], as in D4RL. A
    bound that is infinite, or beyond 1e6 and far from all actions, is none.

    Args:
      raw: the dataset.
      given: low and high that the user gave, each a number or one per column.
      declared: those of the dataset.
      recorded: those that the run began with, where it goes on.
      environment: those of the environment.

    Raises:
      InputError: a box has another size or is empty, the given one is far larger than the actions,
        or actions lie outside by more than rounding.
    """
    low_used, high_used = raw.actions.min(axis=0), raw.actions.max(axis=0)
    used = high_used.astype(np.float64) - low_used
    candidates = {
        "as configured": _sides(raw, given),
        "declared by the data": _sides(raw, declared),
        "as the run began with": _sides(raw, recorded),
        _ENVIRONMENT: _sides(raw, environment),
    }
    candidates = {why: box for why, box in candidates.items() if box is not None}
    bounded = {why: box for why, box in candidates.items() if has_bounds(*box, used)}
    configured = candidates.get("as configured")
    if configured and "as configured" not in bounded and np.isfinite(configured).all():
        raise InputError(
            f"action box: {_told(*configured)} is so large that the actions ({low_used.min():.6g} "
            f"to {high_used.max():.6g}) all become 0 in it; {_REMEDY} to the range of the actions"
        )
    default = np.full(raw.action_dim, -1.0), np.full(raw.action_dim, 1.0)
    why, (low, high) = next(iter(bounded.items()), (_DEFAULT, default))
    low, high = low.astype(np.float32), high.astype(np.float32)
    _check(raw, low, high, why)
    lines = [f"actions: box {_told(low, high)}, {why}"]
    for other, box in candidates.items():
        if other not in bounded:
            lines.append(f"note: another box, {other}, has no bounds: {_told(*box)}")
        elif not np.allclose(
            (low, high), box, rtol=0, atol=_TOLERANCE * float(np.ptp((low, high)))
        ):
            clipped = ": evaluation clips actions to it" if other == _ENVIRONMENT else ""
            lines.append(f"note: another box, {other}, is {_told(*box)}{clipped}")
    lines += _oddities(raw, low, high, _SMALL_OF_DEFAULT if why == _DEFAULT else _SMALL)
    return Box(low, high, tuple(lines))


def range_of(actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lowest [A] and highest [A] of actions [N, A]; a column that is constant gets some room."""
    low, high = actions.min(axis=0), actions.max(axis=0)
    room = np.where(high > low, 0.0, _ROOM * np.maximum(1.0, np.abs(low)))
    return low - room, high + room


def _sides(raw: RawDataset, box: tuple | None) -> tuple[np.ndarray, np.ndarray] | None:
    """low [A] and high [A], float64: the bounds of float64 are infinite in float32."""
    if box is None:
        return None
    low, high = (np.asarray(side, np.float64) for side in box)
    sizes = {low.size, high.size} - {1, raw.action_dim}
    if sizes:
        raise InputError(
            f"action box: {sizes.pop()} numbers, actions have {raw.action_dim}; "
            "give one for all, or one for each"
        )
    return np.broadcast_to(low, raw.action_dim), np.broadcast_to(high, raw.action_dim)


def has_bounds(low: np.ndarray, high: np.ndarray, used: np.ndarray | float = 0.0) -> bool:
    """Whether low [A] and high [A] bound actions that differ by `used` [A], where that is known."""
    if not np.isfinite([low, high]).all():
        return False
    far = np.maximum(np.abs(low), np.abs(high)) >= _HUGE
    return not (far & (used < _UNUSED * (high / 2 - low / 2))).any()


def _check(raw: RawDataset, low: np.ndarray, high: np.ndarray, why: str) -> None:
    if not (low < high).all():
        column = int(np.argmin(low < high))
        raise InputError(
            f"action box: empty in column {column}, from {low[column]} to {high[column]}; "
            f"{_REMEDY}, the lower end first"
        )
    slack = _TOLERANCE * (high - low) / 2
    outside, first = count_where(
        lambda actions: (actions < low - slack) | (actions > high + slack), raw.actions
    )
    if first is not None:
        row, column = first
        raise InputError(
            f"dataset: {outside} action values outside their box, the first "
            f"{raw.actions[row, column]} in row {row}, column {column} "
            f"(box: {low[column]} to {high[column]}), {why}; {_REMEDY} or its environment"
        )


def _oddities(raw: RawDataset, low: np.ndarray, high: np.ndarray, small: float) -> Iterator[str]:
    least, most = raw.actions.min(axis=0), raw.actions.max(axis=0)
    filled = (most - least) / (high - low)
    column = int(np.argmin(np.where(most > least, filled, np.inf)))  # constant ones tell nothing
    if most[column] > least[column] and filled[column] <= small + _TOLERANCE:
        yield (
            f"note: actions of column {column} lie in {least[column]:.6g} to {most[column]:.6g}, "
            f"{100 * filled[column]:.2g} % of the box; if that is the wrong box, {_REMEDY}"
        )
    vary = most > least
    fractions = count_where(lambda rows: vary & (rows != np.round(rows)), raw.actions)[0]
    if vary.any() and not fractions:
        yield (
            f"note: all actions are whole numbers ({least.min():.6g} to {most.max():.6g}), and "
            "trained on as continuous ones: policies will give numbers in between"
        )


def _told(low: np.ndarray, high: np.ndarray) -> str:
    """ "-1 to 1", or column by column where these differ."""
    pairs = [f"{least:.6g} to {most:.6g}" for least, most in zip(low, high, strict=True)]
    if len(set(pairs)) == 1:
        return pairs[0]
    more = f" and {len(pairs) - _MOST} more columns" if len(pairs) > _MOST else ""
    return f"[{', '.join(pairs[:_MOST])}]{more}"
