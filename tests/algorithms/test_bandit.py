"""Learning, small: the 2-D bandit of Diffusion-QL (2208.06193, section 4 and App. A) with four modes, one of them rewarded."""

import jax
import numpy as np
import pytest

from edp_jax import TaskSpec, Transition, algorithms
from edp_jax.training import loop

MODES = np.array([(-0.8, -0.8), (-0.8, 0.8), (0.8, -0.8), (0.8, 0.8)], np.float32)
STD = 0.05
REWARDED = 3
CONFIG = algorithms.AlgorithmConfig(
    hidden_dims=(64, 64), num_timesteps=100, sampler_calls=15, num_candidates=1, ema_start=100, ema_period=1
)


def make_bandit(size: int = 8000) -> Transition:
    """One state, one step: reward 1 in the rewarded mode, 0 elsewhere."""
    rng = np.random.default_rng(0)
    mode = rng.integers(len(MODES), size=size)
    observation = np.zeros((size, 1), np.float32)
    action = np.clip(MODES[mode] + STD * rng.normal(size=(size, 2)), -1, 1).astype(np.float32)
    return Transition(observation, action, (mode == REWARDED).astype(np.float32), np.zeros(size, np.float32), observation)


@pytest.fixture(scope="module")
def actions():
    """1000 actions of policies trained with different weights of the guidance: eta -> [1000, 2]."""
    algorithm = algorithms.make("td3", CONFIG, TaskSpec(1, 2))
    train_chunk = loop.make_train_chunk(algorithm, 128)

    def train(eta: float) -> np.ndarray:
        hypers = algorithms.Hypers(eta=eta, learning_rate=2e-3, tau=0.01)
        dataset = loop.put_dataset(make_bandit(), 1)
        state = list(loop.train(train_chunk, loop.init_seeds(algorithm, (0,)), dataset, hypers, iter([2000])))[-1].state
        params = jax.tree.map(lambda leaf: leaf[0], algorithms.policy_params(state))
        return np.asarray(jax.jit(algorithm.act)(params, np.zeros((1000, 1), np.float32), jax.random.key(1)))

    return {eta: train(eta) for eta in (0.0, 3.0)}


def distance_to_modes(actions: np.ndarray) -> np.ndarray:
    """Largest difference in a coordinate between each action and each mode [1000, 4]."""
    return np.abs(actions[:, None] - MODES).max(axis=-1)


def share_of_modes(actions: np.ndarray) -> np.ndarray:
    """Share of the actions that are nearest to each mode [4]."""
    return np.bincount(distance_to_modes(actions).argmin(axis=1), minlength=4) / len(actions)


@pytest.mark.slow
def test_without_guidance_the_policy_covers_all_modes(actions):
    shares = share_of_modes(actions[0.0])
    assert np.all((shares > 0.15) & (shares < 0.35)), shares
    assert np.mean(distance_to_modes(actions[0.0]).min(axis=1) < 4 * STD) > 0.85


@pytest.mark.slow
def test_guidance_finds_the_rewarded_mode(actions):
    shares = share_of_modes(actions[3.0])
    assert shares[REWARDED] > 0.75, shares
