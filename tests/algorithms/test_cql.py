"""EDP-CQL: the penalty on the critics."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from edp_jax.algorithms import cql, td3

from .builders import (
    CONSTANT_DIFFUSION,
    LINEAR_CRITICS,
    a0_hat,
    assert_close,
    gradient,
    guided_update,
    make_batch,
    rows,
    tiny_learner,
    tiny_settings,
)

UPDATE = td3.make_update(
    CONSTANT_DIFFUSION, LINEAR_CRITICS, make_regularizer=cql.make_penalty(LINEAR_CRITICS)
)
# One state with s = 3, the dataset's action 0.4, one uniform action 0.8 and the policy's a0_hat.
W, EPS = np.array([2.0, -1.0]), 0.5
ACTIONS = np.array([0.8, a0_hat(0.4, noise=1.0, eps=EPS)])
Q_SAMPLED = W[:, None] * ACTIONS  # [C, M]; s is the same on both sides of the excess
EXCESS = np.log(np.exp(Q_SAMPLED).mean(axis=1)) - 0.4 * W
# d excess_i / d w_i: the softmax's mean action minus the dataset's
SLOPE = (np.exp(Q_SAMPLED) * ACTIONS).sum(axis=1) / np.exp(Q_SAMPLED).sum(axis=1) - 0.4


def updated(**changes):
    changes = dict(learning_rate=1.0, grad_clip=0.0, discount=0.0) | changes
    own = tiny_settings("edp_cql", num_target_critics=0, **changes)
    uniform = jnp.full((1, 1, 1), 0.8)
    return guided_update(UPDATE, own, rows(s=3.0, a=0.4, r=1.0), uniform, eps=EPS)


@pytest.mark.parametrize(
    ("threshold", "counts"),
    [(-9.0, [1.0, 1.0]), (float(EXCESS.mean()), [1.0, 0.0]), (9.0, [0.0, 0.0])],
)
def test_penalty_is_added_to_the_critics_loss(threshold, counts):
    """TD loss sum_i (w_i 0.4 + 3 - 1)^2, plus alpha sum_i max(excess_i, threshold)."""
    assert EXCESS[0] > EXCESS[1]
    new, metrics = updated(cql_alpha=5.0, cql_threshold=threshold)
    td = 0.4 * W + 3 - 1
    assert_close(metrics["critic/cql_excess"], EXCESS.mean())
    expected = np.square(td).sum() + 5.0 * np.maximum(EXCESS, threshold).sum()
    assert_close(metrics["critic/loss"], expected)
    expected = 2 * td * 0.4 + 5.0 * np.array(counts) * SLOPE
    assert_close(gradient(new.networks["critic"])["w"][:, 0], expected, rtol=1e-4)


def test_the_policy_is_that_of_td3():
    """It is not moved by the penalty, and its guide is the critic as it was."""
    plain, penalized = (updated(cql_alpha=alpha, cql_threshold=-9.0) for alpha in (0.0, 5.0))
    for new, metrics in (plain, penalized):
        assert_close(metrics["actor/q_mean"], 2 * ACTIONS[1] + 3)
        assert_close(new.networks["actor"].params, plain[0].networks["actor"].params)


def test_uniform_actions_cover_the_box():
    learner = tiny_learner("edp_cql", num_cql_actions=4)
    params = learner.draw_params(learner.init(jax.random.key(0)))
    uniform = jax.jit(learner.draw)(jax.random.key(1), params, make_batch(500)).other
    assert uniform.shape == (4, 500, 2)
    quarters = np.histogram(uniform, bins=4, range=(-1, 1))[0] / uniform.size
    assert np.all(np.abs(quarters - 0.25) < 4 * np.sqrt(0.25 * 0.75 / uniform.size))


def test_the_learner_has_the_penalty():
    """Its alpha raises the critics' loss, which is otherwise that of EDP-TD3."""
    learner, batch = tiny_learner("edp_cql"), make_batch()
    state = learner.init(jax.random.key(0))
    draws = learner.draw(jax.random.key(1), learner.draw_params(state), batch)
    update, losses = jax.jit(learner.update), []
    for alpha in (0.0, 1.0):
        _, metrics = update(
            state, batch, learner.settings.replace(cql_alpha=alpha, cql_threshold=7.0), draws
        )
        losses.append(float(metrics["critic/loss"]))
    np.testing.assert_allclose(losses[1] - losses[0], 3 * 7.0, rtol=1e-4)  # three critics
