"""EDP-CRR and EDP-IQL: what their updates may and may not do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from edp_jax import TaskSpec, Transition, algorithms
from edp_jax.algorithms import base, crr
from edp_jax.policy import Prediction

SPEC = TaskSpec(3, 2)
CONFIG = algorithms.AlgorithmConfig(
    hidden_dims=(16,), num_timesteps=10, sampler_calls=2, ema_start=0, ema_period=1
)


def make_batch(size: int = 32) -> Transition:
    rng = np.random.default_rng(0)
    return Transition(
        observation=rng.normal(size=(size, 3)).astype(np.float32),
        action=rng.uniform(-1, 1, (size, 2)).astype(np.float32),
        reward=np.ones(size, np.float32),
        discount=np.zeros(size, np.float32),
        next_observation=rng.normal(size=(size, 3)).astype(np.float32),
    )


def test_baseline_actions_stay_in_the_box_and_pass_no_gradient():
    noise = jnp.array([[[3.0, 0.2]], [[-0.4, -9.0]]])

    def baseline(action, std):
        return crr.baseline_actions(Prediction(None, action, std, None, None), noise)

    action = jnp.array([[0.9, -0.5]])
    np.testing.assert_allclose(
        baseline(action, jnp.ones(2)), [[[1.0, -0.3]], [[0.5, -1.0]]], rtol=1e-6
    )
    np.testing.assert_allclose(
        baseline(action, jnp.array([0.5, 0.1])), [[[1.0, -0.48]], [[0.7, -1.0]]], rtol=1e-6
    )
    for gradient in jax.grad(lambda a, s: baseline(a, s).sum(), argnums=(0, 1))(
        action, jnp.ones(2)
    ):
        np.testing.assert_array_equal(gradient, 0.0)


@pytest.mark.parametrize(
    ("name", "changes"), [("crr", {}), ("crr", {"crr_weight": "indicator"}), ("iql", {})]
)
def test_critics_learn_a_constant_reward_and_the_policy_clones(name, changes):
    """With terminal transitions of reward 1 every value is 1, every advantage 0, and the policy's loss falls."""
    algorithm = algorithms.make(name, CONFIG.__class__(**{**vars(CONFIG), **changes}), SPEC)
    update = jax.jit(algorithm.update_step)
    state, batch, hypers = (
        algorithm.init(jax.random.key(0)),
        make_batch(),
        base.Hypers(learning_rate=3e-3, tau=0.05),
    )
    denoising = []
    for _ in range(400):
        state, metrics = update(state, batch, hypers)
        denoising.append(float(metrics["actor/denoising_loss"]))
    np.testing.assert_allclose(metrics["critic/q_mean"], 1.0, atol=0.05)
    np.testing.assert_allclose(metrics["actor/advantage_mean"], 0.0, atol=0.2)
    assert np.mean(denoising[-50:]) < 0.8 * np.mean(denoising[:50])


def test_iql_values_never_see_actions_outside_the_dataset():
    """Its value and critic updates do not change with the policy."""
    algorithm = algorithms.make("iql", CONFIG, SPEC)
    state, batch = algorithm.init(jax.random.key(0)), make_batch()
    other_params = algorithm.init(jax.random.key(1)).actor.params
    other = state.replace(
        actor=state.actor.replace(params=other_params, target_params=other_params)
    )
    update = jax.jit(algorithm.update_step)
    (first, _), (second, _) = (update(s, batch, base.Hypers()) for s in (state, other))
    for a, b in zip(
        jax.tree.leaves((first.critic, first.value)),
        jax.tree.leaves((second.critic, second.value)),
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)
