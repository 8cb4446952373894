"""EDP-BCQ: targets between the most and the least pessimistic critic, and a policy that clones."""

import jax.numpy as jnp
import numpy as np
import pytest

from edp_jax.algorithms import bcq, edp

from .builders import (
    CONSTANT_DIFFUSION,
    LINEAR_CRITICS,
    agent,
    assert_close,
    first_timestep,
    gradient,
    rows,
    tiny_settings,
    train_state,
)

UPDATE = bcq.make_update(CONSTANT_DIFFUSION, LINEAR_CRITICS)
# The averaged critics are Q'_i = w_i a + s with w = (1, -3): an action a > 0 has the value
# 0.75 (-3 a) + 0.25 a = -2 a, and one below 0 has 0.75 a + 0.25 (-3 a) = 0, both plus s.


def updated(critics=None, next_actions=(0.5, -0.4), discount=1.0):
    own = tiny_settings("edp_bcq", grad_clip=0.0, discount=0.9, tau=0.25, learning_rate=0.01)
    critic = train_state(own, {"w": [[2.0], [-1.0]]}, {"w": [[1.0], [-3.0]]}, ensemble=True)
    actor = train_state(own, {"eps": [0.5]})
    next_action = jnp.asarray(next_actions)[:, None, None]
    draws = bcq.Draws(first_timestep(1.0), edp.TargetDraws(next_action, critics))
    batch = rows(s=0.0, a=0.5, r=1.0, d=discount, next_s=10.0)
    return UPDATE(agent(1, actor=actor, critic=critic), batch, own, draws)


@pytest.mark.parametrize(
    ("next_actions", "value"),
    [([0.5, -0.4], 0.0), ([0.3, 0.1], -0.2)],
)
def test_target(next_actions, value):
    """The best of the next actions counts: 1 + 0.9 (value + 10)."""
    new, metrics = updated(next_actions=next_actions)
    target = 1 + 0.9 * (value + 10)
    assert_close(metrics["critic/target_mean"], target)
    assert_close(metrics["critic/loss"], (1 - target) ** 2 + (-0.5 - target) ** 2)
    assert_close(
        new.networks["critic"].target_params["w"],
        0.75 * np.array([[1.0], [-3.0]]) + 0.25 * np.array(new.networks["critic"].params["w"]),
    )


def test_no_value_after_the_end():
    assert_close(updated(discount=0.0)[1]["critic/target_mean"], 1.0)


def test_drawn_critics_count():
    """The first critic alone: 1 + 0.9 (max(0.5, -0.4) + 10)."""
    _, metrics = updated(critics=jnp.array([0]))
    assert_close(metrics["critic/target_mean"], 10.45)


def test_the_policy_only_clones():
    """(eps - noise)^2 with the gradient 2 (0.5 - 1), whatever the critics say."""
    new, metrics = updated()
    assert_close(metrics["actor/guidance_loss"], 0.0)
    assert_close(metrics["actor/loss"], 0.25)
    assert_close(gradient(new.networks["actor"])["eps"], [-1.0])
    assert_close(new.networks["actor"].params["eps"], [0.51])
    assert_close(new.networks["actor"].target_params["eps"], [0.5 + 0.25 * 0.01])
