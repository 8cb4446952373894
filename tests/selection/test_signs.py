"""Cheap signs, by hand."""

from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

from edp_jax import TaskSpec, algorithms
from edp_jax.algorithms import edp
from edp_jax.selection import signs
from edp_jax.types import Transition


def test_the_errors_of_critics():
    """Q - (r + gamma min Q'): 4 - (1 + 0.5 * 4) = 1, and 2 - (-1) = 3 where the task ends."""
    batch = Transition(
        np.zeros((2, 1)), np.zeros((2, 1)), np.array([1.0, -1.0]), np.array([1.0, 0.0]), None
    )
    q = np.array([[3.0, 2.0], [5.0, 2.0]])
    next_q = np.array([[[4.0], [20.0]], [[8.0], [30.0]]])  # means 6 and 25
    error, excess = signs.critic_signs(q, next_q, batch, discount=0.5, highest=10.0)
    assert error == pytest.approx(np.sqrt((1 + 9) / 2))
    assert excess == pytest.approx(15 / 2)


def test_the_distance_of_actions():
    chosen = np.array([[[0.0, 0.0], [1.0, 1.0]]])  # two actions at one observation
    assert signs.distance(chosen, np.array([[0.0, 1.0]])) == pytest.approx(np.sqrt(2 / 4))


def test_actions_between_the_modes_have_a_large_denoising_loss(monkeypatch):
    """The exact noise of two modes at -0.8 and 0.8: E[a | x] = 0.8 tanh(0.8 sqrt(abar) x / var)."""
    spec, settings = TaskSpec(1, 1), algorithms.settings("bc_diffusion", num_timesteps=100)
    policy = edp.diffusion_policy(settings, spec)
    alphas = jnp.asarray(policy.schedule.alphas_cumprod)

    def apply(params, observation, x, t):
        root, var = jnp.sqrt(alphas[t])[:, None], 1 - alphas[t][:, None]
        return (x - root * 0.8 * jnp.tanh(0.8 * root * x / var)) / jnp.sqrt(var)

    exact = policy._replace(network=policy.network._replace(apply=apply))
    monkeypatch.setattr(edp, "diffusion_policy", lambda *_: exact)
    state = SimpleNamespace(networks={"actor": SimpleNamespace(target_params=None)})

    def loss(action):
        rows = np.full((400, 1), action, np.float32)
        return signs.denoising_loss(
            settings, spec, state, Transition(rows, rows, rows[:, 0], rows[:, 0], rows), 0
        )

    assert loss(0.8) == pytest.approx(loss(-0.8), rel=0.2)
    assert loss(0.0) > 5 * loss(0.8) and loss(0.4) > 2 * loss(0.8)
