"""A bandit picks among the policies of a run."""

import numpy as np

from edp_jax.reports import groups, results, score_tables
from edp_jax.reports.report import choose_online
from edp_jax.reports.selection import select


def test_with_constant_scores_two_episodes_find_the_best_of_two():
    """One episode shows one policy, so it is picked; after two the better one always is."""
    found = select(np.array([[10.0, 10.0], [20.0, 20.0]]), max_pulls=5)
    assert 10 < found.scores[0] < 20
    assert found.scores[1:].tolist() == [20.0] * 4
    assert found.of_oms == found.seen_by_oms == 20.0


def test_the_best_of_lucky_episodes_is_not_as_good_as_it_looks():
    """Two equal policies with one episode of 0 and one of 100: what is seen is not what comes.

    The best half seen is 100 unless both show 0, a chance of 1/4, and the other half is its
    opposite: 75 is reported and 25 is true, in the mean.
    """
    found = select(np.array([[0.0, 100.0], [100.0, 0.0]]))
    assert found.seen_by_oms + found.of_oms == 100
    assert 65 < found.seen_by_oms < 85
    assert found.scores[-1] == found.of_oms  # the bandit has seen as much, and is judged alike


def test_half_of_the_episodes_are_for_choosing():
    """Of three one, of two equal policies: the best shows 90 with a chance of 1 - (2 / 3)^2."""
    found = select(np.array([[0.0, 0.0, 90.0], [0.0, 90.0, 0.0]]))
    assert abs(found.seen_by_oms - 50) < 7


def test_the_bandit_comes_back_to_a_policy_that_began_badly():
    """Its first episode is 0 with a chance of 1/5; its mean is 80, at least 60 in each half.

    Who never tries it again ends at 4/5 80 + 1/5 50 = 74.
    """
    found = select(np.array([[0.0] * 2 + [100.0] * 8, [50.0] * 10]))
    assert found.scores[-1] > 78


def test_more_episodes_pick_better_policies():
    """Ten policies with means 0, 10, ..., 90 and much noise."""
    rng = np.random.default_rng(0)
    episodes = 10.0 * np.arange(10)[:, None] + rng.normal(scale=20.0, size=(10, 20))
    scores = select(episodes).scores
    assert scores[0] < 60 < 75 < scores[-1] < 95


def test_episodes_that_do_not_count_are_left_out():
    with_gaps = np.array([[10.0, np.nan, 10.0], [20.0, 20.0, np.nan]])
    found = select(with_gaps, max_pulls=3)
    assert found.scores[-1] == found.of_oms == found.seen_by_oms == 20.0


def test_policies_with_a_single_episode_are_left_out():
    """It cannot be split. The others are chosen among; without others nothing can be chosen."""
    sound = [[10.0, 10.0], [20.0, 20.0]]
    with_one = select(np.array([*sound, [99.0, np.nan]]), max_pulls=3)
    without = select(np.array(sound), max_pulls=3)
    assert with_one.scores.tolist() == without.scores.tolist()
    assert with_one.seen_by_oms == 20.0 and with_one.evaluations == (2, 2)
    assert select(np.array([[1.0], [3.0]])) is None


def test_the_table_tells_what_was_left_out(write_run):
    """Of seed 0 the best of 10 and 30 is shown, of seed 1 that of 50 alone: 40 in the mean."""
    nan = np.nan
    first, second = [[10, 10], [20, nan], [30, 30]], [[nan, 7], [nan, 5], [50, 50]]
    both = write_run("a", np.stack([first, second], axis=1))
    single = write_run("b", [[1.0], [2.0]], learner="iql")
    found, _ = groups.make_groups(results.read_runs([str(both), str(single)])[0])
    chosen = {("hopper-medium-v2", "edp_td3"): choose_online(found[0].counted)}
    assert choose_online(found[1].counted) is None
    table = score_tables.picked(found, chosen)
    (row,) = table.rows
    assert row[:3] == ("hopper-medium-v2", "edp_td3", (1, 2)) and row[-3:] == (40.0, 40.0, 0.0)
    assert table.note.endswith(
        "cannot be split (hopper-medium-v2, edp_td3: 3 of 6, of seeds 0, 1; hopper-medium-v2, iql: "
        "2 of 2, of seed 0)."
    )
