"""Whole updates of TD3, CRR and IQL against the recorded ones.

The recorded target actions are fed in, and then everything after them agrees to float32 rounding; test_diffusion.py says how
our own target actions differ.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from edp_jax import algorithms, networks
from edp_jax.algorithms import AgentState, base, crr, edp, iql, td3
from edp_jax.policy import Corruption

HYPERS = base.Hypers(
    discount=0.99,
    tau=0.005,
    learning_rate=3e-4,
    weight_decay=0.0,
    grad_clip=5.0,
    eta=1.0,
    crr_beta=1.0,
)
HYPERS = HYPERS.replace(expectile=0.7, iql_temperature=3.0)


@pytest.fixture
def setting(recordings):
    """(config, policy, critics, value, state) before the recorded updates; the policy's average steps at every update."""
    config = algorithms.AlgorithmConfig(
        hidden_dims=recordings.hidden_dims, ema_period=1, ema_start=0
    )
    policy, critics = (
        edp.make_policy(config, recordings.spec),
        edp.make_critics(config, recordings.spec),
    )
    value = networks.make_value(recordings.spec, config.hidden_dims, config.activation, False)
    params = recordings.load("params")

    def train_state(mapping, *, ensemble=False):
        online, target = (
            jax.tree.map(jnp.asarray, mapping(params, version)) for version in ("online", "target")
        )
        state = base.init_train_state(online, base.optimizer(config, HYPERS), ensemble=ensemble)
        return state.replace(target_params=target)

    actor, critic = train_state(recordings.actor), train_state(recordings.critics, ensemble=True)
    state = AgentState(
        jnp.zeros((), jnp.int32), jax.random.key(0), actor, critic, train_state(recordings.value)
    )
    return config, policy, critics, value, state


def corruption(recorded) -> Corruption:
    return Corruption(recorded["t"], recorded["noise"])


def targets(recorded) -> edp.TargetDraws:
    """TD3's recording holds the target actions of CRR's, too: batch, noise and policy are the same."""
    return edp.TargetDraws(jnp.asarray(recorded["next_action"])[None], None)


def assert_metrics(metrics, recorded, names: dict[str, str]):
    for ours, theirs in names.items():
        np.testing.assert_allclose(
            metrics[ours], recorded[f"metric/{theirs}"], rtol=3e-5, atol=1e-6, err_msg=ours
        )


def assert_updated(recordings, new, recorded):
    """Adam's first step is 3e-4 in every parameter; the averages move by 0.005 of it."""
    for ours, mapping in ((new.actor, recordings.actor), (new.critic, recordings.critics)):
        for params, version, atol in (
            (ours.params, "updated", 1e-6),
            (ours.target_params, "updated_target", 5e-8),
        ):
            expected = mapping(recorded, version)
            jax.tree.map(
                lambda x, y, atol=atol: np.testing.assert_allclose(x, y, atol=atol),
                params,
                expected,
            )


POLICY = {
    "actor/denoising_loss": "diff_loss",
    "actor/guidance_loss": "guide_loss",
    "actor/loss": "policy_loss",
    "actor/grad_norm": "policy_grad_norm",
}


def test_td3(recordings, setting):
    config, policy, critics, _, state = setting
    recorded = recordings.load("td3")
    guide = jnp.asarray({"qf1": 0, "qf2": 1}[str(recorded["guided_by"])])
    draws = td3.Draws(corruption(recorded), targets(recorded), guide, None)
    new, metrics = jax.jit(td3.make_update(config, policy, critics))(
        state, recordings.batch, HYPERS, draws
    )
    assert_metrics(
        metrics, recorded, {**POLICY, "critic/loss": "qf_loss", "critic/target_mean": "tgt_q"}
    )
    assert_updated(recordings, new, recorded)


def test_crr(recordings, setting, monkeypatch):
    """The recorded baseline actions are not clipped (a fault there); here they are fed as they are."""
    config, policy, critics, _, state = setting
    recorded = recordings.load("crr")
    monkeypatch.setattr(
        crr, "baseline_actions", lambda prediction, noise: jnp.asarray(recorded["baseline_actions"])
    )
    draws = crr.Draws(corruption(recorded), targets(recorded), None)
    new, metrics = jax.jit(crr.make_update(config, policy, critics))(
        state, recordings.batch, HYPERS, draws
    )
    names = {
        **POLICY,
        "critic/loss": "qf_loss",
        "actor/advantage_mean": "adv",
        "actor/weight_mean": "lmbda",
    }
    assert_metrics(metrics, recorded, names)
    np.testing.assert_allclose(metrics["actor/weight_mean"], recorded["weight"].mean(), rtol=1e-5)
    assert_updated(recordings, new, recorded)


def test_iql(recordings, setting):
    config, policy, critics, value, state = setting
    recorded = recordings.load("iql")
    update = jax.jit(iql.make_update(config, policy, critics, value))
    new, metrics = update(state, recordings.batch, HYPERS, iql.Draws(corruption(recorded), None))
    names = {"value/loss": "vf_loss", "value/v_mean": "vf_pred"}
    assert_metrics(metrics, recorded, {**POLICY, **names})
    expected = recorded["metric/qf1_loss"] + recorded["metric/qf2_loss"]
    np.testing.assert_allclose(metrics["critic/loss"], expected, rtol=3e-5)
    assert_updated(recordings, new, recorded)
    expected = recordings.value(recorded, "updated")
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, atol=1e-6), new.value.params, expected
    )
