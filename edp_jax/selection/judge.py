"""How right a ranking was, where the true scores are known (protocol of 2106.10251, section 5)."""

import math

import numpy as np

from edp_jax.selection.ranking import ranks


def rank_correlation(estimate: np.ndarray, truth: np.ndarray) -> float:
    """Spearman's rank correlation of two arrays [P]; equal numbers share the mean of their ranks.

    Returns:
      NaN where all numbers of an array are equal, or there are fewer than two.
    """
    if len(truth) < 2 or np.ptp(estimate) == 0 or np.ptp(truth) == 0:
        return np.nan
    return float(np.corrcoef(ranks(estimate), ranks(truth))[0, 1])


def regret(estimate: np.ndarray, truth: np.ndarray, k: int) -> float:
    """What is lost by trying only the k policies with the highest estimates, and taking their best.

    Among policies with the same estimate it is the mean over all choices.

    Args:
      estimate: [P].
      truth: [P] true scores.
      k: policies that are tried; all where there are fewer.

    Returns:
      The best true score minus that of the best one tried.
    """
    k = min(k, len(truth))
    border = np.sort(estimate)[-k]
    sure, tied = truth[estimate > border], np.sort(truth[estimate == border])[::-1]
    places, best = k - len(sure), max(sure, default=-np.inf)
    # the best of a random subset is the i-th of the tied ones if that is in it and none above is
    chances = [math.comb(len(tied) - i - 1, places - 1) for i in range(len(tied))]
    tried = np.average(np.maximum(tied, best), weights=chances)
    return max(0.0, float(truth.max() - tried))  # the mean of equal scores is rounded
