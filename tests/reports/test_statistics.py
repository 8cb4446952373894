"""Statistics, computed by hand, by scipy and by rliable."""

import numpy as np
import pytest

from edp_jax.reports import statistics

THREE_TASKS = [np.array(s) for s in ([10.0, 30.0, 20.0], [55.0, 41.0, 90.0], [71.0, 70.0, 12.0])]
OTHERS = [np.array(s) for s in ([12.0, 30.0, 2.0], [50.0, 40.0, 45.0], [71.0, 75.0, 80.0])]


def test_measures_of_a_seed():
    """Of 12 evaluations 0, 1, ..., 10, 3: last 3, best 10, the last ten 2 + ... + 10 + 3 = 57."""
    found = statistics.measure(np.array([*range(11), 3.0]))
    assert found == (3.0, 10.0, 5.7, 12)


def test_evaluations_without_a_result_count_neither_for_oms_nor_for_rat():
    assert statistics.measure(np.array([2.0, np.nan, 6.0])) == (6.0, 6.0, 4.0, 2)
    assert np.isnan(statistics.measure(np.array([np.nan]))[:3]).all()


def test_standard_error():
    """Of 1, 2, 3: the variance is 2 / 2, so 1 / sqrt(3). One value has none."""
    assert statistics.standard_error(np.array([1.0, 2.0, 3.0])) == pytest.approx(3**-0.5)
    assert np.isnan(statistics.standard_error(np.array([5.0])))


def test_mean_of_tasks_weighs_tasks_alike():
    """Means 2 and 10, errors 1 / sqrt(3) and 2 / sqrt(2): sqrt(1 / 3 + 2) / 2."""
    mean, error = statistics.mean_of_tasks([np.array([1.0, 2.0, 3.0]), np.array([8.0, 12.0])])
    assert mean == 6.0 and error == pytest.approx((1 / 3 + 4) ** 0.5 / 2)


def test_the_interquartile_mean_pools_all_runs():
    """0 ... 7 without the two lowest and the two highest: (2 + 3 + 4 + 5) / 4."""
    found = statistics.iqm([np.array([7.0, 0.0, 3.0, 5.0]), np.array([1.0, 6.0, 2.0, 4.0])])
    assert found.value == 3.5 and found.low < 3.5 < found.high


def test_seeds_are_drawn_anew_within_their_task():
    """Equal seeds leave nothing to vary, however far the tasks are apart."""
    found = statistics.iqm([np.zeros(3), np.full(3, 100.0)])
    assert found == (50.0, 50.0, 50.0)


def test_the_interval_cuts_off_two_and_a_half_percent_on_both_sides():
    """Three seeds are all drawn as the lowest with a chance of 1 / 27, which is 3.7 %."""
    assert statistics.iqm([np.array([0.0, 3.0, 6.0])]) == (3.0, 0.0, 6.0)


def test_as_many_seeds_are_drawn_as_there_are():
    """Six seeds are hardly ever all the lowest, as a single draw often would be."""
    found = statistics.iqm([np.arange(6.0)])
    assert found.value == 2.5 and 0.5 < found.low < 1.5 and 3.5 < found.high < 4.5


def test_a_single_seed_has_no_interval():
    value, low, high = statistics.iqm([np.array([4.0])])
    assert value == 4.0 and np.isnan(low) and np.isnan(high)


def test_probability_of_improvement_counts_pairs():
    """1 and 3 against 2 and 3: of four pairs 3 > 2 wins, 3 = 3 is half. Then a task that wins."""
    ours, theirs = [np.array([1.0, 3.0])], [np.array([2.0, 3.0])]
    assert statistics.probability_of_improvement(ours, theirs).value == 1.5 / 4
    ours, theirs = [*ours, np.array([9.0])], [*theirs, np.array([5.0, 8.0])]
    assert statistics.probability_of_improvement(ours, theirs).value == (1.5 / 4 + 1) / 2


def test_a_profile_is_the_share_of_runs_above():
    """Tasks 1, 2 and 3, 4, 5, 6: above 2 are none of two, and all of four."""
    strata = [np.array([1.0, 2.0]), np.array([3.0, 4.0, 5.0, 6.0])]
    found = statistics.performance_profile(strata, np.array([0.0, 2.0, 5.0, 6.0]))
    assert found.tolist() == [1.0, 0.5, 0.125, 0.0]


def test_time_to_a_score_is_that_of_the_first_evaluation_there():
    times, scores = np.array([10.0, 20.0, 30.0]), np.array([1.0, 8.0, 5.0])
    assert statistics.time_to_reach(times, scores, 5.0) == 20.0
    assert np.isnan(statistics.time_to_reach(times, scores, 9.0))


def test_values_agree_with_scipy():
    stats = pytest.importorskip("scipy.stats", reason="needs scipy")
    pooled = np.concatenate(THREE_TASKS)
    assert statistics.iqm(THREE_TASKS).value == pytest.approx(stats.trim_mean(pooled, 0.25))
    shares = [
        stats.mannwhitneyu(x, y).statistic / 9 for x, y in zip(THREE_TASKS, OTHERS, strict=True)
    ]
    found = statistics.probability_of_improvement(THREE_TASKS, OTHERS)
    assert found.value == pytest.approx(np.mean(shares))


def test_values_and_intervals_agree_with_rliable():
    """The values exactly, the ends of intervals up to the chance of 10,000 and 20,000 samples."""
    try:
        from rliable import library, metrics
    except Exception as error:  # with pandas 3 it raises a TypeError
        pytest.skip(f"needs rliable and pandas<3: {error}")
    x, y = np.stack(THREE_TASKS, axis=1), np.stack(OTHERS, axis=1)  # [S, tasks]

    def improvement(a, b):
        return np.array([metrics.probability_of_improvement(a, b)])

    np.random.seed(0)
    values, ends = library.get_interval_estimates(
        {"x": x}, lambda scores: np.array([metrics.aggregate_iqm(scores)]), reps=20_000
    )
    iqm = statistics.iqm(THREE_TASKS)
    assert iqm.value == pytest.approx(values["x"][0])
    np.testing.assert_allclose((iqm.low, iqm.high), ends["x"][:, 0], atol=1.0)
    pairs, pair_ends = library.get_interval_estimates({"x": (x, y)}, improvement, reps=2_000)
    found = statistics.probability_of_improvement(THREE_TASKS, OTHERS)
    assert found.value == pytest.approx(pairs["x"][0])
    np.testing.assert_allclose((found.low, found.high), pair_ends["x"][:, 0], atol=0.05)
    levels = np.linspace(0, 100, 7)
    profiles, _ = library.create_performance_profile({"x": x}, levels, reps=1)
    ours = statistics.performance_profile(THREE_TASKS, levels)
    np.testing.assert_allclose(ours, profiles["x"])
