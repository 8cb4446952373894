"""One whole TD3 update against the recorded one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from edp_jax import algorithms
from edp_jax.algorithms import base, edp, td3
from edp_jax.policy import DiffusionPolicy

HYPERS = base.Hypers(discount=0.99, tau=0.005, learning_rate=3e-4, weight_decay=0.0, grad_clip=5.0, eta=1.0)


class GivenActions(DiffusionPolicy):
    """A policy whose chain returns its starting noise: the draws then hold the target actions themselves."""

    def sample(self, params, observation, x_T, key):
        return x_T


@pytest.fixture
def setting(recordings):
    """(config, policy, critics, state) before the recorded update; the policy's average steps at every update there."""
    config = algorithms.AlgorithmConfig(hidden_dims=recordings.hidden_dims, ema_period=1, ema_start=0)
    policy, critics = edp.make_policy(config, recordings.spec), edp.make_critics(config, recordings.spec)
    params = recordings.load("params")

    def train_state(mapping, *, ensemble=False):
        online, target = (jax.tree.map(jnp.asarray, mapping(params, version)) for version in ("online", "target"))
        state = base.init_train_state(online, base.optimizer(config, HYPERS), ensemble=ensemble)
        return state.replace(target_params=target)

    actor, critic = train_state(recordings.actor), train_state(recordings.critics, ensemble=True)
    return config, policy, critics, edp.init_state(jax.random.key(0), actor, critic)


def draws(recorded, target_x_T) -> td3.Draws:
    return td3.Draws(
        corruption=edp.Corruption(recorded["t"], recorded["noise"]),
        target_x_T=jnp.asarray(target_x_T)[None],
        target_key=jax.random.key(0),
        guide=jnp.asarray({"qf1": 0, "qf2": 1}[str(recorded["guided_by"])]),
    )


def assert_same_parameters(ours, recorded, atol):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=atol), ours, recorded)


def test_whole_update(recordings, setting):
    """With the recorded target actions everything after them agrees to float32 rounding.

    With our own the critics differ by what the recorded clip does to the target actions, see test_diffusion.py; the policy's
    update does not see them at all.
    """
    config, policy, critics, state = setting
    recorded = recordings.load("td3")
    update = jax.jit(td3.make_update(config, GivenActions(*policy), critics))
    new, metrics = update(state, recordings.batch, HYPERS, draws(recorded, recorded["next_action"]))

    metric = {name.removeprefix("metric/"): value for name, value in recorded.items() if name.startswith("metric/")}
    expected = {
        "critic/loss": metric["qf_loss"],
        "critic/grad_norm": max(metric["qf1_grad_norm"], metric["qf2_grad_norm"]),
        "critic/q_mean": (metric["cur_q1"] + metric["cur_q2"]) / 2,
        "critic/target_mean": metric["tgt_q"],
        "actor/denoising_loss": metric["diff_loss"],
        "actor/guidance_loss": metric["guide_loss"],
        "actor/loss": metric["policy_loss"],
        "actor/grad_norm": metric["policy_grad_norm"],
    }
    for name, value in expected.items():
        np.testing.assert_allclose(metrics[name], value, rtol=2e-5, atol=1e-6, err_msg=name)
    # Adam's first step is 3e-4 in every parameter; the target networks move by 0.005 of it
    for ours, mapping in ((new.actor, recordings.actor), (new.critic, recordings.critics)):
        assert_same_parameters(ours.params, mapping(recorded, "updated"), atol=1e-6)
        assert_same_parameters(ours.target_params, mapping(recorded, "updated_target"), atol=5e-8)
    moved = jax.tree.map(lambda x, y: jnp.abs(x - y).max(), new.actor.params, state.actor.params)
    assert max(jax.tree.leaves(moved)) > 2e-4

    own_action = policy.sample(state.actor.target_params, recordings.batch.next_observation, recorded["a_K"], jax.random.key(0))
    np.testing.assert_allclose(own_action, np.clip(recorded["next_action"], -1.0, 1.0), atol=0.01)
    own, own_metrics = update(state, recordings.batch, HYPERS, draws(recorded, own_action))
    np.testing.assert_allclose(own_metrics["critic/loss"], metric["qf_loss"], rtol=5e-3)
    assert_same_parameters(own.actor.params, new.actor.params, atol=0.0)
    assert_same_parameters(own.critic.params, new.critic.params, atol=1e-4)
