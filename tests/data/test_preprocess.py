"""Episode ends, transitions, returns, normalisation and reward transforms on hand-made arrays."""

import dataclasses
import json

import numpy as np
import pytest

from edp_jax.data import preprocess
from edp_jax.data.raw import RawDataset
from edp_jax.types import InputError


def dataset(terminals, timeouts, rewards=None, following=None) -> RawDataset:
    steps = len(terminals)
    observations = np.arange(steps, dtype=np.float32)[:, None] + np.array([0.0, 100.0], np.float32)
    return RawDataset(
        observations=observations,
        actions=np.linspace(-0.5, 0.5, steps, dtype=np.float32)[:, None],
        rewards=np.asarray(np.ones(steps) if rewards is None else rewards, np.float32),
        terminals=np.array(terminals, bool),
        timeouts=np.array(timeouts, bool),
        next_observations=following,
    )


def test_episode_ends_are_terminals_timeouts_and_the_last_row():
    raw = dataset([0, 1, 0, 0, 0, 0], [0, 0, 0, 1, 0, 0])
    np.testing.assert_array_equal(preprocess.episode_ends(raw), [0, 1, 0, 1, 0, 1])
    np.testing.assert_array_equal(raw.terminals, [0, 1, 0, 0, 0, 0])


def test_next_observation_is_that_of_the_following_row():
    transitions = preprocess.to_transitions(dataset([0, 0, 1], [0, 0, 0]))
    np.testing.assert_array_equal(transitions.next_observation[:2], [[1, 101], [2, 102]])
    assert transitions.next_observation.dtype == np.float32


def test_terminal_is_kept_with_discount_0_and_never_sees_the_next_episode():
    transitions = preprocess.to_transitions(dataset([0, 1, 0, 1], [0, 0, 0, 0]))
    np.testing.assert_array_equal(transitions.discount, [1, 0, 1, 0])
    np.testing.assert_array_equal(transitions.next_observation[:, 0], [1, 1, 3, 3])


def test_last_step_before_a_timeout_is_dropped_and_the_others_bootstrap():
    # Rows 0-2 time out, rows 3-4 end in a terminal: row 2 has no next observation, and row 1 keeps discount 1.
    transitions = preprocess.to_transitions(dataset([0, 0, 0, 0, 1], [0, 0, 1, 0, 0]))
    np.testing.assert_array_equal(transitions.observation[:, 0], [0, 1, 3, 4])
    np.testing.assert_array_equal(transitions.next_observation[:, 0], [1, 2, 4, 4])
    np.testing.assert_array_equal(transitions.discount, [1, 1, 1, 0])
    assert transitions.size == 4


def test_no_transition_crosses_from_one_episode_to_the_next():
    transitions = preprocess.to_transitions(dataset([0, 0, 1, 0, 0, 0], [0, 1, 0, 0, 1, 0]))
    steps = transitions.next_observation[:, 0] - transitions.observation[:, 0]
    assert set(steps[transitions.discount == 1]) == {1.0}
    assert set(steps[transitions.discount == 0]) == {0.0}


def test_last_row_of_a_file_cut_mid_episode_is_dropped():
    transitions = preprocess.to_transitions(dataset([0, 0, 0], [0, 0, 0]))
    np.testing.assert_array_equal(transitions.observation[:, 0], [0, 1])


def test_step_that_is_terminal_and_timeout_counts_as_terminal():
    transitions = preprocess.to_transitions(dataset([0, 1, 0, 0], [0, 1, 0, 1]))
    np.testing.assert_array_equal(transitions.observation[:, 0], [0, 1, 2])
    np.testing.assert_array_equal(transitions.discount, [1, 0, 1])


def test_with_next_observations_timeouts_are_kept_and_bootstrap():
    following = np.array([[10, 0], [20, 0], [30, 0], [40, 0]], np.float32)
    transitions = preprocess.to_transitions(
        dataset([0, 0, 0, 1], [0, 1, 0, 0], following=following)
    )
    np.testing.assert_array_equal(transitions.next_observation, following)
    np.testing.assert_array_equal(transitions.discount, [1, 1, 1, 0])


def test_conversion_leaves_the_dataset_untouched():
    raw = dataset([0, 1, 0, 1], [0, 0, 0, 0])
    before = raw.observations.copy()
    preprocess.to_transitions(raw)
    np.testing.assert_array_equal(raw.observations, before)


def test_dataset_of_timeouts_only_is_refused():
    with pytest.raises(InputError, match="no transition.*add next_observations"):
        preprocess.to_transitions(dataset([0, 0], [1, 1]))


def test_episode_returns_sum_each_episode_in_float64():
    raw = dataset([0, 1, 0, 0, 0], [0, 0, 0, 1, 0], rewards=[1, 2, 3, 4, 5])
    returns = preprocess.episode_returns(raw)
    np.testing.assert_array_equal(returns, [1 + 2, 3 + 4, 5])
    assert returns.dtype == np.float64


def test_normalization_is_per_dimension():
    observations = np.array([[0, 10], [2, 30]], np.float32)
    mean, std = preprocess.normalization(observations)
    np.testing.assert_array_equal(mean, [1, 20])
    np.testing.assert_array_equal(
        std, [1, 10]
    )  # sqrt(mean((x - mean)^2)) of (0, 2) and of (10, 30)
    assert mean.dtype == std.dtype == np.float32


def test_constant_columns_get_std_1_even_where_their_computed_std_is_not_0():
    constant = np.full((1000, 1), -0.69, np.float32)
    varying = np.tile(np.array([[0.0], [1e-5]], np.float32), (500, 1))
    jitter = np.tile(
        np.array([[1.0], [np.nextafter(np.float32(1), np.float32(2))]], np.float32), (500, 1)
    )
    observations = np.hstack([constant, varying, jitter, np.zeros_like(constant)])
    _, std = preprocess.normalization(observations)
    np.testing.assert_array_equal(
        preprocess.constant_columns(observations), [True, False, True, True]
    )
    np.testing.assert_allclose(std, [1, 5e-6, 1, 1], rtol=1e-6)


def with_actions(actions) -> RawDataset:
    actions = np.asarray(actions, np.float32)
    return dataclasses.replace(dataset([0] * len(actions), [0] * len(actions)), actions=actions)


def test_the_first_known_action_box_is_taken():
    raw = with_actions([[0.5, -0.5], [0.0, 1.0]])
    given, declared = ((-2.0,), (2.0,)), (np.array([-1.0, -3.0]), np.array([1.0, 3.0]))
    np.testing.assert_array_equal(preprocess.action_box(raw, given, declared), [[-2, -2], [2, 2]])
    np.testing.assert_array_equal(preprocess.action_box(raw, None, declared), [[-1, -3], [1, 3]])
    unbounded = (np.array([-np.inf, -1.0]), np.array([np.inf, 1.0]))
    np.testing.assert_array_equal(
        preprocess.action_box(raw, None, unbounded, declared), [[-1, -3], [1, 3]]
    )
    np.testing.assert_array_equal(preprocess.action_box(raw, None, unbounded), [[-1, -1], [1, 1]])


def test_actions_outside_their_box_are_counted_and_located():
    raw = with_actions([[0.0, 0.5], [1.000005, 2.5], [0.0, -1.5]])  # 1.000005: rounding
    with pytest.raises(InputError) as error:
        preprocess.action_box(raw)
    message = str(error.value)
    assert (
        "2 action values outside their box, the first 2.5 in row 1, column 1 (box: -1.0 to 1.0)"
        in message
    )
    assert "--config.action_low and --config.action_high" in message and "\n" not in message
    low, high = preprocess.action_box(raw, ((-1.0, -2.5), (1.0, 2.5)))
    assert preprocess.scale_actions(raw.actions, low, high)[1, 0] == np.float32(0.999)


@pytest.mark.parametrize(
    ("box", "says"),
    [
        (((-1.0,) * 3, (1.0,) * 3), "3 numbers, actions have 2"),
        (((-1.0, 1.0), (1.0,)), "empty in column 1"),
    ],
)
def test_useless_action_boxes_are_refused(box, says):
    with pytest.raises(InputError, match=says):
        preprocess.action_box(with_actions([[0.0, 0.0]] * 2), box)


def test_actions_are_scaled_per_column_and_clipped():
    low, high = np.array([-2.0, 10.0], np.float32), np.array([2.0, 20.0], np.float32)
    scaled = preprocess.scale_actions(np.array([[1.0, 15.0], [-2.0, 20.0]], np.float32), low, high)
    np.testing.assert_allclose(scaled, [[0.5, 0.0], [-0.999, 0.999]], rtol=1e-6)
    assert scaled.dtype == np.float32


def test_actions_of_the_learners_own_box_keep_their_bits():
    actions = np.random.default_rng(0).uniform(-0.99, 0.99, (100, 3)).astype(np.float32)
    np.testing.assert_array_equal(
        preprocess.scale_actions(actions, -np.ones(3, np.float32), np.ones(3, np.float32)), actions
    )


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("none", [0, 1, 3, 0]),
        ("antmaze", [-2, 2, 10, -2]),  # 4 (r - 0.5)
        ("iql_antmaze", [-1, 0, 2, -1]),  # r - 1
        (
            "standardize",
            np.array([-1, 0, 2, -1]) / np.sqrt(1.5),
        ),  # mean 1, variance (1 + 0 + 4 + 1) / 4
        ("iql_locomotion", [0, 500, 1500, 0]),  # returns 1 and 3: 1000 r / 2
    ],
)
def test_transform_rewards(kind, expected):
    raw = dataset([0, 1, 0, 1], [0, 0, 0, 0], rewards=[0, 1, 3, 0])
    rewards = preprocess.transform_rewards(raw.rewards, raw, kind)
    np.testing.assert_allclose(rewards, expected, rtol=1e-6)
    assert rewards.dtype == np.float32


@pytest.mark.parametrize("kind", ["standardize", "iql_locomotion"])
def test_rewards_without_spread_cannot_be_scaled(kind):
    raw = dataset([0, 1, 0, 1], [0, 0, 0, 0])
    with pytest.raises(InputError, match=f"'{kind}'.*nothing to scale; use 'none'"):
        preprocess.transform_rewards(raw.rewards, raw, kind)


def test_unknown_reward_transform_names_the_nearest():
    raw = dataset([0, 1], [0, 0])
    with pytest.raises(InputError, match="'standardise': unknown; use 'standardize'"):
        preprocess.transform_rewards(raw.rewards, raw, "standardise")


def test_summary():
    raw = dataset([0, 1, 0, 0], [0, 0, 0, 1], rewards=[1, 2, 3, 6])
    summary = preprocess.summarize(raw)
    assert summary == {
        "transitions": 4,
        "episodes": 2,
        "terminals": 1,
        "timeouts": 1,
        "observation_dim": 2,
        "action_dim": 1,
        "return": {"min": 3.0, "mean": 6.0, "max": 9.0},
        "observation_range": [0.0, 103.0],
        "action_range": [-0.5, 0.5],
        "constant_columns": [],
    }
    assert json.loads(json.dumps(summary)) == summary


def test_a_summary_is_told_in_lines():
    summary = preprocess.summarize(dataset([0, 1, 0, 0], [0, 0, 0, 1], rewards=[1, 2, 3, 6])) | {
        "constant_columns": [0, 1, 2, 7]
    }
    assert preprocess.describe(summary).splitlines() == [
        "  4 transitions in 2 episodes, 1 terminals, 1 timeouts",
        "  return of an episode: min 3, mean 6, max 9",
        "  observations [2] from 0 to 103, constant columns: 0-2, 7",
        "  actions [1] from -0.5 to 0.5",
    ]
