"""Normalised scores, and the numbers that sum up the evaluations of a run."""

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


def interquartile_mean(values: np.ndarray) -> np.ndarray:
    """The mean of the middle half of the values (IQM; Agarwal et al. 2021, arXiv 2108.13264).

    Args:
      values: [..., S]. The floor(S / 4) lowest and as many highest are left out.

    Returns:
      [...]; NaN where one of the values is.
    """
    values = np.asarray(values, np.float64)
    cut = values.shape[-1] // 4
    kept = np.sort(values, axis=-1)[..., cut : values.shape[-1] - cut]
    return np.where(np.isnan(values).any(axis=-1), np.nan, kept.mean(axis=-1))


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

    Args:
      scores: [T, S] of T evaluations of S seeds; both are at least 1.

    Returns:
      A dict that JSON can hold: `num_evaluations`; `per_seed`, each measure as a list of S; each
      measure as mean and standard deviation over seeds; and of `last` over seeds the interquartile
      mean `iqm` with its 95 % interval `iqm_interval`.
    """
    scores = np.asarray(scores, np.float64)
    chex.assert_rank(scores, 2)
    measures = {
        "last": scores[-1],
        "oms": scores.max(axis=0),
        "rat": scores[-RAT_WINDOW:].mean(axis=0),
    }
    summary = {
        "num_evaluations": len(scores),
        "per_seed": {name: values.tolist() for name, values in measures.items()},
    }
    for name, values in measures.items():
        summary[name] = {"mean": float(values.mean()), "std": float(values.std())}
    summary["iqm"] = float(interquartile_mean(measures["last"]))
    summary["iqm_interval"] = list(bootstrap_interval(measures["last"]))
    return summary
