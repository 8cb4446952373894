"""TD3+BC: target smoothing, guidance and cloning, and the updates in which the policy moves."""

import jax.numpy as jnp
import numpy as np
import pytest

from edp_jax.algorithms import td3_bc

from .builders import (
    LINEAR_CRITICS,
    SHIFTED_MEAN,
    agent,
    assert_close,
    gradient,
    rows,
    same,
    tiny_settings,
    train_state,
)

UPDATE = td3_bc.make_update(SHIFTED_MEAN, LINEAR_CRITICS)
# The policy's action is mean + s / 10. Q_i = w_i a + s: w = (2, -1), in the averages (1, -3).
ONLINE, TARGET = [[2.0], [-1.0]], [[1.0], [-3.0]]
MEAN, AVERAGED_MEAN = 0.2, 0.4
BATCH = rows(s=3.0, a=[0.1, 0.1], r=1.0, next_s=1.0)  # twice the same row


def updated(step: int, smoothing: float = 1.0, critics=None, **changes):
    changes = dict(learning_rate=0.01, grad_clip=0.0, discount=0.9, tau=0.25, eta=2.5) | changes
    own = tiny_settings("td3_bc", **changes)
    critic = train_state(own, {"w": ONLINE}, {"w": TARGET}, ensemble=True)
    actor = train_state(own, {"mean": [MEAN]}, {"mean": [AVERAGED_MEAN]})
    before = agent(step, actor=actor, critic=critic)
    new, metrics = UPDATE(before, BATCH, own, td3_bc.Draws(jnp.full((2, 1), smoothing), critics))
    return before, new, metrics


@pytest.mark.parametrize(
    ("smoothing", "next_action"),
    [
        (1.0, 0.4 + 0.1 + 0.2),  # standard deviation 0.2
        (-2.0, 0.4 + 0.1 - 0.4),
        (-9.0, 0.4 + 0.1 - 0.5),  # the noise is at most 0.5 in size
        (9.0, 1.0),  # the action stays in the box; 0.4 + 0.1 + 0.5 is its edge
    ],
)
def test_smoothed_target(smoothing, next_action):
    """1 + 0.9 (min(a', -3 a') + 1) with the averaged policy and critics."""
    _, new, metrics = updated(0, smoothing)
    target = 1 + 0.9 * (-3 * next_action + 1)
    assert_close(metrics["critic/target_mean"], target)
    q = 0.1 * np.array(ONLINE)[:, 0] + 3
    assert_close(metrics["critic/loss"], np.square(q - target).sum())
    assert_close(gradient(new.networks["critic"])["w"][:, 0], 2 * (q - target) * 0.1)


def test_a_smoothed_action_stays_in_the_box():
    """0.8 + 0.1 + 0.5 would be 1.4."""
    own = tiny_settings("td3_bc", discount=0.9)
    critic = train_state(own, {"w": ONLINE}, {"w": TARGET}, ensemble=True)
    for mean, edge in ((0.8, 1.0), (-1.2, -1.0)):
        state = agent(actor=train_state(own, {"mean": [mean]}), critic=critic)
        draws = td3_bc.Draws(jnp.full((2, 1), 9.0 * edge), None)
        _, metrics = UPDATE(state, BATCH, own, draws)
        assert_close(metrics["critic/target_mean"], 1 + 0.9 * (min(edge, -3 * edge) + 1))


def test_drawn_critics_and_the_end_of_the_task():
    """The first critic alone values the next action 0.7 as 0.7 + 1."""
    _, _, metrics = updated(0, critics=jnp.array([0]))
    assert_close(metrics["critic/target_mean"], 1 + 0.9 * 1.7)
    _, _, metrics = updated(0, discount=0.0)
    assert_close(metrics["critic/target_mean"], 1.0)


@pytest.mark.parametrize("learning_rate", [0.01, 1.0])
def test_policy_loss(learning_rate):
    """-eta q / |q| + (action - 0.1)^2 at the action 0.5, with the first critic after its step.

    Its w = 2 moves by the learning rate against the gradient 2 (q - target) a, which is positive.
    """
    before, new, metrics = updated(1, learning_rate=learning_rate)
    w = 2.0 - learning_rate
    q = w * 0.5 + 3
    assert_close(metrics["actor/q_mean"], q)
    assert_close(metrics["actor/guidance_loss"], -2.5)
    assert_close(metrics["actor/cloning_loss"], 0.4**2)
    assert_close(metrics["actor/loss"], -2.5 + 0.16)
    expected = -2.5 * w / q + 2 * 0.4
    assert_close(gradient(new.networks["actor"])["mean"], [expected], rtol=1e-4)
    assert_close(
        new.networks["actor"].params["mean"], [MEAN - np.sign(expected) * learning_rate], rtol=1e-4
    )


def test_policy_and_averages_move_in_every_second_update():
    for step, moves in ((0, False), (1, True), (2, False), (3, True)):
        before, new, _ = updated(step)
        actor, critic = new.networks["actor"], new.networks["critic"]
        assert not same(critic.params, before.networks["critic"].params)
        if moves:
            w, mean = critic.params["w"], actor.params["mean"]
            assert_close(critic.target_params["w"], 0.75 * np.array(TARGET) + 0.25 * np.array(w))
            assert_close(actor.target_params["mean"], 0.75 * AVERAGED_MEAN + 0.25 * mean)
            assert_close(jnp.abs(mean - MEAN), [0.01])
        else:
            assert same(actor, before.networks["actor"])
            assert same(critic.target_params, before.networks["critic"].target_params)
        assert int(new.step) == step + 1
