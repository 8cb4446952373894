"""Data are divided by episode."""

import numpy as np
import pytest

from edp_jax import InputError
from edp_jax.selection.episodes import discounted_returns, followed, split

EPISODE = np.repeat(np.arange(10), 7)


def test_no_episode_is_on_both_sides():
    found = split(EPISODE, np.random.default_rng(0))
    assert not set(EPISODE[found.fit]) & set(EPISODE[found.held_out])
    assert sorted([*found.fit, *found.held_out]) == list(range(70))
    assert len(set(EPISODE[found.held_out])) == 2  # a fifth of the rows
    assert found.starts.tolist() == [
        rows.min() for rows in np.split(found.held_out, 2)
    ]  # of seven rows each


def test_whole_episodes_are_drawn_up_to_a_number_of_rows():
    found = split(EPISODE, np.random.default_rng(1), max_rows=30)
    used = np.concatenate([found.fit, found.held_out])
    assert len(used) == 35  # the fifth episode passes it
    assert (np.bincount(EPISODE[used], minlength=10) % 7 == 0).all()


def test_other_seeds_hold_out_other_episodes():
    first, same, other = (split(EPISODE, np.random.default_rng(seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.held_out, same.held_out)
    assert first.held_out.tolist() != other.held_out.tolist()


def test_two_episodes_are_too_few():
    with pytest.raises(InputError, match="2 episodes, too few"):
        split(np.repeat([0, 1], 5), np.random.default_rng(0))


def test_the_last_row_of_an_episode_is_not_followed():
    assert followed(np.array([0, 0, 1, 1, 1]), np.array([0, 1, 2, 4])).tolist() == [0, 2]


def test_discounted_returns_end_with_the_episode():
    reward, episode = np.array([9.0, 1.0, 2.0, 4.0, 8.0]), np.array([0, 1, 1, 1, 2])
    found = discounted_returns(reward, episode, np.array([1, 4]), 0.5)
    np.testing.assert_allclose(found, [1 + 2 / 2 + 4 / 4, 8])
