"""The loop that steps environments, in one whose numbers tell where they come from."""

import itertools
import types

import numpy as np
import pytest

from edp_jax import stepping


class Count:
    """Observes [seed, resets, steps since the last one]; an episode has `length` steps."""

    action_space = types.SimpleNamespace(shape=(1,), low=np.array([-1.0]), high=np.array([3.0]))

    def __init__(self, length, terminates=True):
        self.length, self.terminates, self.resets = length, terminates, 0

    def observe(self):
        return np.array([self.seed, self.resets, self.steps])

    def reset(self, *, seed=None):
        self.seed = self.seed if seed is None else seed
        self.resets, self.steps = self.resets + 1, 0
        return self.observe(), {}

    def step(self, action):
        self.steps += 1
        end = self.steps == self.length
        outcome = (float(action[0]), end and self.terminates, end and not self.terminates)
        return self.observe(), *outcome, {}


def ones(observation):
    return np.ones((len(observation), 1), np.float32)


def test_every_environment_runs_one_episode_and_stands_still():
    environments = [Count(1), Count(3, terminates=False)]
    steps = list(stepping.run(environments, ones, [7, 8], restart=False))
    assert len(steps) == 3
    stepped = [step.stepped.tolist() for step in steps]
    assert stepped == [[True, True], [False, True], [False, True]]
    np.testing.assert_array_equal([step.reward for step in steps], [[1, 1], [0, 1], [0, 1]])
    np.testing.assert_array_equal([step.terminated for step in steps], [[1, 0], [0, 0], [0, 0]])
    np.testing.assert_array_equal([step.truncated for step in steps], [[0, 0], [0, 0], [0, 1]])
    np.testing.assert_array_equal(steps[0].observation, [[7, 1, 0], [8, 1, 0]])
    np.testing.assert_array_equal(steps[-1].next_observation, [[7, 1, 1], [8, 1, 3]])
    assert [env.resets for env in environments] == [1, 1]


def test_with_restart_the_next_episode_follows_and_its_first_observation_is_no_next_one():
    endless = stepping.run([Count(2)], ones, [7], restart=True)
    steps = list(itertools.islice(endless, 3))
    np.testing.assert_array_equal(
        [step.observation[0, 1:] for step in steps], [[1, 0], [1, 1], [2, 0]]
    )
    following = [step.next_observation[0, 1:] for step in steps]
    np.testing.assert_array_equal(following, [[1, 1], [1, 2], [2, 1]])


def test_actions_are_those_that_the_environment_got():
    (step,) = stepping.run(
        [Count(1)], lambda observation: 9 * ones(observation), [0], restart=False
    )
    assert step.action.tolist() == [[3.0]] and step.reward.tolist() == [3.0]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_an_action_that_is_no_number_stops_its_environment_only(bad):
    actions = iter([[[0.5], [0.5]], [[bad], [0.5]], [[0.5], [0.5]]])
    steps = list(
        stepping.run([Count(3), Count(3)], lambda _: np.array(next(actions)), [0, 0], restart=False)
    )
    np.testing.assert_array_equal([step.stepped for step in steps], [[1, 1], [0, 1], [0, 1]])
    np.testing.assert_array_equal(
        [step.reward for step in steps], [[0.5, 0.5], [np.nan, 0.5], [0, 0.5]]
    )


def test_steps_keep_their_numbers_when_the_next_ones_are_taken():
    first, second = itertools.islice(stepping.run([Count(5)], ones, [0], restart=True), 2)
    np.testing.assert_array_equal(first.next_observation, second.observation)
    assert first.observation[0, 2] == 0 and second.observation[0, 2] == 1


def test_actions_of_another_shape_are_refused():
    with pytest.raises(AssertionError):
        next(stepping.run([Count(1)], lambda observation: np.ones(1), [0], restart=False))


def counting(calls):
    """Plans (1, 2) times the number of the call, kept in `calls`."""

    def act(observation):
        calls.append(observation)
        return len(calls) * np.array([[[0.1], [0.2]]] * len(observation), np.float32)

    return act


def test_plans_are_carried_out_each_by_its_environment():
    """Episodes of 3 and of 5 steps. Whoever has used up a plan, or begins an episode, gets the next
    one; the other keeps its own."""
    calls = []
    endless = stepping.run([Count(3), Count(5)], counting(calls), [7, 8], restart=True)
    steps = list(itertools.islice(endless, 7))
    taken = np.round([step.action[:, 0] for step in steps], 3)
    np.testing.assert_allclose(taken[:, 0], [0.1, 0.2, 0.2, 0.3, 0.6, 0.5, 0.6])
    np.testing.assert_allclose(taken[:, 1], [0.1, 0.2, 0.2, 0.4, 0.4, 0.5, 1.0])
    assert len(calls) == 6 and all(len(observation) == 2 for observation in calls)


def test_a_plan_of_one_action_is_an_action():
    def run(act):
        environments = [Count(2), Count(3)]
        return list(itertools.islice(stepping.run(environments, act, [0, 0], restart=True), 9))

    single = run(lambda observation: observation[:, 2:] / 9)
    for found, expected in zip(run(lambda o: o[:, None, 2:] / 9), single, strict=True):
        for left, right in zip(found, expected, strict=True):
            np.testing.assert_array_equal(left, right)


def test_nobody_plans_for_an_environment_that_stands_still():
    """Episodes of 1 and of 4 steps: the plan of the second is made anew at its third step."""
    calls = []
    steps = list(stepping.run([Count(1), Count(4)], counting(calls), [0, 0], restart=False))
    assert len(steps) == 4 and len(calls) == 2
    np.testing.assert_allclose([step.action[1, 0] for step in steps], [0.1, 0.2, 0.2, 0.4])
    assert [step.reward[0] for step in steps] == [np.float32(0.1), 0, 0, 0]


def test_plans_of_another_length_are_refused():
    lengths = iter([2, 3])
    plans = stepping.run([Count(9)], lambda _: np.ones((1, next(lengths), 1)), [0], restart=False)
    with pytest.raises(AssertionError):
        list(plans)


@pytest.mark.parametrize("wrong", [np.zeros(1), np.zeros(4), 0.0, np.zeros((1, 3)), [0, [1]]])
@pytest.mark.parametrize("where", ["reset", "step"])
def test_an_observation_of_another_size_is_refused(monkeypatch, wrong, where):
    """A single number would else be taken for every column."""
    environments = [Count(3), Count(3)]
    if where == "reset":
        monkeypatch.setattr(environments[1], "reset", lambda seed: (wrong, {}))
    else:
        monkeypatch.setattr(environments[1], "step", lambda action: (wrong, 0, False, False, {}))
    with pytest.raises(ValueError, match="shape"):
        list(stepping.run(environments, ones, [7, 8], restart=False))


def test_resets_and_steps_go_through_the_given_call():
    calls = []

    def call(function):
        calls.append(1)
        return function()

    steps = list(stepping.run([Count(2), Count(3)], ones, [7, 8], restart=False, call=call))
    assert len(calls) == 1 + len(steps) == 4
