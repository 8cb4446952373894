"""Cheap signs, by hand."""

import numpy as np
import pytest

from edp_jax.selection import signs
from edp_jax.types import Transition


def test_the_errors_of_critics():
    """Q - (r + gamma min Q'): 4 - (1 + 0.5 * 4) = 1, and 2 - (-1) = 3 where the task ends."""
    batch = Transition(
        np.zeros((2, 1)), np.zeros((2, 1)), np.array([1.0, -1.0]), np.array([1.0, 0.0]), None
    )
    q = np.array([[3.0, 2.0], [5.0, 2.0]])
    next_q = np.array([[[4.0], [20.0]], [[8.0], [30.0]]])  # means 6 and 25
    error, excess = signs.critic_signs(q, next_q, batch, discount=0.5, highest=10.0)
    assert error == pytest.approx(np.sqrt((1 + 9) / 2))
    assert excess == pytest.approx(15 / 2)


def test_the_distance_of_actions():
    chosen = np.array([[[0.0, 0.0], [1.0, 1.0]]])  # two actions at one observation
    assert signs.distance(chosen, np.array([[0.0, 1.0]])) == pytest.approx(np.sqrt(2 / 4))
