import numpy as np
import pytest

from edp_jax.evaluation.scores import (
    bootstrap_interval,
    interquartile_mean,
    normalized_score,
    summarize,
)


def test_normalized_score_of_hopper():
    scores = normalized_score([-20.272305, 3234.3, 1000.0], (-20.272305, 3234.3))
    # 100 (1000 + 20.272305) / (3234.3 + 20.272305)
    np.testing.assert_allclose(scores, [0.0, 100.0, 31.34889])


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([7.0], 7.0),
        ([1.0, 2.0, 6.0], 3.0),  # floor(3 / 4) = 0 cut
        ([100.0, 1.0, 3.0, 5.0], 4.0),  # 1 and 100 cut
        ([9.0, 1.0, 2.0, 3.0, -50.0], 2.0),  # -50 and 9 cut
        ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 90.0], 4.5),  # 1, 2 and 7, 90 cut
    ],
)
def test_interquartile_mean(values, expected):
    assert interquartile_mean(values) == expected


def test_bootstrap_interval_of_equal_values_is_a_point():
    assert bootstrap_interval([5.0, 5.0, 5.0]) == (5.0, 5.0)


def test_bootstrap_interval_covers_as_often_as_it_says():
    # Of normal values the interquartile mean estimates the mean, here 0. Small samples cover a
    # little less than 95 %.
    rng = np.random.default_rng(1)
    covered = []
    for _ in range(100):
        low, high = bootstrap_interval(rng.normal(size=40))
        covered.append(low <= 0 <= high)
    assert 0.88 <= np.mean(covered) <= 1.0


def test_bootstrap_interval_is_repeatable():
    values = [1.0, 5.0, 2.0, 9.0]
    assert bootstrap_interval(values) == bootstrap_interval(values)


def test_summarize_last_oms_rat():
    # 12 evaluations of 2 seeds: 1 .. 12, and 12 .. 1
    scores = np.stack([np.arange(1.0, 13.0), np.arange(12.0, 0.0, -1.0)], axis=1)
    summary = summarize(scores)
    assert summary["num_evaluations"] == 12
    # the last ten: 3 .. 12 with mean 7.5, and 10 .. 1 with mean 5.5
    assert summary["per_seed"] == {"last": [12.0, 1.0], "oms": [12.0, 12.0], "rat": [7.5, 5.5]}
    assert summary["last"] == {"mean": 6.5, "std": 5.5, "seeds": 2}
    assert summary["oms"] == {"mean": 12.0, "std": 0.0, "seeds": 2}
    assert summary["rat"] == {"mean": 6.5, "std": 1.0, "seeds": 2}
    assert summary["iqm"] == 6.5
    low, high = summary["iqm_interval"]
    assert (low, high) == (1.0, 12.0)  # a quarter of the draws of 2 seeds repeat one of them


def test_summarize_of_fewer_evaluations_than_the_window():
    summary = summarize(np.array([[2.0], [4.0]]))
    assert summary["rat"]["mean"] == 3.0
    assert summary["last"]["mean"] == 4.0


def test_evaluations_without_a_result_count_nowhere_and_are_counted():
    """Seed 0 has one of three, seed 1 all, seed 2 none."""
    nan = np.nan
    summary = summarize(np.array([[5.0, 2.0, nan], [nan, 4.0, nan], [nan, 6.0, nan]]))
    assert summary["without_result"] == 5 and summary["num_evaluations"] == 3
    assert summary["oms"] == {"mean": 5.5, "std": 0.5, "seeds": 2}  # 5 and 6
    assert summary["rat"] == {"mean": 4.5, "std": 0.5, "seeds": 2}  # 5 and 4
    assert summary["last"] == {"mean": 6.0, "std": 0.0, "seeds": 1} and summary["iqm"] == 6.0
    assert np.isnan(summary["per_seed"]["oms"][2])
    nothing = summarize(np.full((2, 1), nan))
    assert nothing["oms"]["seeds"] == 0 and np.isnan(nothing["oms"]["mean"])
    assert np.isnan(nothing["iqm"]) and np.isnan(nothing["iqm_interval"]).all()
