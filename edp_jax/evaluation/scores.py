"""Normalised scores, and the numbers that sum up the evaluations of a run."""

from collections.abc import Sequence

import chex
import numpy as np

RAT_WINDOW = 10
_RESAMPLES = 10_000


def normalized_score(returns: np.ndarray, reference_scores: tuple[float, float]) -> np.ndarray:
    """Turns returns into D4RL's scores: 0 is a random policy, 100 an expert.

    The score is 100 (return - min) / (max - min). Source: arXiv 2004.07219, section 5.

    Args:
      returns: [...], undiscounted.
      reference_scores: min and max of the task.

    Returns:
      [...] float64.
    """
    low, high = reference_scores
    return 100.0 * (np.asarray(returns, np.float64) - low) / (high - low)


def episode_means(values: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Means over the episodes that count.

    Args:
      values: [..., E] returns or scores.
      lengths: [..., E]; an episode of length -1 does not count.

    Returns:
      [...]; NaN where no episode counts, or where the return of one that does is NaN.
    """
    counts = lengths >= 0
    sums, numbers = np.sum(values, axis=-1, where=counts), counts.sum(axis=-1)
    return np.where(numbers > 0, sums / np.maximum(numbers, 1), np.nan)


def finite_mean(values: np.ndarray | Sequence[float], axis: int | None = None) -> np.ndarray:
    """The mean of the values that are not NaN; NaN where all are."""
    values = np.asarray(values, np.float64)
    counts = ~np.isnan(values)
    sums, numbers = np.sum(values, axis=axis, where=counts), counts.sum(axis=axis)
    return np.where(numbers > 0, sums / np.maximum(numbers, 1), np.nan)


def interquartile_mean(values: np.ndarray) -> np.ndarray:
    """The mean of the middle half of the values (IQM; Agarwal et al. 2021, arXiv 2108.13264).

    Args:
      values: [..., S]. The floor(S / 4) lowest and as many highest are left out.

    Returns:
      [...].
    """
    values = np.asarray(values, np.float64)
    cut = values.shape[-1] // 4
    return np.sort(values, axis=-1)[..., cut : values.shape[-1] - cut].mean(axis=-1)


def bootstrap_interval(values: np.ndarray, confidence: float = 0.95) -> tuple[float, float]:
    """A confidence interval of the interquartile mean, by the bootstrap.

    Args:
      values: [S]; they are drawn anew with replacement, with the same draws in every call.
      confidence: the share of the draws whose interquartile mean lies inside.

    Returns:
      The percentiles that cut off the same share on both sides.
    """
    values = np.asarray(values, np.float64)
    draws = np.random.default_rng(0).integers(len(values), size=(_RESAMPLES, len(values)))
    tail = 50 * (1 - confidence)
    low, high = np.percentile(interquartile_mean(values[draws]), [tail, 100 - tail])
    return float(low), float(high)


def summarize(scores: np.ndarray) -> dict:
    """Sums up the evaluations of a run.

    | measure of a seed | meaning |
    | --- | --- |
    | last | the last evaluation |
    | oms | the best of all (online model selection); the larger T, the more it flatters |
    | rat | the mean of the last ten (running average at training end), of all where T is smaller |

    A NaN stands for an evaluation that has no result, and counts nowhere: a seed's oms and rat are
    those of its other evaluations. Nor does a seed without a measure count in the means over seeds.

    Args:
      scores: [T, S] of T evaluations of S seeds; both are at least 1.

    Returns:
      A dict that JSON can hold: `num_evaluations`; `without_result`, how many of the T S numbers
      are NaN; `per_seed`, each measure as a list of S; each measure as mean and standard deviation
      over seeds, and over how many; and of `last` over seeds the interquartile mean `iqm` with its
      95 % interval `iqm_interval`.
    """
    scores = np.asarray(scores, np.float64)
    chex.assert_rank(scores, 2)
    best = np.where(np.isnan(scores), -np.inf, scores).max(axis=0)
    measures = {
        "last": scores[-1],
        "oms": np.where(np.isfinite(best), best, np.nan),
        "rat": finite_mean(scores[-RAT_WINDOW:], axis=0),
    }
    summary = {
        "num_evaluations": len(scores),
        "without_result": int(np.isnan(scores).sum()),
        "per_seed": {name: values.tolist() for name, values in measures.items()},
    }
    for name, values in measures.items():
        mean = finite_mean(values)
        std = np.sqrt(finite_mean((values - mean) ** 2))
        seeds = int((~np.isnan(values)).sum())
        summary[name] = {"mean": float(mean), "std": float(std), "seeds": seeds}
    last = measures["last"][~np.isnan(measures["last"])]
    summary["iqm"] = float(interquartile_mean(last)) if len(last) else float("nan")
    summary["iqm_interval"] = list(bootstrap_interval(last)) if len(last) else [float("nan")] * 2
    return summary
