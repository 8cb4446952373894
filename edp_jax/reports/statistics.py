"""Statistics over seeds and tasks (Agarwal et al. 2021, arXiv 2108.13264).

The scores of a learner are given as strata: one array [S] per task, with a score for each seed. The
arrays may differ in length, where a task lacks a seed. The numbers agree with those of the package
rliable, which defines them for equal lengths; `tests/reports/test_statistics.py` compares them.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from edp_jax.evaluation.scores import RAT_WINDOW, interquartile_mean

RESAMPLES = 10_000
CONFIDENCE = 0.95

Strata = Sequence[np.ndarray]


class Interval(NamedTuple):
    """A number and the ends of its 95 % bootstrap interval."""

    value: float
    low: float
    high: float


class Measures(NamedTuple):
    """What sums up the evaluations of one seed."""

    last: float  # the last one
    oms: float  # online model selection: the best one, which flatters the more there are
    rat: float  # running average at training's end: the mean of the last ten
    num_evaluations: int  # that have a result


def measure(scores: np.ndarray) -> Measures:
    """Sums up the evaluations of one seed.

    Args:
      scores: [T], at least one. A NaN stands for an evaluation without a result, as where a policy
        gave numbers that are not finite. It counts for none but last.
    """
    recent = scores[-RAT_WINDOW:]
    results, of_recent = scores[~np.isnan(scores)], recent[~np.isnan(recent)]
    oms = results.max() if len(results) else np.nan
    rat = of_recent.mean() if len(of_recent) else np.nan
    return Measures(float(scores[-1]), float(oms), float(rat), len(results))


def standard_error(values: np.ndarray) -> float:
    """The standard error of the mean, std / sqrt(S) with S - 1 in the variance.

    Args:
      values: [S].

    Returns:
      NaN where there are fewer than two values.
    """
    if len(values) < 2:
        return np.nan
    return float(np.std(values, ddof=1) / np.sqrt(len(values)))


def mean_of_tasks(strata: Strata) -> tuple[float, float]:
    """The mean of the tasks' means, and its standard error.

    The tasks are taken as given, so the error tells only of the seeds: it is the root of the sum of
    the squared errors of the tasks, divided by their number. It is NaN where a task has one seed.
    """
    errors = np.array([standard_error(scores) for scores in strata])
    means = [float(np.mean(scores)) for scores in strata]
    return float(np.mean(means)), float(np.sqrt(np.sum(errors**2)) / len(strata))


def iqm(strata: Strata) -> Interval:
    """The interquartile mean of all scores together, with its stratified bootstrap interval."""

    def statistic(resampled: Strata) -> np.ndarray:
        return interquartile_mean(np.concatenate(resampled, axis=-1))

    return _with_interval(strata, statistic)


def probability_of_improvement(ours: Strata, theirs: Strata) -> Interval:
    """How often a seed of one learner beats a seed of another on the same task.

    It is the mean over tasks of P(X > Y) + P(X = Y) / 2, over all pairs of their seeds.

    Args:
      ours: scores X of one learner, one array per task.
      theirs: scores Y of the other, of the same tasks in the same order.
    """
    number = len(ours)

    def statistic(resampled: Strata) -> np.ndarray:
        of_tasks = []
        for x, y in zip(resampled[:number], resampled[number:], strict=True):
            x, y = x[..., :, None], y[..., None, :]
            of_tasks.append(((x > y).mean(axis=(-2, -1)) + (x >= y).mean(axis=(-2, -1))) / 2)
        return np.mean(of_tasks, axis=0)

    return _with_interval([*ours, *theirs], statistic)


def performance_profile(strata: Strata, thresholds: np.ndarray) -> np.ndarray:
    """The share of runs whose score is above each threshold, as the mean over tasks.

    Args:
      strata: the scores of a learner.
      thresholds: [T].

    Returns:
      [T] from 0 to 1.
    """
    above = [(scores[:, None] > thresholds).mean(axis=0) for scores in strata]
    return np.mean(above, axis=0)


def time_to_reach(times: np.ndarray, scores: np.ndarray, level: float) -> float:
    """When an evaluation first had a score of at least `level`.

    Args:
      times: [T] of the evaluations, in any unit.
      scores: [T].
      level: the score to reach.

    Returns:
      One of `times`, or NaN where none of the scores reached it.
    """
    reached = np.flatnonzero(scores >= level)
    return float(times[reached[0]]) if len(reached) else np.nan


def _with_interval(strata: Strata, statistic: Callable[[Strata], np.ndarray]) -> Interval:
    """A statistic and its percentile bootstrap interval; seeds are drawn anew within each task.

    The ends are NaN where every task has a single seed, since nothing is known of the others then.
    """
    value = float(statistic(strata))
    if max(map(len, strata)) < 2:
        return Interval(value, np.nan, np.nan)
    rng = np.random.default_rng(0)  # the same report has the same numbers
    draws = [scores[rng.integers(len(scores), size=(RESAMPLES, len(scores)))] for scores in strata]
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(statistic(draws), [tail, 100 - tail])
    return Interval(value, float(low), float(high))
