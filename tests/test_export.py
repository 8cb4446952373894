"""The deployed policy acts as the trained one does."""

import jax
import numpy as np
import pytest

import edp_jax
from edp_jax import InputError, TaskSpec, algorithms
from edp_jax.export import PolicyFile, save_policy
from edp_jax.training import loop

SPEC = TaskSpec(3, 2)
CONFIG = algorithms.AlgorithmConfig(hidden_dims=(16, 16), num_timesteps=10, sampler_calls=3)
MEAN, STD = np.array([1.0, -2.0, 0.5], np.float32), np.array([2.0, 0.5, 1.0], np.float32)
LOW, HIGH = np.array([-1.0, 10.0], np.float32), np.array([1.0, 30.0], np.float32)
UNITS = {"observation_mean": MEAN, "observation_std": STD, "action_low": LOW, "action_high": HIGH}


@pytest.fixture
def saved(tmp_path):
    algorithm = algorithms.make("td3", CONFIG, SPEC)
    state = loop.init_members(algorithm, (4, 9))
    folder = str(tmp_path / "policy")
    save_policy(
        folder,
        PolicyFile("td3", CONFIG, SPEC, ({"seed": 4}, {"seed": 9}), UNITS),
        algorithms.policy_params(state),
    )
    return folder, algorithm, state


@pytest.mark.parametrize(("seed", "index"), [(None, 0), (4, 0), (9, 1)])
def test_a_loaded_policy_acts_as_its_seed_does_in_the_units_of_the_data(saved, seed, index):
    folder, algorithm, state = saved
    observation = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    key = jax.random.key(3)
    params = jax.tree.map(lambda leaf: np.asarray(leaf[index]), algorithms.policy_params(state))
    expected = algorithm.act(params, (observation - MEAN) / STD, key)
    expected = (
        np.array([0.0, 20.0]) + np.array([1.0, 10.0]) * expected
    )  # centre and half width of the box
    np.testing.assert_allclose(
        edp_jax.load_policy(folder, seed)(observation, key), expected, atol=1e-4
    )


def test_single_observations_and_fresh_randomness_at_every_call(saved):
    policy = edp_jax.load_policy(saved[0])
    first, second = policy(np.zeros(3)), policy(np.zeros(3))
    assert first.shape == (2,) and np.all((first >= LOW) & (first <= HIGH))
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(edp_jax.load_policy(saved[0])(np.zeros(3)), first)


def test_what_cannot_be_loaded_or_fed_is_refused(saved, tmp_path):
    with pytest.raises(InputError, match="no policy.json"):
        edp_jax.load_policy(str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match="policy seed=5 .* seed=4; seed=9"):
        edp_jax.load_policy(saved[0], 5)
    with pytest.raises(InputError, match=r"\(4,\) does not fit.*\(3,\)"):
        edp_jax.load_policy(saved[0])(np.zeros(4))


def test_a_policy_of_a_sweep_is_found_by_its_settings(tmp_path):
    algorithm = algorithms.make("bc", CONFIG, SPEC)
    state = loop.init_members(algorithm, (4, 4))
    params = jax.tree.map(lambda leaf: leaf.at[1].set(0.0), algorithms.policy_params(state))
    folder, members = str(tmp_path / "policy"), ({"seed": 4, "tau": 0.1}, {"seed": 4, "tau": 0.5})
    save_policy(folder, PolicyFile("bc", CONFIG, SPEC, members, UNITS), params)
    first, named, second = (
        edp_jax.load_policy(folder, **which)
        for which in ({}, {"seed": 4, "tau": 0.1}, {"tau": 0.5})
    )
    key, observation = jax.random.key(0), np.random.default_rng(0).normal(size=(50, 3))
    np.testing.assert_array_equal(first(observation, key), named(observation, key))
    assert not np.array_equal(first(observation, key), second(observation, key))
    with pytest.raises(InputError, match="tau=0.3 .* seed=4, tau=0.1; seed=4, tau=0.5"):
        edp_jax.load_policy(folder, tau=0.3)
