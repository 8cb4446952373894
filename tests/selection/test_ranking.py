"""Rankings and how right they are, by hand."""

import numpy as np
import pytest

from edp_jax import InputError
from edp_jax.selection import ranking
from edp_jax.selection.judge import rank_correlation, regret


def test_policies_whose_critics_disagree_are_ranked_lower():
    critics = np.array([[1.0, 3.0], [1.5, 1.5], [-1.0, -1.0]])  # deviations 1, 0, 0
    found = ranking.rank(critics[:, :, None], np.zeros(3))
    assert found.order.tolist() == [1, 0, 2]
    np.testing.assert_allclose(found.pessimistic, [1.5, 0.0, -1.0])
    np.testing.assert_allclose(found.value, [1.5, 2.0, -1.0])
    np.testing.assert_allclose([found.low[1], found.high[1]], [1.0, 3.0])
    # the first critic gives the second policy less than the first, the other gives it more
    assert found.as_good.tolist() == [True, True, False]


def test_a_difference_in_every_episode_is_sure_where_the_values_are_not():
    episodes = np.array([0.0, 10.0, 20.0, 30.0])
    found = ranking.rank(np.stack([episodes, episodes + 1])[:, None], np.zeros(2))
    assert found.order.tolist() == [1, 0]
    assert found.low[0] < found.high[1]  # the intervals overlap
    assert found.as_good.tolist() == [True, False]


@pytest.mark.parametrize(
    ("as_good", "said"),
    [
        ([True], "a is the only policy"),
        ([True, False, False], "take a: all others are estimated lower"),
        ([True, True, False], "take a; by their estimates these may be as good or better: b"),
        ([True, True, True], "cannot tell the 3 policies apart"),
        ([True] * 8 + [False], "b; c; d; e; f and 2 more"),
    ],
)
def test_the_verdict_names_what_cannot_be_told_apart(as_good, said):
    assert said in ranking.verdict("abcdefghi"[: len(as_good)], as_good)


def test_the_folder_of_a_selection_is_beside_the_runs():
    assert ranking.folder_of(["/r/a", "/r/b"]) == "/r/selection"
    assert ranking.folder_of(["/r/x/a", "/r/y/a"]) == "/r/selection"


def test_what_is_no_ranking_is_refused(tmp_path):
    with pytest.raises(InputError, match="experiments.select"):
        ranking.read_ranking(str(tmp_path))
    (tmp_path / ranking.TABLE).write_text("workdir,step\nruns/a,ten\n")
    with pytest.raises(InputError, match="not the table of a selection"):
        ranking.read_ranking(str(tmp_path))


@pytest.mark.parametrize(
    ("estimate", "truth", "wanted"),
    [
        ([1, 2, 3, 4], [1, 3, 2, 4], 0.8),  # 1 - 6 * 2 / (4 * 15)
        ([1, 1, 2], [1, 2, 3], np.sqrt(3) / 2),  # ranks 1.5, 1.5, 3
        ([3, 2, 1], [10, 20, 30], -1.0),
        ([1, 1, 1], [1, 2, 3], np.nan),
    ],
)
def test_rank_correlation(estimate, truth, wanted):
    found = rank_correlation(np.array(estimate), np.array(truth))
    np.testing.assert_allclose(found, wanted)


@pytest.mark.parametrize(
    ("estimate", "truth", "k", "wanted"),
    [
        ([3, 2, 1], [50, 70, 90], 1, 40),
        ([3, 2, 1], [50, 70, 90], 2, 20),
        ([3, 2, 1], [50, 70, 90], 5, 0),
        ([3, 3, 1], [10, 20, 50], 1, 35),  # 10 or 20 is tried
        ([2, 1, 1, 1], [0, 30, 20, 10], 2, 10),  # 30, 20 or 10 is tried besides
        ([2, 1, 1, 1], [0, 30, 20, 10], 3, 10 / 3),  # 30 is tried in two cases of three, else 20
    ],
)
def test_regret(estimate, truth, k, wanted):
    assert regret(np.array(estimate), np.array(truth), k) == pytest.approx(wanted)


def test_estimate_and_drift_count_by_rank():
    """Ranks by the estimate 3, 1, 2, 4, by the drift 3, 4, 1.5, 1.5: means 3, 2.5, 1.75, 2.75."""
    pessimistic, drift = np.array([7.0, -5.0, 6.9, 100.0]), np.array([0.2, 0.1, 0.4, 0.4])
    found = ranking.together(pessimistic, drift)
    assert found.tolist() == [3.0, 2.5, 1.75, 2.75]
    ranked = ranking.rank(pessimistic[:, None, None], drift)
    assert ranked.order.tolist() == [0, 3, 1, 2]
    assert ranked.pessimistic.tolist() == [7.0, 100.0, -5.0, 6.9]
    assert ranked.as_good.tolist() == [True, True, False, False]  # by the values alone


def test_an_unknown_drift_counts_as_the_worst():
    """The second policy has the better estimate and no drift: ranks 1, 2 and 2, 1.

    Their means are equal, so the estimate decides.
    """
    pessimistic, drift = np.array([1.0, 2.0]), np.array([5.0, np.nan])
    assert ranking.together(pessimistic, drift).tolist() == [1.5, 1.5]
    assert ranking.rank(pessimistic[:, None, None], drift).order.tolist() == [1, 0]
    assert ranking.together(np.array([np.nan, 2.0]), np.zeros(2)).tolist() == [1.25, 1.75]
