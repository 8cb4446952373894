"""Statistics of the columns of large arrays, summed in float64 block by block."""

import numpy as np

from edp_jax.data.storage import row_blocks

_CONSTANT_TOLERANCE = 1e-6  # of the largest magnitude


def moments(array: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean [O] and standard deviation [O] of each column of an array [N, O], float64."""
    size, blocks = len(array), list(row_blocks(array))
    mean = sum(array[rows].sum(axis=0, dtype=np.float64) for rows in blocks) / size
    square = sum(np.square(array[rows] - mean).sum(axis=0) for rows in blocks) / size
    return np.asarray(mean), np.sqrt(square)


def constant_columns(array: np.ndarray) -> np.ndarray:
    """[O] bool: which columns of an array [N, O] are constant to the accuracy of float32.

    The range decides, since rounding gives a constant column a standard deviation that is seldom 0.
    """
    low, high = array.min(axis=0), array.max(axis=0)
    return high - low <= _CONSTANT_TOLERANCE * np.maximum(np.abs(low), np.abs(high))
