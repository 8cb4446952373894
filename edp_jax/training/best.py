"""Which evaluation of a run was the best so far."""

import math
from collections.abc import Collection
from typing import NamedTuple

import numpy as np

from edp_jax.evaluation import episode_means
from edp_jax.training.tables import read_lines


class Best(NamedTuple):
    """The evaluation with the highest mean over all episodes of all members, the first if several.

    In a run with a sweep it is that of no single point.
    """

    step: int | None = None  # updates done; None before the first
    mean: float = -math.inf  # of scores, or of returns where there are none

    def better(self, step: int, values: np.ndarray, lengths: np.ndarray) -> "Best":
        """This one, or the evaluation after `step` updates where it is better.

        Args:
          step: updates done.
          values: [...] scores, or returns where there are none.
          lengths: [...]; an episode of length -1 does not count.
        """
        mean = float(episode_means(np.ravel(values), np.ravel(lengths)))
        return Best(step, mean) if mean > self.mean else self


def find_best(path: str, steps: Collection[int]) -> Best:
    """Reads the best evaluation from a table.

    Args:
      path: evaluations.csv; there may be none.
      steps: only evaluations after so many updates count, such as those whose state is saved.
    """
    lines, best = read_lines(path), Best()
    if lines is None:
        return best
    rows = [dict(zip(lines.header.split(","), row.split(","), strict=True)) for row in lines.rows]
    for step in sorted(set(lines.steps) & set(steps)):
        own = [row for row, of in zip(rows, lines.steps, strict=True) if of == step]
        values = np.array([float(row["score"] or row["return"]) for row in own])
        best = best.better(step, values, np.array([int(row["length"]) for row in own]))
    return best
