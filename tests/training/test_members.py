"""The agents of a run, and the settings of each."""

import numpy as np
import pytest

from edp_jax import InputError, algorithms
from edp_jax.training.members import check_sweep, grid, member_settings


def test_all_seeds_stand_at_the_first_point_then_at_the_next():
    members = grid((3, 4), {"eta": (0.5, 2.0), "discount": (), "tau": (0.1, 0.2)})
    points = [(0.5, 0.1), (0.5, 0.2), (2.0, 0.1), (2.0, 0.2)]
    assert [member.columns for member in members] == [
        {"seed": seed, "eta": eta, "tau": tau} for eta, tau in points for seed in (3, 4)
    ]
    assert str(members[1]) == "seed 4, eta 0.5, tau 0.1"
    assert members[1].name == "seed_4_eta_0.5_tau_0.1"
    assert [member.columns for member in grid((3,))] == [{"seed": 3}]


def test_seeds_are_different_integers_or_a_single_one():
    assert grid(3) == grid((3,)) == grid(np.int64(3))
    for seeds in ((), (1, 1)):
        with pytest.raises(InputError, match="seeds=.*: give at least one, and each once"):
            grid(seeds)


def test_swept_settings_differ_and_all_others_are_the_learners():
    settings = algorithms.settings("edp_td3", discount=0.9, hidden_dims=(8, 8))
    stacked = member_settings(settings, grid((3, 4), {"eta": (0.5, 2.0)}))
    np.testing.assert_array_equal(stacked.eta, np.float32([0.5, 0.5, 2.0, 2.0]))
    np.testing.assert_array_equal(stacked.discount, np.float32([0.9] * 4))
    assert stacked.eta.dtype == np.float32 and stacked.hidden_dims == (8, 8)


def test_a_sweep_that_changes_nothing_is_refused():
    """The temperature of CRR's exponential weight, where another weight is used."""
    check_sweep(algorithms.settings("crr"), {"crr_beta": (0.5, 1.0)})
    settings = algorithms.settings("crr", crr_weight="indicator")
    with pytest.raises(InputError, match="changes nothing with crr_weight=indicator"):
        check_sweep(settings, {"crr_beta": (0.5, 1.0)})
