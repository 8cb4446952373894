"""Normalised scores, and what a run's evaluations are summed up to (last, OMS, RAT; Agarwal et al. 2021 for the IQM)."""

import numpy as np

RAT_WINDOW = 10
_RESAMPLES = 10_000


def normalized_score(returns: np.ndarray, reference_scores: tuple[float, float]) -> np.ndarray:
    """D4RL's score 100 (R - min) / (max - min) (arXiv 2004.07219, section 5): 0 is a random policy, 100 an expert."""
    low, high = reference_scores
    return 100.0 * (np.asarray(returns, np.float64) - low) / (high - low)


def interquartile_mean(values: np.ndarray) -> np.ndarray:
    """Mean over the last axis [..., S] without the floor(S / 4) lowest and as many highest (arXiv 2108.13264); NaN stays NaN."""
    values = np.asarray(values, np.float64)
    cut = values.shape[-1] // 4
    kept = np.sort(values, axis=-1)[..., cut : values.shape[-1] - cut]
    return np.where(np.isnan(values).any(axis=-1), np.nan, kept.mean(axis=-1))


def bootstrap_interval(values: np.ndarray, confidence: float = 0.95) -> tuple[float, float]:
    """Percentile interval of the interquartile mean when `values` [S] are drawn again with replacement; always the same draws."""
    values = np.asarray(values, np.float64)
    draws = np.random.default_rng(0).integers(len(values), size=(_RESAMPLES, len(values)))
    tail = 50 * (1 - confidence)
    low, high = np.percentile(interquartile_mean(values[draws]), [tail, 100 - tail])
    return float(low), float(high)


def summarize(scores: np.ndarray) -> dict:
    """Sums up the scores [T, S] of T evaluations of S seeds, T and S at least 1.

    Returns:
        `num_evaluations`; per seed (lists of S) and as mean and standard deviation over seeds: `last`, the last evaluation;
        `oms`, the best of all T, biased upwards the more the larger T; `rat`, the mean of the last ten (of all where T is
        smaller); and of `last` over seeds the interquartile mean `iqm` with its 95 % bootstrap interval `iqm_interval`.
    """
    scores = np.asarray(scores, np.float64)
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
