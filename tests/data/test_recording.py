"""Recording of steps, in an environment whose numbers tell where they come from."""

import types

import numpy as np
import pytest

from edp_jax.data.recording import concatenate, in_box, record, uniform
from edp_jax.types import InputError


class Counter:
    """Observes [its seed, number of resets, steps since the last one].

    An episode terminates or is cut off after `length` steps.
    """

    observation_space = types.SimpleNamespace(shape=(3,))
    action_space = types.SimpleNamespace(shape=(1,), low=np.array([-2.0]), high=np.array([6.0]))

    def __init__(self, length=100, terminates=False):
        self.length, self.terminates, self.resets = length, terminates, 0

    def observe(self):
        return np.array([self.seed, self.resets, self.steps], np.float64)

    def reset(self, *, seed=None):
        self.seed = self.seed if seed is None else seed
        self.resets, self.steps = self.resets + 1, 0
        return self.observe(), {}

    def step(self, action):
        self.steps += 1
        end = self.steps == self.length
        return (
            self.observe(),
            float(action[0]),
            end and self.terminates,
            end and not self.terminates,
            {},
        )


def run(environments, act, num_transitions, seed=0):
    lines = []
    recording = record(
        environments, act, num_transitions, seed=seed, title="counted", progress=lines.append
    )
    return recording.complete(), lines


def steps_since_reset(observations, rng):
    return observations[:, 2:]


def test_rows_are_consecutive_per_environment_and_the_last_is_a_timeout():
    raw, lines = run([Counter(3, terminates=True), Counter(3)], steps_since_reset, 8, seed=5)
    np.testing.assert_array_equal(
        raw.observations[:, 0], [10] * 4 + [11] * 4
    )  # 2 environments: seeds 2 * 5 and 2 * 5 + 1
    np.testing.assert_array_equal(raw.observations[:, 1:], [[1, 0], [1, 1], [1, 2], [2, 0]] * 2)
    np.testing.assert_array_equal(
        raw.next_observations[:, 1:], [[1, 1], [1, 2], [1, 3], [2, 1]] * 2
    )
    np.testing.assert_array_equal(raw.actions[:, 0], [0, 1, 2, 0] * 2)
    np.testing.assert_array_equal(raw.rewards, raw.actions[:, 0])
    np.testing.assert_array_equal(raw.terminals, [0, 0, 1, 0, 0, 0, 0, 0])
    np.testing.assert_array_equal(raw.timeouts, [0, 0, 0, 1, 0, 0, 1, 1])
    assert lines == ["  counted: 8 transitions, 100 %, 0 s left"]


def test_a_number_that_does_not_divide_cuts_the_last_environment_earlier():
    raw, _ = run([Counter(), Counter()], steps_since_reset, 5)
    np.testing.assert_array_equal(raw.observations[:, 2], [0, 1, 2, 0, 1])
    np.testing.assert_array_equal(raw.timeouts, [0, 0, 1, 0, 1])


def test_actions_are_clipped_to_the_box():
    raw, _ = run([Counter()], lambda observations, rng: np.array([[100.0]]), 2)
    np.testing.assert_array_equal(raw.actions, [[6], [6]])


def test_a_policy_that_diverged_is_refused():
    with pytest.raises(InputError, match="a NaN or infinite action"):
        run([Counter()], lambda observations, rng: np.array([[np.nan]]), 2)


class Broken(Counter):
    """Its fourth step has a number of the given kind, or fails."""

    def __init__(self, kind):
        super().__init__()
        self.kind = kind

    def step(self, action):
        observation, reward, *rest = super().step(action)
        if self.steps == 4:
            if self.kind == "error":
                raise RuntimeError("the arm\nis stuck")
            if self.kind == "reward":
                reward = 1e39  # infinite in float32
            else:
                observation[1] = np.nan
        return observation, reward, *rest


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("error", "the arm\nis stuck"),
        ("reward", "infinite reward in environment 1"),
        ("observation", "infinite observation in environment 1"),
    ],
)
def test_what_an_environment_recorded_before_it_fails_is_kept(kind, says):
    environments = [Counter(2), Broken(kind)]
    raw, error = record(
        environments, steps_since_reset, 20, seed=0, title="counted", progress=lambda line: None
    )
    assert says in str(error)
    np.testing.assert_array_equal(raw.observations[:, 2], [0, 1, 0, 0, 1, 2])
    np.testing.assert_array_equal(raw.next_observations[:, 2], [1, 2, 1, 1, 2, 3])
    np.testing.assert_array_equal(raw.timeouts, [0, 1, 1, 0, 0, 1])
    assert not raw.terminals.any()


def test_without_a_single_step_there_is_nothing_to_keep():
    def fail():
        raise KeyError("stop")

    steps, error = record(
        [Counter()], steps_since_reset, 3, seed=0, title="counted", check_stop=fail
    )
    assert steps is None and isinstance(error, KeyError)


def test_actions_are_mapped_from_the_unit_box():
    act = in_box(
        lambda observations, rng: observations, np.array([-2.0, 0.0]), np.array([6.0, 1.0])
    )
    np.testing.assert_array_equal(
        act(np.array([[-1, -1], [0, 0], [1, 1]]), None), [[-2, 0], [2, 0.5], [6, 1]]
    )


def test_random_actions_are_uniform():
    actions = uniform(2)(np.zeros((10_000, 3)), np.random.default_rng(0))
    assert actions.shape == (10_000, 2) and actions.dtype == np.float32
    quarters = np.stack([np.histogram(column, 4, (-1, 1))[0] for column in actions.T])
    assert np.all(
        np.abs(quarters - 2500) < 4 * np.sqrt(10_000 * 0.25 * 0.75)
    )  # four standard deviations


@pytest.mark.parametrize("high", [[np.inf, 1.0], [1.0, np.nan], [1.0, 1e10]])
def test_a_box_without_bounds_is_refused(high):
    with pytest.raises(InputError, match="need bounds"):
        in_box(uniform(2), np.array([-1.0, -1.0]), np.array(high))


def test_parts_follow_each_other():
    parts = [run([Counter()], steps_since_reset, size, seed)[0] for seed, size in ((3, 2), (4, 3))]
    whole = concatenate(parts)
    np.testing.assert_array_equal(whole.observations[:, 0], [3, 3, 4, 4, 4])
    np.testing.assert_array_equal(whole.timeouts, [0, 1, 0, 0, 1])
    assert whole.action_low is None
