"""How far critics can be trusted: their errors on episodes that they have not learned from."""

import jax
import jax.numpy as jnp
import pytest

from edp_jax.algorithms import trust

from .builders import assert_close, make_batch, tiny_learner

# A = 5, 1, 3; delta = -1, 2, 4; the last two rows are held out
ADVANTAGE, ERROR = jnp.array([5.0, 1.0, 3.0]), jnp.array([-1.0, 2.0, 4.0])
HELD_OUT = jnp.array([0.0, 1.0, 1.0])
KEY = jax.random.key(0)


def errors(learned, held_out, spread):
    return trust.Errors(*(jnp.float32(number) for number in (learned, held_out, spread)))


def measured(held_out, counts=None):
    found = trust.measure(ADVANTAGE, ERROR, held_out, counts)
    return {f"actor/{name}": value for name, value in found.items()}


@pytest.mark.parametrize(
    ("learned", "held_out", "spread", "expected"),
    [
        (3.0, 5.0, 5.0, 9 / 41),  # n = 25 - 9 = 16, v = 25: (25 - 16) / (25 + 16)
        (4.0, 4.0, 0.1, 1.0),  # no worse on unseen episodes: errors of any size are chance
        (5.0, 4.0, 0.1, 1.0),  # better there, by chance
        (3.0, 5.0, 4.0, 0.0),  # v = n
        (3.0, 5.0, 1.0, 0.0),  # v < n
        (0.0, 0.0, 0.0, 0.0),  # before the first batch
    ],
)
def test_reliability_by_hand(learned, held_out, spread, expected):
    assert_close(trust.reliability(errors(learned, held_out, spread)), expected)
    unit = errors(1e6 * learned, 1e6 * held_out, 1e6 * spread)
    assert_close(trust.reliability(unit), expected)


def test_means_of_magnitudes_by_hand():
    """Learned: 1. Held out: (2 + 4) / 2 = 3; A = 1, 3 there, 1 away from their mean.

    The spread of n = 2 rows around their own mean counts sqrt(n / (n - 1)).
    """
    expected = {"learned": 1.0, "held_out": 3.0, "spread": 2**0.5, "both": 1.0}
    for name, value in expected.items():
        assert_close(measured(HELD_OUT)[f"actor/error_{name}"], value)


def test_rows_without_a_value_do_not_count():
    found = measured(HELD_OUT, jnp.array([1.0, 0.0, 1.0]))
    assert_close(found["actor/error_held_out"], 4.0)
    assert_close(found["actor/error_spread"], 0.0)
    assert_close(measured(1.0 - HELD_OUT, jnp.array([1.0, 0.0, 1.0]))["actor/error_learned"], 4.0)


def test_collected_rows_do_not_count():
    found = measured(jnp.array([0.0, 1.0, -1.0]))
    assert_close(found["actor/error_learned"], 1.0)
    assert_close(found["actor/error_held_out"], 2.0)
    assert measured(jnp.array([-1.0, 1.0, 1.0]))["actor/error_both"] == 0


def test_running_means_move_by_a_200th():
    found = trust.updated(errors(2.0, 1.0, 0.0), measured(HELD_OUT))
    assert_close(jnp.stack(found), [2.0 - 0.005, 1.0 + 0.01, 0.005 * 2**0.5])


@pytest.mark.parametrize("held_out", [jnp.zeros(3), jnp.ones(3), jnp.array([0.0, 0.0, 1.0])])
def test_a_batch_of_one_kind_says_nothing(held_out):
    """Nor does one with a single row that is held out: a number alone has no spread."""
    before = errors(2.0, 1.0, 0.5)
    assert_close(jnp.stack(trust.updated(before, measured(held_out))), jnp.stack(before))


def test_the_state_of_edp_remembers_them_where_episodes_are_held_out():
    learner = tiny_learner("edp")
    state, update = jax.jit(learner.init)(jax.random.key(0)), jax.jit(learner.update_step)
    assert_close(jnp.stack(state.networks[trust.ERRORS].params), jnp.zeros(3))
    batch = make_batch(held_out=jnp.array([0.0, 1.0, 1.0, 0.0]))
    state, metrics = update(state, batch, learner.settings)
    now = jnp.array([metrics[f"actor/error_{name}"] for name in trust.Errors._fields])
    assert_close(jnp.stack(state.networks[trust.ERRORS].params), 0.005 * now)
    assert metrics["actor/reliability"] == 0  # what is followed was known before the batch
    _, metrics = update(state, batch, learner.settings)
    assert_close(metrics["actor/reliability"], trust.reliability(trust.Errors(*now)), rtol=1e-4)
    assert trust.ERRORS not in jax.eval_shape(tiny_learner("edp", holdout=0.0).init, KEY).networks
