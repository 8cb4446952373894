"""DAC: guidance at the noisy action, the weight of imitation, and cautious targets."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from edp_jax.algorithms import bcq, dac, edp
from edp_jax.types import TaskSpec

from .builders import (
    ABAR,
    CONSTANT_DIFFUSION,
    LINEAR_CRITICS,
    SCHEDULE,
    agent,
    assert_close,
    first_timestep,
    gradient,
    rows,
    tiny_settings,
    train_state,
)

UPDATE = dac.make_update(CONSTANT_DIFFUSION, LINEAR_CRITICS)
# Q_i = w_i a + s at s = 3; the averaged critics' mean is 3 + a, whatever the noise.
ONLINE, TARGET = [[1.0], [-3.0]], [[4.0], [-2.0]]
ACTIONS, NOISE, EPS, WEIGHT = np.array([0.5, -0.5]), np.array([1.0, 0.2]), 0.4, 2.0
SIGMA = np.sqrt(1 - ABAR)


def updated(next_action=((0.5, 0.5),), weight=WEIGHT, **changes):
    """The state and metrics after one update; next actions [M, B]."""
    changes = dict(learning_rate=0.1, grad_clip=0.0, ema_period=1, ema_start=0) | changes
    own = tiny_settings("dac", num_target_critics=0, num_critics=2, **changes)
    state = agent(
        actor=train_state(own, {"eps": [EPS]}),
        critic=train_state(own, {"w": ONLINE}, {"w": TARGET}, ensemble=True),
        dual=train_state(own, {"log_weight": np.log(weight)}).replace(target_params=None),
    )
    batch = rows(s=3.0, a=ACTIONS, r=1.0, next_s=10.0, d=[1.0, 0.0])
    next_action = jnp.asarray(next_action)[..., None]
    draws = bcq.Draws(first_timestep(*NOISE), edp.TargetDraws(next_action, None))
    return UPDATE(state, batch, own, draws)


def test_noise_is_moved_by_the_gradient_of_q():
    """The mean of the averaged critics rises by 1 per unit of action, and |Q| is 3 in the mean."""
    new, metrics = updated()
    denoising, guidance = np.mean((EPS - NOISE) ** 2), SIGMA * (1.0 / 3.0) * EPS
    assert_close(metrics["actor/denoising_loss"], denoising)
    assert_close(metrics["actor/guidance_loss"], guidance)
    assert_close(metrics["actor/loss"], 2.0 * denoising + guidance)
    expected = 2.0 * np.mean(2 * (EPS - NOISE)) + SIGMA / 3.0
    assert_close(gradient(new.networks["actor"])["eps"], [expected])


def test_guidance_weighs_every_timestep_by_its_noise():
    t, noise, q_gradient = jnp.array([0, 3]), jnp.array([[1.0], [2.0]]), jnp.array([[0.5], [-1.0]])
    sigma = np.sqrt(1 - np.asarray(SCHEDULE.alphas_cumprod)[np.array([0, 3])])
    found = dac.soft_guidance(SCHEDULE, t, noise, q_gradient)
    assert_close(found, (sigma * np.array([0.5 * 1.0, -1.0 * 2.0]))[:, None])
    with pytest.raises(AssertionError):
        dac.soft_guidance(SCHEDULE, t, noise, q_gradient[0])


def test_q_score_matching_is_a_regression_on_the_gradient_of_q():
    """(noise + alpha sigma grad Q)^2, which is 0 where the score is alpha grad Q. Multiplied out
    it has DAC's guidance in it, 2 alpha times."""
    t, noise, q_gradient = jnp.array([0, 3]), jnp.array([[1.0], [2.0]]), jnp.array([[0.5], [-1.0]])
    sigma = np.sqrt(1 - np.asarray(SCHEDULE.alphas_cumprod)[np.array([0, 3])])
    pull = 3.0 * sigma * np.array([0.5, -1.0])
    found = dac.q_score_matching(SCHEDULE, t, noise, q_gradient, 3.0)
    assert_close(found, np.square(np.array([1.0, 2.0]) + pull)[:, None])
    guidance = dac.soft_guidance(SCHEDULE, t, noise, q_gradient)
    assert_close(found, noise**2 + 2 * 3.0 * guidance + np.square(pull)[:, None])
    matched = dac.q_score_matching(SCHEDULE, t, -pull[:, None], q_gradient, 3.0)
    assert_close(matched, np.zeros((2, 1)))


def test_q_score_matching_imitates_nothing():
    """Neither the noise nor the weight enters the loss, (eps + alpha sigma / 3)^2, and nothing is
    found out about the weight."""
    new, metrics = updated(qsm_alpha=2.0)
    pull = EPS + 2.0 * SIGMA / 3.0
    assert_close(metrics["actor/loss"], pull**2)
    assert_close(metrics["actor/weight"], 0.0)
    assert_close(gradient(new.networks["actor"])["eps"], [2 * pull])
    assert_close(new.networks["dual"].params["log_weight"], np.log(WEIGHT))


@pytest.mark.parametrize(("threshold", "sign"), [(0.1, 1.0), (0.9, -1.0)])
def test_imitation_weighs_more_while_the_denoising_loss_is_too_high(threshold, sign):
    """The loss is 0.5 (0.6^2 + 0.2^2) = 0.2. Adam's first step is the learning rate."""
    new, metrics = updated(denoising_threshold=threshold)
    assert_close(metrics["actor/weight"], 2.0)
    found = new.networks["dual"].params["log_weight"]
    assert_close(found, np.log(WEIGHT) + sign * 0.1, rtol=1e-4)


@pytest.mark.parametrize(("before", "threshold", "after"), [(90, 0.1, 100), (1.1e-3, 0.9, 1e-3)])
def test_the_weight_of_imitation_stays_in_its_range(before, threshold, after):
    """Adam's first step would take it to e^0.5 times, and to e^-0.5 times as much."""
    new, _ = updated(weight=before, denoising_threshold=threshold, learning_rate=0.5)
    assert_close(np.exp(new.networks["dual"].params["log_weight"]), after, rtol=1e-4)


@pytest.mark.parametrize(
    ("backup", "next_q"),
    [("mean", (10 + 4 * 0.2, 10 - 2 * 0.2)), ("max", (10 + 4 * 0.6, 10 + 2 * 0.2))],
)
def test_targets_are_a_lower_confidence_bound(backup, next_q):
    """Of the next actions 0.6 and -0.2. Two values x, y have the deviation |x - y| / 2."""
    changes = {"discount": 0.9, "pessimism": 0.5, "backup": backup}
    _, metrics = updated(((0.6, 0.6), (-0.2, -0.2)), **changes)
    bound = np.mean(next_q) - 0.5 * abs(next_q[0] - next_q[1]) / 2
    assert_close(metrics["critic/target_mean"], (1 + 0.9 * bound + 1) / 2)


def test_the_best_mean_value_acts(monkeypatch):
    """min_i Q_i would prefer |a| near 0; the mean of Q = (3 a, -a) rises with a."""
    settings = tiny_settings("dac", num_candidates=200, selection_temperature=0.0)
    monkeypatch.setattr(dac.edp, "make_critics", lambda *_: LINEAR_CRITICS)
    monkeypatch.setattr(dac.edp, "diffusion_policy", lambda *_: CONSTANT_DIFFUSION)
    params = {"actor": {"eps": jnp.zeros(1)}, "critic": {"w": jnp.array([[3.0], [-1.0]])}}
    act = dac.make(settings, TaskSpec(1, 1)).act
    assert np.all(act(params, jnp.zeros((20, 1)), jax.random.key(0)) > 0.9)
