"""Whole updates of EDP-TD3, EDP-CRR and EDP-IQL against the recorded ones.

The recorded target actions are fed in, and then everything after them agrees to float32 rounding;
test_diffusion.py says how our own target actions differ.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from edp_jax import algorithms, layers, networks
from edp_jax.algorithms import AgentState, base, crr, edp, iql, td3
from edp_jax.networks import Network
from edp_jax.policy import Corruption, DiffusionPolicy


class Setting(NamedTuple):
    """What the updates were recorded with, and the state before them."""

    settings: Any
    policy: DiffusionPolicy
    critics: Network
    value: Network
    state: AgentState


@pytest.fixture
def setting(recordings):
    """make(name) -> the setting; the policy's average steps at every update."""

    def make(name: str) -> Setting:
        own = algorithms.settings(
            name, hidden_dims=recordings.hidden_dims, ema_period=1, ema_start=0
        )
        sizes = own.hidden_dims, own.activation, False
        value = networks.make_value(recordings.spec, *sizes)
        policy = edp.diffusion_policy(own, recordings.spec)
        critics, params = edp.make_critics(own, recordings.spec), recordings.load("params")

        def train_state(mapping, *, is_ensemble=False):
            online, target = (
                jax.tree.map(jnp.asarray, mapping(params, version))
                for version in ("online", "target")
            )
            network = Network(lambda key: online, lambda: None, is_ensemble)
            state = base.init_train_state(network, jax.random.key(0), base.optimizer(own))
            return state.replace(target_params=target)

        state = AgentState(
            jnp.zeros((), jnp.int32),
            jax.random.key(0),
            {
                "actor": train_state(recordings.actor),
                "critic": train_state(recordings.critics, is_ensemble=True),
                "value": train_state(recordings.value),
            },
        )
        return Setting(own, policy, critics, value, state)

    return make


def corruption(recorded) -> Corruption:
    return Corruption(recorded["t"], recorded["noise"])


def targets(recorded) -> edp.TargetDraws:
    """TD3's recorded target actions, and CRR's: batch, noise and policy are the same."""
    return edp.TargetDraws(jnp.asarray(recorded["next_action"])[None], None)


def assert_metrics(metrics, recorded, names: dict[str, str]):
    for ours, theirs in names.items():
        np.testing.assert_allclose(
            metrics[ours], recorded[f"metric/{theirs}"], rtol=3e-5, atol=1e-6, err_msg=ours
        )


def assert_updated(recordings, new, recorded):
    """Adam's first step is 3e-4 in every parameter; the averages move by 0.005 of it."""
    for name, mapping in (("actor", recordings.actor), ("critic", recordings.critics)):
        ours = new.networks[name]
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
    own, policy, critics, _, state = setting("edp_td3")
    recorded = recordings.load("td3")
    guide = jnp.asarray({"qf1": 0, "qf2": 1}[str(recorded["guided_by"])])
    draws = td3.Draws(corruption(recorded), targets(recorded), guide)
    update = jax.jit(td3.make_update(policy, critics))
    new, metrics = update(state, recordings.batch, own, draws)
    names = {"critic/loss": "qf_loss", "critic/target_mean": "tgt_q"}
    assert_metrics(metrics, recorded, POLICY | names)
    assert_updated(recordings, new, recorded)


def test_crr(recordings, setting, monkeypatch):
    """The recorded baseline actions are not clipped, a fault there; they are fed as they are."""
    own, policy, critics, _, state = setting("edp_crr")
    recorded = recordings.load("crr")
    actions = jnp.asarray(recorded["baseline_actions"])
    monkeypatch.setattr(crr, "baseline_actions", lambda prediction, noise: noise)
    draws = crr.Draws(corruption(recorded), targets(recorded), actions)
    update = jax.jit(crr.make_update(policy, critics))
    new, metrics = update(state, recordings.batch, own, draws)
    names = {
        "critic/loss": "qf_loss",
        "actor/advantage_mean": "adv",
        "actor/weight_mean": "lmbda",
    }
    assert_metrics(metrics, recorded, POLICY | names)
    np.testing.assert_allclose(metrics["actor/weight_mean"], recorded["weight"].mean(), rtol=1e-5)
    assert_updated(recordings, new, recorded)


def test_iql(recordings, setting):
    own, policy, critics, value, state = setting("edp_iql")
    recorded = recordings.load("iql")
    update = jax.jit(iql.make_update(policy, critics, value))
    new, metrics = update(state, recordings.batch, own, iql.Draws(corruption(recorded), None))
    names = {"value/loss": "vf_loss", "value/v_mean": "vf_pred"}
    assert_metrics(metrics, recorded, POLICY | names)
    expected = recorded["metric/qf1_loss"] + recorded["metric/qf2_loss"]
    np.testing.assert_allclose(metrics["critic/loss"], expected, rtol=3e-5)
    assert_updated(recordings, new, recorded)
    expected = recordings.value(recorded, "updated")
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, atol=1e-6),
        new.networks["value"].params,
        expected,
    )


def matmul_of_a_tpu(parts: int):
    """`ops.matmul` from products of bfloat16 numbers that are added in float32.

    Each input is split into a rounded number, the rounded rest of it, and so on. Products of parts
    that are too small together are left out: one part has one product (jax_default_matmul_precision
    bfloat16), two have three (tensorfloat32), three have six (float32).
    """

    def einsum(letters, x, y):
        pairs = [(i, j) for i in range(parts) for j in range(parts - i)]
        x_parts, y_parts = split(x), split(y)
        smallest_first = sorted(pairs, key=sum, reverse=True)
        return sum(jnp.einsum(letters, x_parts[i], y_parts[j]) for i, j in smallest_first)

    def split(x):
        found = []
        for _ in range(parts):
            found.append(jax.lax.reduce_precision(x, exponent_bits=8, mantissa_bits=7))
            x = x - found[-1]
        return found

    @jax.custom_vjp
    def matmul(x, kernel):
        return einsum("...i,io->...o", x, kernel)

    def backward(inputs, gradient):
        x, kernel = inputs
        rows, gradients = (each.reshape(-1, each.shape[-1]) for each in (x, gradient))
        return (
            einsum("...o,io->...i", gradient, kernel),
            einsum("ni,no->io", rows, gradients),
        )

    matmul.defvjp(lambda x, kernel: (matmul(x, kernel), (x, kernel)), backward)
    return matmul


def distance(found, expected) -> float:
    """The norm of the difference, in units of the norm of what is expected."""
    difference = jax.tree.map(jnp.subtract, found, expected)
    return float(optax.tree.norm(difference) / optax.tree.norm(expected))


def test_what_bfloat16_passes_change_in_an_update(recordings, setting, monkeypatch):
    """Sampled actions and the gradients of EDP-TD3's policy and critics, as a TPU computes them."""
    own, policy, critics, _, state = setting("edp_td3")
    recorded, batch = recordings.load("td3"), recordings.batch
    draws = td3.Draws(corruption(recorded), targets(recorded), jnp.asarray(0))
    chain = policy.draw_chain(jax.random.key(0), batch.action.shape)

    def figures(state):
        params = state.networks["actor"].target_params
        new, _ = td3.make_update(policy, critics)(state, batch, own, draws)
        moments = [new.networks[name].opt_state[1][0].mu for name in ("actor", "critic")]
        return policy.run_chain(params, batch.next_observation, chain), *moments

    def compute(matmul):
        monkeypatch.setattr(layers, "matmul", matmul)
        lowered = jax.jit(lambda state: figures(state)).lower(state)  # anew for every `matmul`
        return lowered.compile({"xla_backend_optimization_level": 0})(state)  # sooner

    exact = compute(layers.matmul)
    errors = [list(map(distance, compute(matmul_of_a_tpu(n)), exact)) for n in (1, 2, 3)]
    np.testing.assert_allclose(errors[0], [7e-4, 2.3e-2, 6.5e-3], rtol=0.1)  # as in docs/tpu.md
    # nearly float32's own errors, which depend on the processor
    np.testing.assert_allclose(errors[1], [5e-7, 2.5e-5, 1.3e-5], rtol=1.0)
    np.testing.assert_array_less(errors[2], 1e-6)
