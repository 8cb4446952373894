"""IQL: the order of its three steps, the expectile, and the sign of the advantage."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from edp_jax.algorithms import iql

from .builders import (
    CONSTANT_GAUSSIAN,
    LINEAR_CRITICS,
    SHIFTED_VALUE,
    agent,
    assert_close,
    gradient,
    make_batch,
    rows,
    same,
    tiny_learner,
    tiny_settings,
    train_state,
)

UPDATE = iql.make_update(CONSTANT_GAUSSIAN, LINEAR_CRITICS, SHIFTED_VALUE)
# Two actions at s = 3. The averaged critics say 3 + min(2 a, -a), 3 - 0.1 and 3 - 1.0. V says
# 3 - 0.5, so its errors are Q - V = (0.4, -0.5). One step of V with learning rate 0.2 takes it to
# 3 - 0.3, because the gradient of V's loss is negative: -(0.7 * 0.4 - 0.3 * 0.5).
ACTIONS, ONLINE, TARGET, VALUE = np.array([0.1, -0.5]), [[1.0], [-3.0]], [[2.0], [-1.0]], -0.5
BATCH = rows(s=3.0, a=ACTIONS, r=1.0, next_s=10.0, d=[1.0, 0.0])
ADVANTAGE = np.array([0.2, -0.7])


def settings(**changes):
    changes = dict(learning_rate=0.2, grad_clip=0.0, ema_period=1, ema_start=0) | changes
    return tiny_settings("iql", num_target_critics=0, expectile=0.7, **changes)


def updated(own, critics=None, v=VALUE):
    critic = train_state(own, {"w": ONLINE}, {"w": TARGET}, ensemble=True)
    value = train_state(own, {"v": v}).replace(target_params=None)
    actor = train_state(own, {"mean": [0.0], "log_std": [0.0]})
    state = agent(actor=actor, critic=critic, value=value)
    return UPDATE(state, BATCH, own, iql.Draws((), critics))


def test_value_moves_first_towards_the_expectile():
    new, metrics = updated(settings())
    assert_close(metrics["value/loss"], (0.7 * 0.4**2 + 0.3 * 0.5**2) / 2)
    assert_close(metrics["value/v_mean"], 2.5)
    assert_close(gradient(new.networks["value"])["v"], -(0.7 * 0.4 - 0.3 * 0.5))
    assert_close(new.networks["value"].params["v"], -0.3)
    assert new.networks["value"].target_params is None


@pytest.mark.parametrize(
    ("inverse_temperature", "weight"),
    [(2.0, np.exp(2 * ADVANTAGE)), (30.0, np.array([100.0, np.exp(-21.0)]))],
    ids=["exponential", "capped"],
)
def test_weights(inverse_temperature, weight):
    """The good action counts more, judged by the averaged critics and the new V. The gradient
    of -mean(weight log N(a; 0, 1)) towards the policy's mean is -mean(weight a)."""
    new, metrics = updated(settings(inverse_temperature=inverse_temperature))
    log_likelihood = -0.5 * ACTIONS**2 - 0.5 * np.log(2 * np.pi)
    assert_close(metrics["actor/advantage_mean"], ADVANTAGE.mean())
    assert_close(metrics["actor/weight_mean"], weight.mean())
    assert_close(metrics["actor/guidance_loss"], -np.mean(weight * log_likelihood))
    assert_close(gradient(new.networks["actor"])["mean"], [-np.mean(weight * ACTIONS)])


def test_critics_bootstrap_with_the_new_value():
    """Targets 1 + 0.9 (10 - 0.3) and, at the end of the task, 1."""
    own = settings(discount=0.9, tau=0.25)
    new, metrics = updated(own)
    target = np.array([9.73, 1.0])
    assert_close(metrics["critic/target_mean"], target.mean())
    errors = 3.0 + np.array(ONLINE) * ACTIONS - target
    assert_close(metrics["critic/loss"], np.square(errors).mean(axis=1).sum())
    critic, actor = new.networks["critic"], new.networks["actor"]
    assert_close(gradient(critic)["w"][:, 0], (2 * errors * ACTIONS).mean(axis=1), rtol=1e-4)
    assert_close(
        critic.target_params["w"], 0.75 * np.array(TARGET) + 0.25 * np.array(critic.params["w"])
    )
    assert_close(actor.target_params["mean"], 0.25 * actor.params["mean"])


def test_drawn_critics_judge():
    """The first critic alone says 3 + 2 a: errors (0.2, -1) + 0.5 to V."""
    _, metrics = updated(settings(), critics=jnp.array([0]))
    assert_close(metrics["value/loss"], (0.7 * 0.7**2 + 0.3 * 0.5**2) / 2)


def test_values_never_see_actions_outside_the_dataset():
    """The steps of V and of the critics do not change with the policy."""
    learner, batch = tiny_learner("edp_iql"), make_batch()
    state, other = (learner.init(jax.random.key(seed)) for seed in range(2))
    other = state.replace(networks=state.networks | {"actor": other.networks["actor"]})
    update = jax.jit(learner.update_step)
    (first, _), (second, _) = (update(s, batch, learner.settings) for s in (state, other))
    assert not same(first.networks["actor"].params, second.networks["actor"].params)
    for network in ("critic", "value"):
        assert same(first.networks[network], second.networks[network])


def test_the_gaussian_learner_acts_with_its_newest_policy():
    """As published; its average is a copy at all times."""
    learner, batch = tiny_learner("iql", ema_period=1, ema_start=2**31 - 1), make_batch()
    state = learner.init(jax.random.key(0)).replace(step=jnp.asarray(5_000_000))
    new, _ = jax.jit(learner.update_step)(state, batch, learner.settings)
    assert not same(new.networks["actor"].params, state.networks["actor"].params)
    assert_close(learner.policy_params(new), new.networks["actor"].params)
