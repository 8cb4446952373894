"""Learned dynamics, and where policies lead in them."""

import dataclasses
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from edp_jax import networks
from edp_jax.selection import dynamics
from edp_jax.selection.episodes import Split
from edp_jax.selection.examine import imagine
from edp_jax.selection.pool import Recorded
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
    """Two steps by hand, of a policy that runs into the bound and draws a number in every step.

    Episodes 0 to 3 follow the networks 0, 1, 2, and 1: each round of three shifts by one.
    """

    def act(gain, observation, key):
        return (gain * observation[..., :1] + 0.1 * jax.random.uniform(key)).clip(-1, 1)

    settings, key = dataclasses.replace(SETTINGS, length=2), jax.random.key(SETTINGS.seed)
    drift = dynamics.make_drift(types.SimpleNamespace(act=act), PLAIN, PLAIN, settings)
    observation, deviations = START, []
    for index in range(2):
        action = act(1.0, observation, jax.random.fold_in(key, index))
        predicted = np.asarray(network().apply(fitted.params, observation, action))
        deviations.append(np.sqrt(predicted.var(axis=0).mean(axis=-1)))
        followed = predicted[[0, 1, 2, 1], [0, 1, 2, 3]]
        free = observation + fitted.mean + fitted.std * followed
        observation = free.clip(fitted.low, fitted.high)
    assert (free > fitted.high).any()
    found = drift(fitted, jnp.array([1.0]), START)
    np.testing.assert_allclose(found, [np.mean(deviations)], rtol=1e-3)


def test_imagined_observations_stay_near_the_recorded_ones(fitted):
    batch = recorded()
    low, high = batch.observation.min(0), batch.observation.max(0)
    np.testing.assert_allclose(fitted.low, low - 0.1 * (high - low), atol=1e-6)
    np.testing.assert_allclose(fitted.high, high + 0.1 * (high - low), atol=1e-6)


def test_units_of_data_and_learner_do_not_change_the_drift(fitted):
    """The data are (x - 1) / 0.5, actions in a box of 2; the learner sees (x - 3) / 2, its box is
    another."""
    units = Units(np.full(2, 1.0), np.full(2, 0.5), np.array([-2.0]), np.array([2.0]))
    own = Units(np.full(2, 3.0), np.full(2, 2.0), np.array([-1.4]), np.array([1.6]))

    def act(gain, seen):
        observation = (2.0 * seen + 3.0 - 1.0) / 0.5  # as the dynamics see it
        return own.scale(2.0 * gain * observation[..., :1])

    gains = jnp.array([-0.5])
    plain = learner(lambda gain, observation: gain * observation[..., :1])
    wanted = dynamics.make_drift(plain, PLAIN, PLAIN, SETTINGS)(fitted, gains, START)
    found = dynamics.make_drift(learner(act), units, own, SETTINGS)(fitted, gains, START)
    np.testing.assert_allclose(found, wanted, rtol=1e-3)


def test_dynamics_are_learned_from_the_steps_that_go_on_of_the_other_episodes():
    """Episodes 0 to 3 of three steps each: in episode e every step adds e + 1, and its last step
    ends the task without a next observation. Episode 1 is held out."""
    episode = np.repeat(np.arange(4), 3)
    observation = np.arange(12.0)[:, None]
    ends = np.arange(12) % 3 == 2
    following = observation + np.where(ends, 0, episode + 1)[:, None]
    steps = Transition(observation, np.zeros((12, 1)), np.zeros(12), 1.0 - ends, following)
    units = Units(np.zeros(1), np.ones(1), -np.ones(1), np.ones(1))
    rows = Split(np.r_[0:3, 6:12], np.arange(3, 6), np.array([3]))
    settings = dataclasses.replace(SETTINGS, num_updates=1, length=100)
    imagined = imagine(Recorded(steps, episode, units), rows, settings)
    np.testing.assert_allclose(imagined.dynamics.mean, [(1 + 3 + 4) / 3], rtol=1e-6)
    np.testing.assert_allclose(imagined.dynamics.low, [0 - 0.1 * 10], rtol=1e-6)
    assert np.asarray(imagined.start).tolist() == [[3.0]] * 4
    assert imagined.settings.length == 3


def test_starts_are_spread_over_the_held_out_episodes():
    steps = recorded()
    rows = Split(np.arange(1000), np.arange(1000, 2000), np.arange(1000, 2000, 100))
    episode = np.arange(2000) // 100
    units = Units(np.zeros(2), np.ones(2), -np.ones(1), np.ones(1))
    settings = dataclasses.replace(SETTINGS, num_updates=1)
    imagined = imagine(Recorded(steps, episode, units), rows, settings)
    np.testing.assert_allclose(imagined.start, steps.observation[[1000, 1300, 1600, 1900]])


def test_the_same_call_gives_the_same_numbers(fitted):
    again = dynamics.fit(recorded(), SETTINGS)
    for old, new in zip(jax.tree.leaves(fitted), jax.tree.leaves(again), strict=True):
        np.testing.assert_array_equal(old, new)
