"""CRR: the advantage, its weight, and the baseline, inside whole updates."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from edp_jax.algorithms import crr, edp
from edp_jax.policy import Prediction

from .builders import (
    CONSTANT_GAUSSIAN,
    LINEAR_CRITICS,
    agent,
    assert_close,
    gradient,
    make_batch,
    rows,
    tiny_learner,
    tiny_settings,
    train_state,
)

UPDATE = crr.make_update(CONSTANT_GAUSSIAN, LINEAR_CRITICS)
# Two actions at s = 3. Q_i = w_i a + s with w = (2, -1), so min_i Q_i = 3 + min(2 a, -a). The
# policy is N(0, 1), and its two actions are 0.2 and -0.4.
#   the dataset's actions 0.1 and -0.5:  3 - 0.1 and 3 - 1.0
#   the policy's actions:                3 - 0.2 and 3 - 0.8, mean 3 - 0.5, maximum 3 - 0.2
ACTIONS, ONLINE, TARGET = np.array([0.1, -0.5]), [[2.0], [-1.0]], [[1.0], [-3.0]]
BATCH = rows(s=3.0, a=ACTIONS, r=1.0, next_s=10.0)
ADVANTAGES = {"mean": np.array([0.4, -0.5]), "max": np.array([0.1, -0.8])}


def settings(**changes):
    changes = dict(learning_rate=1.0, grad_clip=0.0, ema_period=1) | changes
    return tiny_settings("crr", num_target_critics=0, **changes)


def updated(own, policy_actions=(0.2, -0.4), next_action=0.5):
    critic = train_state(own, {"w": ONLINE}, {"w": TARGET}, ensemble=True)
    actor = train_state(own, {"mean": [0.0], "log_std": [0.0]})
    noise = jnp.broadcast_to(jnp.asarray(policy_actions)[:, None, None], (2, 2, 1))
    target = edp.TargetDraws(jnp.full((1, 2, 1), next_action), None)
    state = agent(actor=actor, critic=critic)
    return UPDATE(state, BATCH, own, crr.Draws((), target, noise))


@pytest.mark.parametrize("baseline", ["mean", "max"])
@pytest.mark.parametrize(
    ("changes", "weigh"),
    [
        (dict(crr_weight="exponential", crr_beta=2.0), lambda a: np.exp(a / 2)),
        (dict(crr_weight="exponential", crr_beta=0.02), lambda a: np.minimum(np.exp(50 * a), 20)),
        (dict(crr_weight="indicator"), lambda a: np.array([1.0, 0.0])),
        (
            dict(crr_weight="softmax", crr_beta=2.0),
            lambda a: 2 * np.exp(a / 2) / np.exp(a / 2).sum(),
        ),
    ],
    ids=["exponential", "capped", "indicator", "softmax"],
)
def test_weights(changes, weigh, baseline):
    """The good action counts more than the bad one. The loss is -mean(weight log N(a; 0, 1)), whose
    gradient towards the policy's mean is -mean(weight a). The critics' own step changes nothing."""
    new, metrics = updated(settings(crr_baseline=baseline, **changes))
    advantage = ADVANTAGES[baseline]
    weight = weigh(advantage)
    log_likelihood = -0.5 * ACTIONS**2 - 0.5 * np.log(2 * np.pi)
    assert_close(metrics["actor/advantage_mean"], advantage.mean())
    assert_close(metrics["actor/weight_mean"], weight.mean())
    assert_close(metrics["actor/guidance_loss"], -np.mean(weight * log_likelihood))
    assert_close(gradient(new.networks["actor"])["mean"], [-np.mean(weight * ACTIONS)])


def test_target():
    """1 + 0.9 (min(0.5, -1.5) + 10), with the averaged critics."""
    own = settings(discount=0.9, tau=0.25)
    new, metrics = updated(own)
    assert_close(metrics["critic/target_mean"], 8.65)
    critic, actor = new.networks["critic"], new.networks["actor"]
    assert_close(
        critic.target_params["w"], 0.75 * np.array(TARGET) + 0.25 * np.array(critic.params["w"])
    )
    assert_close(actor.target_params["mean"], 0.25 * actor.params["mean"])


def test_baseline_actions_stay_in_the_box_and_pass_no_gradient():
    noise = jnp.array([[[3.0, 0.2]], [[-0.4, -9.0]]])

    def baseline(action, std):
        return crr.baseline_actions(Prediction(action, std, None, None), noise)

    action = jnp.array([[0.9, -0.5]])
    assert_close(baseline(action, jnp.ones(2)), jnp.array([[[1.0, -0.3]], [[0.5, -1.0]]]))
    small = jnp.array([0.5, 0.1])
    assert_close(baseline(action, small), jnp.array([[[1.0, -0.48]], [[0.7, -1.0]]]))
    summed = lambda action, std: baseline(action, std).sum()  # noqa: E731
    assert_close(jax.grad(summed, argnums=(0, 1))(action, small), (jnp.zeros((1, 2)), jnp.zeros(2)))


@pytest.mark.parametrize("name", ["edp_crr", "crr"])
def test_draws(name):
    """Baseline noise is standard normal and different for each of the actions."""
    learner, batch = tiny_learner(name, num_baseline_actions=3), make_batch(500)
    params = learner.draw_params(learner.init(jax.random.key(0)))
    draws = jax.jit(learner.draw)(jax.random.key(1), params, batch)
    noise = np.asarray(draws.baseline_noise)
    assert noise.shape == (3, 500, 2)
    assert abs(noise.mean()) < 4 / np.sqrt(noise.size)
    assert abs(noise.var() - 1) < 4 * np.sqrt(2 / noise.size)
    assert draws.target.next_action.shape == (2, 500, 2)


def test_the_gaussian_policys_spread_is_learned():
    """d/dlog_std of -log N(a; 0, std) is 1 - a^2 at std = 1, weighted and averaged."""
    new, _ = updated(settings(crr_weight="indicator"))
    assert_close(gradient(new.networks["actor"])["log_std"], [(1 - 0.1**2) / 2])
