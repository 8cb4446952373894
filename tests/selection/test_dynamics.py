"""Learned dynamics, and where policies lead in them."""

import dataclasses
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from edp_jax import networks
from edp_jax.selection import dynamics
from edp_jax.types import TaskSpec, Transition, Units

SETTINGS = dynamics.Imagination(
    num_networks=3,
    hidden_dims=(32,),
    num_updates=2000,
    batch_size=64,
    learning_rate=1e-2,
    num_episodes=4,
    length=12,
)
PLAIN = Units(np.zeros(2), np.ones(2), -np.ones(1), np.ones(1))
START = np.array([[0.5, 1.0], [-0.5, 1.0], [0.2, 1.0], [-0.1, 1.0]], np.float32)


def recorded() -> Transition:
    """x' = x + a / 2, with actions near -x; the second column never changes."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-0.6, 0.6, 2000)
    a = -x + 0.1 * rng.normal(size=2000)
    observation, following = (np.stack([each, np.ones(2000)], 1) for each in (x, x + a / 2))
    return Transition(observation, a[:, None], x, np.ones(2000), following)


def learner(act):
    return types.SimpleNamespace(act=lambda params, observation, key: act(params, observation))


@pytest.fixture(scope="module")
def fitted():
    return dynamics.fit(recorded(), SETTINGS)


def network():
    return networks.make_dynamics(TaskSpec(2, 1), 3, SETTINGS.hidden_dims, "mish")


def test_every_network_predicts_the_change(fitted):
    batch = recorded()
    predicted = network().apply(fitted.params, batch.observation, batch.action)
    change = fitted.mean + fitted.std * predicted
    assert change.shape == (3, 2000, 2)
    np.testing.assert_allclose(change[..., 0], np.tile(batch.action[:, 0] / 2, (3, 1)), atol=0.02)
    np.testing.assert_allclose(change[..., 1], 0.0, atol=0.02)  # not divided by a deviation of 0
    first, second = change[0, :, 0], change[1, :, 0]
    assert np.abs(first - second).max() > 1e-5


def test_a_policy_that_leaves_the_data_drifts(fitted):
    """Three members of one learner: as recorded, twice as far, and away from the middle."""
    drift = dynamics.make_drift(
        learner(lambda gain, observation: gain * observation[..., :1]), PLAIN, PLAIN, SETTINGS
    )
    near, farther, away = drift(fitted, jnp.array([-1.0, -2.0, 1.0]), START)
    assert near < farther < away
    assert away > 5 * near


def test_drift_is_the_mean_deviation_of_predictions_along_the_way(fitted):
    """Two steps by hand. Episodes 0 to 3 follow the networks 0, 1, 2 and 0."""
    drift = dynamics.make_drift(
        learner(lambda gain, observation: gain * observation[..., :1]),
        PLAIN,
        PLAIN,
        dataclasses.replace(SETTINGS, length=2),
    )
    observation, deviations = START.astype(np.float64), []
    for _ in range(2):
        predicted = np.asarray(
            network().apply(fitted.params, observation, (0.9 * observation[:, :1]).clip(-1, 1))
        )
        deviations.append(np.sqrt(predicted.var(axis=0).mean(axis=-1)))
        followed = predicted[[0, 1, 2, 0], [0, 1, 2, 3]]
        observation = observation + fitted.mean + fitted.std * followed
        observation = observation.clip(fitted.low, fitted.high)
    found = drift(fitted, jnp.array([0.9]), START)
    np.testing.assert_allclose(found, [np.mean(deviations)], rtol=1e-4)


def test_imagined_observations_stay_near_the_recorded_ones(fitted):
    batch = recorded()
    low, high = batch.observation.min(0), batch.observation.max(0)
    np.testing.assert_allclose(fitted.low, low - 0.1 * (high - low), atol=1e-6)
    np.testing.assert_allclose(fitted.high, high + 0.1 * (high - low), atol=1e-6)


def test_a_learner_in_other_units_drifts_alike(fitted):
    """It sees (x - 3) / 2, and its actions are in a box of half the size around 0.1."""
    own = Units(np.full(2, 3.0), np.full(2, 2.0), np.array([-0.4]), np.array([0.6]))

    def act(gain, seen):
        return own.scale(gain * (2.0 * seen + 3.0)[..., :1])

    gains = jnp.array([-0.5])
    plain = learner(lambda gain, observation: gain * observation[..., :1])
    wanted = dynamics.make_drift(plain, PLAIN, PLAIN, SETTINGS)(fitted, gains, START)
    found = dynamics.make_drift(learner(act), PLAIN, own, SETTINGS)(fitted, gains, START)
    np.testing.assert_allclose(found, wanted, rtol=1e-3)


def test_the_same_call_gives_the_same_numbers(fitted):
    again = dynamics.fit(recorded(), SETTINGS)
    for old, new in zip(jax.tree.leaves(fitted), jax.tree.leaves(again), strict=True):
        np.testing.assert_array_equal(old, new)
