import gymnasium
import numpy as np
import pytest

from edp_jax.evaluation import envs
from edp_jax.evaluation.rollout import Fault, rollout, run_episodes
from edp_jax.types import EnvSpec


class Countdown(gymnasium.Env):
    """Terminates after `seed` steps, is cut off after `limit`; pays its action.

    Observes (seed, steps so far).
    """

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float32)
    action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)

    def __init__(self, limit=100):
        self.limit, self.steps_taken = limit, 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.length, self.step_count = seed, 0
        return np.array([seed, 0], np.float32), {}

    def step(self, action):
        self.step_count += 1
        self.steps_taken += 1
        terminated = self.step_count >= self.length
        truncated = self.step_count >= self.limit
        return (
            np.array([self.length, self.step_count], np.float32),
            float(action[0]),
            terminated,
            truncated,
            {},
        )


def half(observation, step):
    return np.full((*observation.shape[:2], 1), 0.5)


def test_each_episode_is_run_once_to_its_own_end():
    seeds = np.array([[1, 5, 3], [4, 2, 6]])
    environments = [Countdown() for _ in range(6)]
    episodes = run_episodes(half, environments, seeds)
    np.testing.assert_array_equal(episodes.lengths, seeds)
    np.testing.assert_allclose(episodes.returns, 0.5 * seeds)
    assert episodes.returns.dtype == np.float64
    assert [env.steps_taken for env in environments] == [
        1,
        5,
        3,
        4,
        2,
        6,
    ]  # none goes on after its end


def test_truncation_ends_an_episode():
    episodes = run_episodes(half, [Countdown(limit=4), Countdown(limit=4)], np.array([[50, 3]]))
    np.testing.assert_array_equal(episodes.lengths, [[4, 3]])


@pytest.mark.parametrize("num_environments", [2, 4, 5, 10])
def test_waves_do_not_favour_short_episodes(num_environments):
    seeds = np.array([[1, 9, 1, 9, 2], [1, 1, 7, 1, 8]])
    episodes = run_episodes(half, [Countdown() for _ in range(num_environments)], seeds)
    np.testing.assert_array_equal(episodes.lengths, seeds)
    np.testing.assert_allclose(episodes.returns, 0.5 * seeds)


def test_act_is_called_once_per_step_with_a_running_number_and_every_slot():
    calls = []

    def act(observation, step):
        calls.append((observation.shape, observation.dtype, step))
        return half(observation, step)

    run_episodes(act, [Countdown() for _ in range(4)], np.array([[2, 3, 4], [1, 1, 1]]))
    # waves of two episodes, then one: 3 steps (the longer of 2, 3), then 4
    assert calls == [((2, 2, 2), np.float32, step) for step in range(3)] + [
        ((2, 1, 2), np.float32, step) for step in range(3, 7)
    ]


def test_actions_reach_the_environment_of_their_seed_and_episode():
    def act(observation, step):
        return np.array([[[0.1], [0.2]], [[0.3], [0.4]]])

    episodes = run_episodes(act, [Countdown() for _ in range(4)], np.full((2, 2), 10))
    np.testing.assert_allclose(episodes.returns, [[1.0, 2.0], [3.0, 4.0]])


def test_the_policy_sees_the_latest_observation():
    def act(observation, step):
        np.testing.assert_array_equal(
            observation[..., 1], [[min(step, 2), step]]
        )  # the first episode ends at step 2
        return half(observation, step)

    episodes = run_episodes(act, [Countdown(), Countdown()], np.array([[2, 5]]))
    np.testing.assert_array_equal(episodes.lengths, [[2, 5]])


@pytest.mark.parametrize(("low", "high"), [(-1, 1), (-2, 5)])
def test_actions_are_clipped_to_the_box_of_the_environment(low, high):
    env = Countdown()
    env.action_space = gymnasium.spaces.Box(low, high, (1,), np.float32)
    episodes = run_episodes(
        lambda o, step: np.full((1, 1, 1), [7.0, -7.0, 0.5][step]), [env], np.array([[3]])
    )
    assert episodes.returns[0, 0] == high + low + 0.5


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_an_episode_with_an_action_that_is_not_finite_does_not_count(bad):
    def act(observation, step):
        return np.array([[[0.5]], [[bad if step == 1 else 0.5]]])

    episodes = run_episodes(act, [Countdown(), Countdown()], np.array([[4], [4]]))
    assert episodes.returns[0, 0] == 2.0
    assert np.isnan(episodes.returns[1, 0])
    assert episodes.lengths.tolist() == [[4], [-1]]
    assert episodes.faults == (Fault(1, 0, 1, "action"),)


def test_an_error_of_a_guarded_environment_is_told_and_ends_its_episode_alone(monkeypatch):
    class Breaking(Countdown):
        def step(self, action):
            if self.step_count == 2:
                raise ZeroDivisionError("no joint")
            return super().step(action)

    monkeypatch.setattr(envs, "make", lambda *_: [Countdown(), Breaking()])
    seeds = np.array([[5, 5]])
    with pytest.raises(ZeroDivisionError):
        rollout(half, EnvSpec("breaking"), seeds=seeds)
    episodes = rollout(half, EnvSpec("breaking"), seeds=seeds, guard=True)
    assert episodes.lengths.tolist() == [[5, -1]]
    assert episodes.faults == (Fault(0, 1, 3, "reward", "ZeroDivisionError: no joint"),)


def test_hopper_repeats_with_the_same_seeds():
    def act(observation, step):
        return np.tanh(observation[..., :3] + 0.1 * step)

    seeds = np.array([[0, 1], [2, 3]])
    hopper = EnvSpec("hopper")
    first = rollout(act, hopper, seeds=seeds)
    np.testing.assert_array_equal(rollout(act, hopper, seeds=seeds).returns, first.returns)
    np.testing.assert_array_equal(
        rollout(act, hopper, seeds=seeds[:, ::-1]).returns, first.returns[:, ::-1]
    )
    assert len(np.unique(first.returns)) == 4


def test_max_envs_bounds_the_simulators_and_not_the_episodes(monkeypatch):
    made = []

    def make(environment, num_envs):
        made.append(num_envs)
        return [Countdown() for _ in range(num_envs)]

    monkeypatch.setattr(envs, "make", make)
    seeds = np.arange(1, 13).reshape(3, 4)
    for max_envs in (100, 12, 7, 1):
        np.testing.assert_array_equal(
            rollout(half, EnvSpec("countdown"), seeds=seeds, max_envs=max_envs).lengths, seeds
        )
    assert made == [12, 12, 6, 3]  # at least one per training seed


def test_plans_are_taken_step_by_step_and_calls_are_counted():
    """Two policies, two episodes each; the actions of call i are i / 10 and i / 5."""
    calls = []

    def act(observation, call):
        calls.append((observation.shape, call))
        return np.broadcast_to([[call / 10], [call / 5]], (2, 2, 2, 1))

    episodes = run_episodes(act, [Countdown() for _ in range(4)], np.array([[1, 2], [3, 4]]))
    np.testing.assert_array_equal(episodes.lengths, [[1, 2], [3, 4]])
    np.testing.assert_allclose(episodes.returns, [[0, 0], [0.1, 0.3]])
    assert calls == [((2, 2, 2), 0), ((2, 2, 2), 1)]
