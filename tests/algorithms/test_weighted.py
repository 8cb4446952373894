"""The recommended learner: weights without a unit, a weighted denoising loss, IDQL's values."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from edp_jax import diffusion
from edp_jax.algorithms import AgentState, TrainState, trust, weighted
from edp_jax.algorithms.iql import Judgement
from edp_jax.policy import Corruption, Prediction

from .builders import assert_close, make_batch, tiny_learner, tiny_settings


def weights(advantage, strength, error=0.0, counts=None):
    """The weights for critics whose every target is missed by `error`."""
    advantage = jnp.asarray(advantage)
    judgement = Judgement(advantage, jnp.broadcast_to(jnp.asarray(error), advantage.shape), None)
    spread = weighted.spreads(judgement, counts)
    return weighted.relative_weight(advantage, spread, strength, counts)


def test_weights_by_hand():
    """The deviation of 3, -1, 3, -1 is 2 around the mean 1: exponents 0.75 and -0.25 at 0.5."""
    raw = np.exp([0.75, -0.25, 0.75, -0.25])
    assert_close(weights([3.0, -1.0, 3.0, -1.0], 0.5), raw / raw.mean())


def test_errors_of_the_critics_count_as_spread():
    """Deviation 3, root mean square error sqrt((0 + 32) / 2) = 4: the unit is 5."""
    raw = np.exp([0.6, -0.6])
    assert_close(weights([3.0, -3.0], 1.0, [0.0, -(32.0**0.5)]), raw / raw.mean())


def test_advantages_far_below_the_errors_change_nothing():
    assert_close(weights([1e-3, -1e-3, 2e-3], 0.5, 10.0), np.ones(3), atol=2e-4)


def test_no_weight_before_scaling_is_above_20():
    """One 10 among 99 zeros: the deviation is 0.995, and exp(10 / 0.995) = 23,000 is made 20."""
    raw = np.append(20.0, np.ones(99))
    assert_close(weights(jnp.zeros(100).at[0].set(10.0), 1.0), raw / raw.mean())


@pytest.mark.parametrize("unit", [1e-4, 1e4])
def test_the_unit_of_the_rewards_does_not_matter(unit):
    advantage, error = jnp.array([0.3, -1.0, 2.0, 0.0]), jnp.array([0.5, 0.0, -1.0, 0.1])
    found = weights(unit * advantage, 1.0, unit * error)
    assert_close(found, weights(advantage, 1.0, error), rtol=1e-5)


def test_without_differences_or_strength_it_clones():
    for value in (0.0, -1.0, -1e6, 1e6):
        assert_close(weights(jnp.full(3, value), 1.0), np.ones(3))
    assert_close(weights([1.0, -5.0], 0.0, 1.0), np.ones(2))


def test_rows_that_do_not_count_set_no_unit():
    """Of the two that count the deviation is 1: exponents 1 and -1. The third is cloned."""
    raw = np.exp([1.0, -1.0])
    counts = jnp.array([1.0, 1.0, 0.0])
    found = weights([1.0, -1.0, 100.0], 1.0, [0.0, 0.0, 100.0], counts)
    assert_close(found, [*(raw / raw.mean()), 1.0])
    alone = weights([-1.0, 3.0, 2.0], 1.0, 0.0, jnp.array([1.0, 0.0, 0.0]))
    assert_close(alone, np.ones(3))


def test_spreads_are_the_variance_of_advantages_and_the_mean_squared_error():
    """A = 3, -1: mean 1, variance 4. delta = 2, 0: mean square 2. The third row does not count."""
    judgement = Judgement(jnp.array([3.0, -1.0, 100.0]), jnp.array([2.0, 0.0, 9.0]), None)
    assert_close(jnp.stack(weighted.spreads(judgement, jnp.array([1.0, 1.0, 0.0]))), [4.0, 2.0])


SCHEDULE = diffusion.make_schedule("vp", 10)


def remembering(errors: trust.Errors | None) -> AgentState:
    """A state whose critics made these errors so far; None: the learner holds no episodes out."""
    return AgentState(None, None, {trust.ERRORS: TrainState(errors, None, ())} if errors else {})


def loss_of(batch, advantage, losses, slope=0.0, errors=None, **changes):
    """Denoising loss plus guidance, as `edp.policy_step` adds them up; Q = slope * sum of a."""
    settings = tiny_settings("edp", **{"strength": 1.0, "trust_region": 0.0} | changes)
    draws = Corruption(jnp.full(len(losses), 4), None)
    prediction = Prediction(jnp.full_like(batch.action, 0.5), None, losses, None)
    judgement = Judgement(
        advantage, jnp.zeros_like(advantage), lambda action: slope * jnp.sum(action, axis=-1)
    )
    guidance = weighted.weighted_denoising(
        judgement, batch, settings, draws, remembering(errors), schedule=SCHEDULE
    )
    extra, metrics = guidance(None, prediction)
    kept = 1.0 if batch.has_action is None else batch.has_action
    return extra + jnp.sum(kept * losses) / jnp.sum(kept * jnp.ones(len(losses))), metrics


def test_the_policys_loss_is_the_weighted_denoising_loss():
    """Exponents 1 and -1: mean_b w_b loss_b."""
    w = np.exp([1.0, -1.0]) / np.cosh(1.0)
    found, _ = loss_of(make_batch(2), jnp.array([3.0, -3.0]), jnp.array([0.5, 2.0]))
    assert_close(found, np.mean(w * [0.5, 2.0]))


def test_rows_without_a_value_are_cloned():
    """The third chunk is cut: its loss counts once, and its advantage changes no weight."""
    w = np.exp([1.0, -1.0]) / np.cosh(1.0)
    valid = jnp.array([[1.0, 1.0], [1.0, 1.0], [1.0, 0.0]])
    batch = dataclasses.replace(make_batch(3), discount=jnp.ones(3), valid=valid)
    for ignored in (0.0, 1e6):
        found, _ = loss_of(batch, jnp.array([3.0, -3.0, ignored]), jnp.array([0.5, 2.0, 4.0]))
        assert_close(found, np.mean([*w, 1.0] * np.array([0.5, 2.0, 4.0])))


def test_following_raises_the_denoising_loss_by_what_is_allowed():
    """Each row's best prediction e minimises |e|^2 / A + following; its |e|^2 / A is what it costs.

    With a0_hat = a - c e, c = sqrt((1 - abar) / abar), the loss is a parabola in e, whose minimum
    is where the gradient of |e|^2 / A is minus that of the rest.
    """
    rng = np.random.default_rng(0)
    slope = jnp.asarray(rng.normal(size=(6, 3)), jnp.float32) * 1e3
    abar = jnp.asarray(rng.uniform(0.1, 0.9, size=6), jnp.float32)
    c = jnp.sqrt((1 - abar) / abar)[:, None]

    def following(e):
        return 6 * weighted.following_loss(0.1 - c * e, slope, abar, jnp.float32(0.02))

    best = -1.5 * jax.grad(following)(jnp.zeros((6, 3)))  # A / 2 = 1.5
    assert_close(jnp.mean(jnp.sum(best**2, axis=-1) / 3), 0.02)
    assert np.all(np.sum(np.asarray(-c * best * slope), axis=-1) > 0)  # a0_hat moves up the slope


def test_rows_without_a_value_are_not_followed():
    """The second row does not count, so its slope of 1e9 changes nothing.

    For the first, A = 2, abar = 0.5 and |slope|^2 = 8. The allowed rise of 0.25 is
    (A / 4) g^2 abar (1 - abar) |slope|^2 = g^2, so g = 0.5, and the gradient is -g abar slope.
    """
    slope = jnp.array([[2.0, 2.0], [1e9, 1e9]])
    counts = jnp.array([1.0, 0.0])

    def loss(action):
        return weighted.following_loss(action, slope, jnp.full(2, 0.5), 0.25, counts)

    assert_close(jax.grad(loss)(jnp.zeros((2, 2))), [[-0.5, -0.5], [0.0, 0.0]])


@pytest.mark.parametrize("unit", [1e-6, 1e6])
def test_the_policys_loss_follows_the_critics_without_a_unit(unit):
    """n = 25 - 9, v = 25: reliability 9 / 41; allowed 0.82 * 9 / 41 * mean loss 1.25 = 0.225.

    All rows have one slope u (1, 1, ...) and one abar: cost = A^2 / 4 abar (1 - abar) u^2 with
    A u^2 = |slope|^2, and the loss is -g abar A u / 2 with g = sqrt(0.225 / cost).
    """
    batch = make_batch(2)
    dim, abar = batch.action.shape[-1], SCHEDULE.alphas_cumprod[4]
    arguments = batch, unit * jnp.array([3.0, -3.0]), jnp.array([0.5, 2.0]), unit
    errors = trust.Errors(*(unit * jnp.array([3.0, 5.0, 5.0])))
    plain, _ = loss_of(*arguments, errors=errors)
    found, metrics = loss_of(*arguments, errors=errors, trust_region=0.82)
    g = np.sqrt(0.225 / (dim**2 / 4 * abar * (1 - abar)))
    assert_close(found - plain, -g * abar * dim / 2, rtol=1e-4)
    assert_close(metrics["reliability"], 9 / 41)


def test_without_slope_or_reliability_nothing_is_followed():
    batch, losses = make_batch(2), jnp.array([0.5, 2.0])
    reliable, wrong = (trust.Errors(*jnp.array(each)) for each in ([1.0, 1, 2], [0.0, 2, 2]))
    advantage = jnp.array([3.0, -3.0])
    for slope, errors in ((0.0, reliable), (5.0, wrong), (5.0, None)):
        plain, _ = loss_of(batch, advantage, losses, slope, errors)
        found, _ = loss_of(batch, advantage, losses, slope, errors, trust_region=1.0)
        assert_close(found, plain)


def test_values_are_not_learned_from_what_is_held_out():
    """Two batches differ in the reward of their third row alone, which is held out.

    Critics and V are the same after both. They are others where the third row is not held out.
    """
    learner = tiny_learner("edp")
    state, update = jax.jit(learner.init)(jax.random.key(0)), jax.jit(learner.update_step)
    batch = make_batch(held_out=jnp.array([0.0, 0.0, 1.0, 0.0]))
    other = batch.replace(reward=batch.reward + jnp.array([0.0, 0.0, 50.0, 0.0]))
    first, second = (update(state, each, learner.settings)[0].networks for each in (batch, other))
    for network in ("critic", "value"):
        assert_close(first[network].params, second[network].params)
    changed = update(state, batch.replace(held_out=jnp.zeros(4)), learner.settings)[0].networks
    for network in ("critic", "value"):
        moved = jax.tree.map(lambda a, b: jnp.any(a != b), first[network], changed[network])
        assert any(jax.tree.leaves(moved.params))


def test_its_values_are_those_of_iql():
    states = []
    own = dict(learning_rate=1e-3, tau=0.1, discount=0.997)
    for name, changes in (("edp", {}), ("idql", own)):
        learner = tiny_learner(name, critic_layer_norm=True, **changes)
        state = jax.jit(learner.init)(jax.random.key(0))
        states.append(jax.jit(learner.update_step)(state, make_batch(), learner.settings)[0])
    for network in ("critic", "value"):
        assert_close(states[0].networks[network].params, states[1].networks[network].params)
