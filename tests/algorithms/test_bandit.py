"""Learning, small: the 2-D bandit of Diffusion-QL with four modes, one of them rewarded."""

import numpy as np
import pytest

from experiments import bandit


def nearest_shares(actions: np.ndarray) -> np.ndarray:
    """Share of the actions [B, 2] that are nearest to each mode [4]."""
    return np.bincount(bandit.distance_to_modes(actions).argmin(axis=1), minlength=4) / len(actions)


def actions_of(title: str, num_steps: int = 2000) -> np.ndarray:
    learner = next(learner for learner in bandit.LEARNERS if learner.title.startswith(title))
    return bandit.learn(learner, num_steps)[0]


@pytest.mark.slow
def test_diffusion_covers_all_modes():
    actions = actions_of("diffusion BC")
    shares = nearest_shares(actions)
    assert np.all((shares > 0.15) & (shares < 0.35)), shares
    assert bandit.share_in_modes(actions).sum() > 0.85


@pytest.mark.slow
def test_a_gaussian_cannot():
    """The moments are right: mean 0, standard deviation 0.8. Most samples lie where no data is."""
    actions = actions_of("Gaussian BC")
    np.testing.assert_allclose(actions.mean(axis=0), 0.0, atol=0.15)
    assert bandit.share_in_modes(actions).sum() < 0.4


@pytest.mark.slow
@pytest.mark.parametrize("title", ["EDP-TD3", "Diffusion-QL"])
def test_guidance_finds_the_rewarded_mode(title):
    assert nearest_shares(actions_of(title, 800))[bandit.REWARDED] > 0.75


@pytest.mark.slow
def test_guidance_that_counts_less_at_much_noise_stays_in_the_modes():
    """Counting alike at every timestep, as published, leaves two fifths outside."""
    actions = actions_of("EDP-TD3, eta 3, guidance_power 1", 800)
    assert bandit.share_in_modes(actions)[bandit.REWARDED] > 0.75
