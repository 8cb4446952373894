"""A bandit picks among the policies of a run."""

import numpy as np

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


def test_a_single_episode_cannot_be_split():
    assert select(np.array([[1.0, 2.0], [3.0, np.nan]])) is None
