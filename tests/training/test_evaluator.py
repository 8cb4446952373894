"""Evaluation speaks the environment's units: observations before normalisation, actions in their own box."""

import jax
import numpy as np

from edp_jax import TaskSpec, algorithms
from edp_jax.evaluation import Episodes
from edp_jax.training import evaluator, loop
from edp_jax.types import EnvSpec

SPEC = TaskSpec(3, 2)
CONFIG = algorithms.AlgorithmConfig(hidden_dims=(16, 16), num_timesteps=10, sampler_calls=3)
UNITS = {
    "observation_mean": np.array([1.0, -2.0, 0.5], np.float32),
    "observation_std": np.array([2.0, 0.5, 1.0], np.float32),
    "action_low": np.array([-1.0, 10.0], np.float32),
    "action_high": np.array([1.0, 30.0], np.float32),
}


def test_actions_reach_the_environment_in_its_own_box(monkeypatch):
    algorithm = algorithms.make("td3", CONFIG, SPEC)
    state = loop.init_seeds(algorithm, (4, 9))
    observation = np.random.default_rng(0).normal(size=(2, 50, 3)).astype(np.float32)
    actions = []

    def rollout(act, environment, *, seeds, max_envs):
        assert max_envs == 100
        actions.append(act(observation, 7))
        return Episodes(np.full(seeds.shape, 5.0), np.ones(seeds.shape, int))

    monkeypatch.setattr(evaluator, "rollout", rollout)
    evaluate = evaluator.make_evaluate(
        algorithm,
        EnvSpec("hopper"),
        (0.0, 20.0),
        UNITS,
        seeds=(4, 9),
        num_episodes=50,
        check_stop=lambda: None,
    )
    assert np.all(evaluate(state).scores == 25.0)

    keys = jax.vmap(jax.random.fold_in, in_axes=(0, None))(
        jax.vmap(evaluator.evaluation_key)(state), 7
    )
    normalised = (observation - UNITS["observation_mean"]) / UNITS["observation_std"]
    inner = jax.vmap(algorithm.act)(algorithms.policy_params(state), normalised, keys)
    np.testing.assert_allclose(
        actions[0], np.array([0.0, 20.0]) + np.array([1.0, 10.0]) * inner, atol=1e-4
    )
    assert actions[0][..., 1].min() >= 10.0 and np.ptp(actions[0][..., 1]) > 5.0
