"""Evaluation speaks the environment's units: raw observations, actions in their own box."""

import dataclasses

import gymnasium
import jax
import numpy as np
import pytest

from edp_jax import algorithms
from edp_jax.algorithms.base import evaluation_key
from edp_jax.evaluation import Episodes, Fault
from edp_jax.evaluation.rollout import run_episodes
from edp_jax.training import evaluator, loop
from edp_jax.training.trainer import Trainer
from edp_jax.types import EnvSpec, InputError, TaskSpec, Units

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

    def rollout(act, environment, *, seeds, max_envs, **options):
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


class Simulator:
    """Two steps long; in episodes with an odd seed `broken` gets NaN at step 2."""

    action_space = gymnasium.spaces.Box(-1.0, 1.0, (2,))
    observation_space = gymnasium.spaces.Box(-9.0, 9.0, (3,))

    def __init__(self, broken=None):
        self.broken, self.seed, self.steps = broken, 0, 0

    def reset(self, seed=None):
        self.seed, self.steps = seed, 0
        return np.zeros(3, np.float32), {}

    def step(self, action):
        self.steps += 1
        nan = np.nan if self.seed % 2 and self.steps == 2 else 0.0
        observation = np.full(3, nan if self.broken == "observation" else 0.0, np.float32)
        reward = 1.0 + (nan if self.broken == "reward" else 0.0)
        return observation, reward, self.steps == 2, False, {}


@pytest.mark.parametrize("what", ["observation", "reward"])
@pytest.mark.parametrize("num_envs", [2, 6])
def test_an_episode_in_which_the_environment_gives_nan_does_not_count(what, num_envs):
    simulators = [Simulator(what) for _ in range(num_envs)]
    seeds = np.array([[0, 2, 4], [6, 8, 1]])
    episodes = run_episodes(
        lambda observation, step: np.zeros((*observation.shape[:2], 2)), simulators, seeds
    )
    assert episodes.faults == (Fault(1, 2, 2, what),)
    np.testing.assert_array_equal(episodes.lengths, [[2, 2, 2], [2, 2, -1]])
    np.testing.assert_array_equal(episodes.returns, [[2, 2, 2], [2, 2, np.nan]])
    means = evaluator.Evaluation(episodes.returns, episodes.lengths, None).means
    np.testing.assert_array_equal(means, [2.0, 2.0])


def test_without_an_episode_that_counts_there_is_no_mean():
    result = evaluator.Evaluation(np.full((2, 1), np.nan), np.array([[-1], [3]]), None)
    assert np.isnan(result.means).all()


def test_environment_faults_name_seed_episode_and_step(monkeypatch, tiny_learner, tiny_rows):
    learner = tiny_learner()

    def rollout(act, environment, *, seeds, max_envs, **options):
        faults = Fault(0, 1, 4, "reward"), Fault(0, 2, 0, "observation", "OSError: no level")
        return Episodes(np.array([[1.0, np.nan, np.nan]]), np.array([[5, -1, -1]]), faults)

    monkeypatch.setattr(evaluator, "rollout", rollout)
    evaluate = evaluator.make_evaluate(
        learner, EnvSpec("hopper"), units=UNITS, seeds=(4,), num_episodes=3
    )
    result = evaluate(Trainer(learner, tiny_rows(), seeds=(4,), batch_size=8).init())
    assert result.faults == (
        "seed 4, episode 1: the environment gave a NaN or infinite reward at step 4; the episode "
        "does not count",
        "seed 4, episode 2: the environment failed at its reset (OSError: no level); the episode "
        "does not count",
    )


@pytest.fixture
def evaluate_with(monkeypatch, tiny_learner, tiny_rows):
    """evaluate_with(rollout, diverged=(-1, -1)): seeds 4 and 9 evaluated, one episode each."""
    learner = tiny_learner()

    def evaluate(rollout, diverged=(-1, -1)):
        monkeypatch.setattr(evaluator, "rollout", rollout)
        state = loop.init_members(learner, (4, 9))
        state = dataclasses.replace(state, diverged=np.array(diverged, np.int32))
        return evaluator.make_evaluate(
            learner, EnvSpec("hopper"), units=UNITS, seeds=(4, 9), num_episodes=1
        )(state)

    return evaluate


def test_an_evaluation_that_fails_is_tried_once_more(evaluate_with, capfd):
    tries = []

    def rollout(act, environment, *, seeds, **_):
        tries.append(1)
        if len(tries) == 1:
            raise OSError("the display is gone")
        return Episodes(np.full(seeds.shape, 5.0), np.ones(seeds.shape, int))

    assert evaluate_with(rollout).returns.tolist() == [[5.0], [5.0]] and len(tries) == 2
    assert "OSError: the display is gone; tried once more" in capfd.readouterr().err


def test_one_that_fails_twice_says_why(evaluate_with):
    def rollout(*_, **__):
        raise TimeoutError("it takes longer than 60 s")

    with pytest.raises(InputError, match="'hopper': TimeoutError: it takes longer than 60 s"):
        evaluate_with(rollout)


def test_a_member_that_has_diverged_does_not_act(evaluate_with):
    """Its episodes end at once and do not count; nothing more is said about them."""

    def rollout(act, environment, *, seeds, **_):
        return run_episodes(act, [Simulator(), Simulator()], seeds)

    result = evaluate_with(rollout, diverged=(-1, 7))
    assert result.lengths.tolist() == [[2], [-1]] and result.faults == ()
    np.testing.assert_array_equal(result.means, [2.0, np.nan])


class OldApi(Simulator):
    def reset(self):
        return np.zeros(3)


class FourResults(Simulator):
    def step(self, action):
        return np.zeros(3), 0.0, False, {}


class NoDisplay(Simulator):
    def step(self, action):
        raise RuntimeError("no display\nset DISPLAY" + 500 * "x")


class OtherShape(Simulator):
    def step(self, action):
        return np.zeros(4), 0.0, False, False, {}


class NoReward(Simulator):
    def step(self, action):
        return np.zeros(3), None, False, False, {}


@pytest.mark.parametrize("simulator", [OldApi, FourResults, NoDisplay, OtherShape, NoReward])
def test_an_environment_is_reset_and_stepped_before_a_run_counts_on_it(monkeypatch, simulator):
    monkeypatch.setattr(evaluator.envs, "make", lambda environment, number: (simulator(),))
    with pytest.raises(InputError, match="environment 'x': its first reset and step fail") as told:
        evaluator.check_environment(EnvSpec("x"))
    assert len(str(told.value)) <= 300 and "\n" not in str(told.value)
    monkeypatch.setattr(evaluator.envs, "make", lambda environment, number: (Simulator(),))
    evaluator.check_environment(EnvSpec("x"))


def test_chunks_reach_the_environment_as_plans(monkeypatch):
    learner = algorithms.make("bc", algorithms.settings("bc", hidden_dims=(8,)), TaskSpec(3, 2, 4))
    state = loop.init_members(learner, (4, 9))
    observation = np.random.default_rng(0).normal(size=(2, 5, 3)).astype(np.float32)
    plans = []

    def rollout(act, environment, *, seeds, max_envs, **options):
        plans.append(act(observation, 0))
        return Episodes(np.full(seeds.shape, 5.0), np.ones(seeds.shape, int))

    monkeypatch.setattr(evaluator, "rollout", rollout)
    for execute in (None, 3):
        evaluator.make_evaluate(
            learner,
            EnvSpec("hopper"),
            units=UNITS,
            seeds=(4, 9),
            num_episodes=5,
            execute=execute,
        )(state)
    assert plans[0].shape == (2, 5, 4, 2) and plans[0][..., 1].min() >= 10.0
    np.testing.assert_array_equal(plans[1], plans[0][:, :, :3])
