"""The recommended learner: weights without a unit, a weighted denoising loss, IDQL's values."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from edp_jax.algorithms import weighted
from edp_jax.policy import Prediction

from .builders import assert_close, make_batch, tiny_learner, tiny_settings


def test_weights_by_hand():
    """tau = 0.9: 0.9 for the two above V, 0.1 for the others, one of which is at V; mean 0.5."""
    found = weighted.implicit_weight(jnp.array([2.0, -3.0, 0.1, 0.0]), 0.9)
    assert_close(found, [1.8, 0.2, 1.8, 0.2])


@pytest.mark.parametrize("unit", [1e-4, 1e4])
def test_the_unit_of_the_rewards_does_not_matter(unit):
    advantage = jnp.array([0.3, -1.0, 2.0, 0.1])
    found = weighted.implicit_weight(unit * advantage, 0.7)
    assert_close(found, weighted.implicit_weight(advantage, 0.7))


def test_it_clones_where_v_is_the_mean_and_where_no_action_is_better():
    assert_close(weighted.implicit_weight(jnp.array([1.0, -5.0]), 0.5), np.ones(2))
    assert_close(weighted.implicit_weight(-jnp.ones(3), 0.9), np.ones(3))


def test_rows_that_do_not_count_change_no_mean():
    """Of those that count the mean is (0.9 + 0.1) / 2; the third is cloned."""
    counts = jnp.array([1.0, 1.0, 0.0])
    found = weighted.implicit_weight(jnp.array([1.0, -1.0, 100.0]), 0.9, counts)
    assert_close(found, [1.8, 0.2, 1.0])


def loss_of(batch, advantage, losses):
    """Denoising loss plus guidance, as `edp.policy_step` adds them up."""
    settings = tiny_settings("edp", expectile=0.9)
    prediction = Prediction(None, None, losses, None)
    extra, _ = weighted.weighted_denoising(advantage, batch, settings)(None, prediction)
    kept = 1.0 if batch.has_action is None else batch.has_action
    return extra + jnp.sum(kept * losses) / jnp.sum(kept * jnp.ones(len(losses)))


def test_the_policys_loss_is_the_weighted_denoising_loss():
    """Weights 0.9 and 0.1 with mean 0.5: mean_b w_b loss_b."""
    found = loss_of(make_batch(2), jnp.array([3.0, -3.0]), jnp.array([0.5, 2.0]))
    assert_close(found, (1.8 * 0.5 + 0.2 * 2.0) / 2)


def test_rows_without_a_value_are_cloned():
    """The third chunk is cut: its loss counts once, and its advantage changes no weight."""
    valid = jnp.array([[1.0, 1.0], [1.0, 1.0], [1.0, 0.0]])
    batch = dataclasses.replace(make_batch(3), discount=jnp.ones(3), valid=valid)
    for ignored in (0.0, 1e6):
        found = loss_of(batch, jnp.array([3.0, -3.0, ignored]), jnp.array([0.5, 2.0, 4.0]))
        assert_close(found, (1.8 * 0.5 + 0.2 * 2.0 + 4.0) / 3)


def test_its_values_are_those_of_iql():
    states = []
    for name, changes in (("edp", {}), ("idql", dict(learning_rate=1e-3, tau=0.02))):
        learner = tiny_learner(name, critic_layer_norm=True, **changes)
        state = jax.jit(learner.init)(jax.random.key(0))
        states.append(jax.jit(learner.update_step)(state, make_batch(), learner.settings)[0])
    for network in ("critic", "value"):
        assert_close(states[0].networks[network].params, states[1].networks[network].params)
