"""From estimated values to a ranking, and to what it can and cannot tell."""

import csv
import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from edp_jax.errors import one_line
from edp_jax.types import InputError

FOLDER, TABLE, FIGURE = "selection", "ranking.csv", "ranking.png"
_RESAMPLES = 2000
_CONFIDENCE = 0.95
_DEVIATIONS = 2.0  # of the critics, that the pessimistic estimate is below their mean
_MOST_NAMED = 5  # policies in a sentence


class Ranking(NamedTuple):
    """P policies, the best first; every array is in this order."""

    order: np.ndarray  # [P] index of each in the order that they were given in
    value: np.ndarray  # [P] mean over critics and episodes
    low: np.ndarray  # [P] ends of its 95 % interval
    high: np.ndarray  # [P]
    pessimistic: np.ndarray  # [P] mean minus two standard deviations of the critics
    drift: np.ndarray  # [P] see `dynamics`
    as_good: np.ndarray  # [P] bool: its value is not surely lower than that of the first


def rank(values: np.ndarray, drift: np.ndarray, seed: int = 0) -> Ranking:
    """Orders policies by a pessimistic estimate and their drift, as `together` weighs them.

    The estimate is the mean minus two standard deviations of the critics: where they disagree, they
    have little data on what the policy does, and that is a reason not to take it.

    The interval of a value is a bootstrap's, over critics and episodes at once. They are drawn
    alike for all policies, since their critics begin and their episodes start alike, so a
    difference may be sure where the values are not.

    Args:
      values: [P, C, E] from the first observations of E episodes.
      drift: [P] see `dynamics`.
      seed: of the bootstrap.
    """
    rng = np.random.default_rng(seed)
    num_critics, num_episodes = values.shape[1:]
    critics, episodes = (
        rng.multinomial(size, np.full(size, 1 / size), size=_RESAMPLES) / size
        for size in (num_critics, num_episodes)
    )
    drawn = np.einsum("pce,tc,te->pt", values, critics, episodes, optimize=True)
    of_critics = values.mean(axis=2)
    pessimistic = of_critics.mean(axis=1) - _DEVIATIONS * of_critics.std(axis=1)
    order = np.lexsort((-pessimistic, -together(pessimistic, drift)))
    tail = 50 * (1 - _CONFIDENCE)
    low, high = np.percentile(drawn, [tail, 100 - tail], axis=1)[:, order]
    worse = np.percentile(drawn[order[0]] - drawn[order], tail, axis=1) > 0
    value = values.mean(axis=(1, 2))
    return Ranking(order, value[order], low, high, pessimistic[order], drift[order], ~worse)


def ranks(values: np.ndarray) -> np.ndarray:
    """Ranks [P], that of the smallest is 1; equal values have the mean of theirs."""
    _, index, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[index]


def together(pessimistic: np.ndarray, drift: np.ndarray) -> np.ndarray:
    """Makes one number per policy of its estimate and its drift: the mean of its two ranks.

    Rank 1 is the worst policy, so the larger the mean, the better. Ranks are compared because an
    estimate and a drift have different units. Both are needed because each misses something: the
    estimate does not see where small errors lead, the drift knows nothing of rewards.

    Args:
      pessimistic: [P] estimates, the larger the better; NaN counts as the worst.
      drift: [P] see `dynamics`, the smaller the better; NaN counts as the worst.

    Returns:
      [P].
    """
    estimate, near = (np.where(np.isnan(x), -np.inf, x) for x in (pessimistic, -drift))
    return (ranks(estimate) + ranks(near)) / 2


def verdict(names: Sequence[str], as_good: Sequence[bool]) -> str:
    """What a ranking says, in words.

    Args:
      names: of the policies, the best first.
      as_good: `Ranking.as_good`.
    """
    others = [name for name, tied in zip(names[1:], as_good[1:], strict=True) if tied]
    if len(names) == 1:
        return f"{names[0]} is the only policy: there is nothing to choose"
    if not others:
        return f"take {names[0]}: all others are estimated lower, beyond the interval"
    if len(others) == len(names) - 1:
        return (
            f"these data cannot tell the {len(names)} policies apart: {names[0]} comes first by "
            "chance as well as by merit"
        )
    listed = "; ".join(others[:_MOST_NAMED])
    more = f" and {len(others) - _MOST_NAMED} more" if len(others) > _MOST_NAMED else ""
    return f"take {names[0]}; by their estimates these may be as good or better: {listed}{more}"


def folder_of(workdirs: Sequence[str]) -> str:
    """The folder of a selection among runs, beside them."""
    parents = {os.path.dirname(os.path.abspath(workdir)) for workdir in workdirs}
    return os.path.join(os.path.commonpath(parents), FOLDER)


def read_ranking(folder: str) -> list[dict[str, str]]:
    """Reads the table that `experiments.select` wrote, the best policy first.

    Raises:
      InputError: it is not there, or is no such table.
    """
    path = os.path.join(folder, TABLE)
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        for row in rows:
            _ = row["name"], row["workdir"], int(row["step"]), int(row["as_good"])
            _ = [float(row[key]) for key in ("value", "low", "high", "pessimistic")]
    except (OSError, KeyError, TypeError, ValueError, csv.Error) as error:
        raise InputError(
            f"{path}: not the table of a selection ({one_line(error)[:80]}); make it with "
            "experiments.select"
        ) from error
    return rows
