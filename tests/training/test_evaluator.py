"""Evaluation speaks the environment's units: raw observations, actions in their own box."""

import jax
import numpy as np

from edp_jax.algorithms.base import evaluation_key
from edp_jax.evaluation import Episodes
from edp_jax.training import evaluator
from edp_jax.training.trainer import Trainer
from edp_jax.types import EnvSpec, Units

UNITS = Units(
    observation_mean=np.array([1.0, -2.0, 0.5], np.float32),
    observation_std=np.array([2.0, 0.5, 1.0], np.float32),
    action_low=np.array([-1.0, 10.0], np.float32),
    action_high=np.array([1.0, 30.0], np.float32),
)


def test_actions_reach_the_environment_in_its_own_box(monkeypatch, tiny_learner, tiny_rows):
    learner = tiny_learner()
    state = Trainer(learner, tiny_rows(), seeds=(4, 9), batch_size=8).init()
    observation = np.random.default_rng(0).normal(size=(2, 50, 3)).astype(np.float32)
    actions = []

    def rollout(act, environment, *, seeds, max_envs):
        assert max_envs == 100
        actions.append(act(observation, 7))
        return Episodes(np.full(seeds.shape, 5.0), np.ones(seeds.shape, int))

    monkeypatch.setattr(evaluator, "rollout", rollout)
    evaluate = evaluator.make_evaluate(
        learner,
        EnvSpec("hopper"),
        units=UNITS,
        seeds=(4, 9),
        num_episodes=50,
        reference_scores=(0.0, 20.0),
    )
    result = evaluate(state)
    assert np.all(result.scores == 25.0) and result.unit == "score"

    keys = jax.vmap(jax.random.fold_in, in_axes=(0, None))(jax.vmap(evaluation_key)(state), 7)
    normalised = (observation - UNITS.observation_mean) / UNITS.observation_std
    inner = jax.vmap(learner.act)(jax.vmap(learner.policy_params)(state), normalised, keys)
    expected = np.array([0.0, 20.0]) + np.array([1.0, 10.0]) * inner
    np.testing.assert_allclose(actions[0], expected, atol=1e-4)
    assert actions[0][..., 1].min() >= 10.0 and np.ptp(actions[0][..., 1]) > 5.0


def test_environment_seeds_are_distinct_and_repeatable():
    seeds = np.stack([evaluator.episode_seeds((0, 1), step, 5) for step in (0, 1000)])
    assert len(np.unique(seeds)) == seeds.size
    np.testing.assert_array_equal(seeds[1], evaluator.episode_seeds((0, 1), 1000, 5))


def test_without_reference_scores_the_values_are_returns():
    returns = np.array([[1.0, 2.0]])
    result = evaluator.Evaluation(returns, np.ones((1, 2), int), None)
    assert result.unit == "return" and result.values is returns
