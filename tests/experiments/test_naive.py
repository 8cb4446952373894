"""The benchmark's yardstick makes the same update as the library, from the same random numbers."""

import jax
import numpy as np

from edp_jax import TaskSpec, Transition, algorithms
from experiments import naive


def test_a_naive_update_is_an_update() -> None:
    settings = algorithms.settings(
        "edp_td3", hidden_dims=(32, 32, 32), ema_start=1, ema_period=2, tau=0.1
    )
    algorithm = algorithms.make("edp_td3", settings, TaskSpec(5, 3))
    rng = np.random.default_rng(0)
    batch = Transition(
        observation=rng.standard_normal((16, 5), np.float32),
        action=rng.uniform(-1, 1, (16, 3)).astype(np.float32),
        reward=rng.standard_normal(16, np.float32),
        discount=(rng.uniform(size=16) < 0.8).astype(np.float32),
        next_observation=rng.standard_normal((16, 5), np.float32),
    )
    ours = theirs = jax.jit(algorithm.init)(jax.random.key(0))
    ours_step, naive_step = jax.jit(algorithm.update_step), jax.jit(naive.make_update(settings))
    for _ in range(4):
        ours, metrics = ours_step(ours, batch, settings)
        theirs, naive_metrics = naive_step(theirs, batch, settings)
        for name, value in naive_metrics.items():
            np.testing.assert_allclose(value, metrics[name], rtol=1e-4)
    assert ours.networks.keys() == theirs.networks.keys()
    for name, network in ours.networks.items():
        for field in ("params", "target_params"):
            jax.tree.map(
                lambda x, y: np.testing.assert_allclose(x, y, atol=2e-5),
                getattr(network, field),
                getattr(theirs.networks[name], field),
            )
    critic = theirs.networks["critic"]
    lag = jax.tree.map(lambda x, y: np.abs(x - y).max(), critic.target_params, critic.params)
    assert max(jax.tree.leaves(lag)) > 1e-4  # the averages were compared for themselves
