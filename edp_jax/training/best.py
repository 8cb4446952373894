"""Which evaluation of a run was the best so far."""

import math
from collections.abc import Collection
from typing import NamedTuple

import numpy as np

from edp_jax.errors import one_line
from edp_jax.evaluation import episode_means, finite_mean
from edp_jax.training.tables import read_lines
from edp_jax.types import InputError

_EPISODE = ("env_steps", "episode", "return", "length", "score")  # members do not differ in them


class Best(NamedTuple):
    """The evaluation with the highest mean over members, the first if several have it.

    One in which more members have a result is better: those that diverged later would otherwise
    make the mean over the others look like progress. In a run with a sweep it is that of no single
    point.
    """

    step: int | None = None  # updates done; None before the first
    members: int = 0  # those with a result
    mean: float = -math.inf  # of scores, or of returns where there are none

    def better(self, step: int, values: np.ndarray, lengths: np.ndarray) -> "Best":
        """This one, or the evaluation after `step` updates where it is better.

        Args:
          step: updates done.
          values: [R, E] scores, or returns where there are none.
          lengths: [R, E]; an episode of length -1 does not count.
        """
        means = episode_means(values, lengths)
        found = Best(step, int(np.isfinite(means).sum()), float(finite_mean(means)))
        return found if found.members and found[1:] > self[1:] else self


def find_best(path: str, steps: Collection[int]) -> Best:
    """Reads the best evaluation from a table.

    Args:
      path: evaluations.csv; there may be none.
      steps: only evaluations after so many updates count, such as those whose state is saved.

    Raises:
      InputError: it is not the table of a run.
    """
    lines, best = read_lines(path), Best()
    if lines is None:
        return best
    rows = [dict(zip(lines.header.split(","), row.split(","), strict=True)) for row in lines.rows]
    for step in sorted(set(lines.steps) & set(steps)):
        members: dict[tuple, list[tuple[float, float]]] = {}
        try:
            for row, of in zip(rows, lines.steps, strict=True):
                if of == step:
                    member = tuple(value for name, value in row.items() if name not in _EPISODE)
                    value = float(row["score"] or row["return"])
                    members.setdefault(member, []).append((value, float(row["length"])))
        except (KeyError, ValueError) as error:
            raise InputError(
                f"{path}: is not as a run writes it ({one_line(error)[:80]}); move it away"
            ) from error
        size = max(map(len, members.values()))
        padded = [each + [(math.nan, -1.0)] * (size - len(each)) for each in members.values()]
        best = best.better(step, *np.moveaxis(np.array(padded), -1, 0))
    return best
