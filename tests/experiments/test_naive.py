"""The benchmark's yardstick: from the same state, batch and random numbers it makes the same update as the library."""

import jax
import numpy as np

from edp_jax import TaskSpec, Transition, algorithms
from experiments import naive


def test_a_naive_update_is_an_update():
    config = algorithms.AlgorithmConfig(hidden_dims=(32, 32, 32), ema_start=1, ema_period=2)
    spec = TaskSpec(5, 3)
    algorithm, hypers = algorithms.make("td3", config, spec), algorithms.Hypers(tau=0.1)
    rng = np.random.default_rng(0)
    batch = Transition(
        observation=rng.standard_normal((16, 5), np.float32),
        action=rng.uniform(-1, 1, (16, 3)).astype(np.float32),
        reward=rng.standard_normal(16, np.float32),
        discount=(rng.uniform(size=16) < 0.8).astype(np.float32),
        next_observation=rng.standard_normal((16, 5), np.float32),
    )
    ours = theirs = jax.jit(algorithm.init)(jax.random.key(0))
    ours_step, naive_step = jax.jit(algorithm.update_step), jax.jit(naive.make_update(config))
    for _ in range(4):
        ours, metrics = ours_step(ours, batch, hypers)
        theirs, naive_metrics = naive_step(theirs, batch, hypers)
        for name, value in naive_metrics.items():
            np.testing.assert_allclose(value, metrics[name], rtol=1e-4)
    for name in ("actor", "critic"):
        ours_of, theirs_of = getattr(ours, name), getattr(theirs, name)
        for field in ("params", "target_params"):
            jax.tree.map(
                lambda x, y: np.testing.assert_allclose(x, y, atol=2e-5),
                getattr(ours_of, field),
                getattr(theirs_of, field),
            )
    moved = jax.tree.map(
        lambda x, y: float(np.abs(x - y).max()), theirs.critic.target_params, theirs.critic.params
    )
    assert (
        max(jax.tree.leaves(moved)) > 1e-4
    )  # the averages lag behind: they were compared for themselves
