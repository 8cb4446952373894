"""IDQL: a policy that only clones, IQL's values, and a choice by expectile weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from edp_jax.algorithms import idql
from edp_jax.types import TaskSpec

from .builders import (
    CONSTANT_DIFFUSION,
    LINEAR_CRITICS,
    SHIFTED_VALUE,
    assert_close,
    make_batch,
    tiny_learner,
    tiny_settings,
)

DRAWS = 4000


def shares(q, v, expectile: float) -> np.ndarray:
    """How often each of M candidates is drawn, per row: [M, rows]."""

    def choose(key):
        return idql.choose_by_expectile(q, v, expectile, jax.random.gumbel(key, q.shape))

    chosen = jax.vmap(choose)(jax.random.split(jax.random.key(0), DRAWS))
    return np.array([np.mean(chosen == candidate, axis=0) for candidate in range(len(q))])


def test_actions_above_v_have_the_weight_tau():
    """Of three candidates one lies above V in the first row, two in the second; tau is 0.9."""
    q = jnp.array([[3.0, 5.1], [1.0, 4.9], [1.9, 100.0]])
    expected = np.array([[0.9, 0.9], [0.1, 0.1], [0.1, 0.9]]) / np.array([1.1, 1.9])
    tolerance = 4 * np.sqrt(expected * (1 - expected) / DRAWS)
    assert np.all(np.abs(shares(q, jnp.array([2.0, 5.0]), 0.9) - expected) < tolerance)


@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_the_unit_of_the_values_does_not_matter(scale):
    q, v = jnp.array([[3.0], [1.0], [1.9]]), jnp.array([2.0])
    assert_close(shares(scale * q, scale * v, 0.8), shares(q, v, 0.8), atol=0)


def test_the_best_expectile_never_takes_an_action_below_v():
    assert_close(shares(jnp.array([[1.0], [3.0], [0.0]]), jnp.array([2.0]), 1.0), [[0], [1], [0]])


def updated(name: str):
    """(state, metrics) after one update of a tiny learner, the same draws for every name."""
    learner = tiny_learner(name)
    state = jax.jit(learner.init)(jax.random.key(0))
    return jax.jit(learner.update_step)(state, make_batch(), learner.settings)


def test_its_values_are_those_of_iql_and_its_policy_only_clones():
    """From the same draws its critics take EDP-IQL's step. Guidance adds nothing to the loss."""
    state, metrics = updated("idql")
    other, _ = updated("edp_iql")
    for network in ("critic", "value"):
        assert_close(state.networks[network].params, other.networks[network].params)
    assert_close(metrics["actor/guidance_loss"], 0.0)
    assert_close(metrics["actor/loss"], metrics["actor/denoising_loss"])


def test_acting_takes_actions_above_v(monkeypatch):
    """At tau = 1 only candidates whose smallest Q is above V are left: here those below 0."""
    settings = tiny_settings("idql", expectile=1.0, num_candidates=50)
    monkeypatch.setattr(idql.edp, "make_critics", lambda *_: LINEAR_CRITICS)
    monkeypatch.setattr(idql.edp, "diffusion_policy", lambda *_: CONSTANT_DIFFUSION)
    monkeypatch.setattr(idql.iql, "make_value", lambda *_: SHIFTED_VALUE)
    params = {
        "actor": {"eps": jnp.zeros(1)},
        "critic": {"w": jnp.array([[-1.0], [-2.0]])},  # min_i Q_i = s - max(a, 2 a)
        "value": {"v": jnp.array(0.0)},  # V = s
    }
    observation = jnp.linspace(-3.0, 3.0, 40)[:, None]
    act = idql.make(settings, TaskSpec(1, 1)).act
    action = act(params, observation, jax.random.key(0))
    assert np.all(action < 0.0)
    below = act(params | {"value": {"v": jnp.array(-9.0)}}, observation, jax.random.key(0))
    assert np.any(below > 0.0)  # V below all values: nothing is excluded


def test_v_of_the_newest_network_acts():
    state, _ = updated("idql")
    assert_close(idql.policy_params(state)["value"], state.networks["value"].params)
