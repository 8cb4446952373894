"""Episode ends, transitions, returns and statistics of hand-made arrays."""

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


def test_next_observation_is_that_of_the_following_row(paired):
    transitions = paired(dataset([0, 0, 1], [0, 0, 0]))
    np.testing.assert_array_equal(transitions.next_observation[:2], [[1, 101], [2, 102]])
    assert transitions.next_observation.dtype == np.float32


def test_terminal_is_kept_with_discount_0_and_never_sees_the_next_episode(paired):
    transitions = paired(dataset([0, 1, 0, 1], [0, 0, 0, 0]))
    np.testing.assert_array_equal(transitions.discount, [1, 0, 1, 0])
    np.testing.assert_array_equal(transitions.next_observation[:, 0], [1, 1, 3, 3])


def test_last_step_before_a_timeout_is_dropped_and_the_others_bootstrap(paired):
    # Rows 0-2 time out, rows 3-4 end in a terminal: row 2 has no next observation.
    transitions = paired(dataset([0, 0, 0, 0, 1], [0, 0, 1, 0, 0]))
    np.testing.assert_array_equal(transitions.observation[:, 0], [0, 1, 3, 4])
    np.testing.assert_array_equal(transitions.next_observation[:, 0], [1, 2, 4, 4])
    np.testing.assert_array_equal(transitions.discount, [1, 1, 1, 0])
    assert transitions.size == 4


def test_no_transition_crosses_from_one_episode_to_the_next(paired):
    transitions = paired(dataset([0, 0, 1, 0, 0, 0], [0, 1, 0, 0, 1, 0]))
    steps = transitions.next_observation[:, 0] - transitions.observation[:, 0]
    assert set(steps[transitions.discount == 1]) == {1.0}
    assert set(steps[transitions.discount == 0]) == {0.0}


def test_last_row_of_a_file_cut_mid_episode_is_dropped(paired):
    transitions = paired(dataset([0, 0, 0], [0, 0, 0]))
    np.testing.assert_array_equal(transitions.observation[:, 0], [0, 1])


def test_step_that_is_terminal_and_timeout_counts_as_terminal(paired):
    transitions = paired(dataset([0, 1, 0, 0], [0, 1, 0, 1]))
    np.testing.assert_array_equal(transitions.observation[:, 0], [0, 1, 2])
    np.testing.assert_array_equal(transitions.discount, [1, 0, 1])


def test_with_next_observations_timeouts_are_kept_and_bootstrap(paired):
    following = np.array([[10, 0], [20, 0], [30, 0], [40, 0]], np.float32)
    transitions = paired(dataset([0, 0, 0, 1], [0, 1, 0, 0], following=following))
    np.testing.assert_array_equal(transitions.next_observation, following)
    np.testing.assert_array_equal(transitions.discount, [1, 1, 1, 0])


def test_conversion_leaves_the_dataset_untouched(paired):
    raw = dataset([0, 1, 0, 1], [0, 0, 0, 0])
    before = raw.observations.copy()
    paired(raw)
    np.testing.assert_array_equal(raw.observations, before)


def test_dataset_of_timeouts_only_is_refused(paired):
    with pytest.raises(InputError, match="no transition.*add next_observations"):
        paired(dataset([0, 0], [1, 1]))


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


@pytest.mark.parametrize(("start", "step"), [(1.7e9, 5.0), (1.7e18, 5e9)])
def test_a_clock_too_far_from_0_for_float32_counts_as_constant_and_becomes_0(start, step):
    clock = (start + step * np.arange(200)[:, None]).astype(np.float32)
    mean, std = preprocess.normalization(clock)
    assert preprocess.constant_columns(clock).all() and np.ptp(clock) >= 512
    np.testing.assert_allclose((clock - mean) / std, 0, atol=1e-6)


def test_a_column_on_an_offset_gets_mean_0_and_standard_deviation_1():
    column = (1e6 + 10 * np.random.default_rng(0).normal(size=(5000, 1))).astype(np.float32)
    mean, std = preprocess.normalization(column)
    normal = (column - mean) / std
    np.testing.assert_allclose([normal.mean(), normal.std()], [0, 1], atol=5e-3)


def lasting(*columns) -> list[bool]:
    """Which of columns [N + 1], each one recording, last from step to step."""
    steps = np.stack(columns, axis=1).astype(np.float32)
    follows = np.ones(len(steps) - 1, bool)
    return preprocess.lasting_columns(steps[:-1], steps[1:], follows).tolist()


def test_what_lasts_is_told_from_noise_in_any_unit():
    """E d^2 / v is near 0 for a slow wave, 2 for noise, 1 for a sum in which both are equal."""
    rng, size = np.random.default_rng(0), 20_000
    wave, noise = np.sqrt(2) * np.sin(np.arange(size) / 300), rng.normal(size=size)
    assert lasting(wave, noise, 1e-4 * wave, 1e4 * noise) == [True, False, True, False]
    assert lasting(wave + 0.8 * noise, wave + 1.25 * noise) == [True, False]
    assert lasting(np.full(size, 7.0)) == [False]


def test_square_waves_by_hand():
    """Of period 2 m, 2 of 2 m changes are of size 2: E d^2 = 4 / m, and the variance is 1."""
    square = [np.resize([1.0] * m + [-1.0] * m, 2401) for m in (3, 6)]
    assert lasting(*square) == [False, True]  # 4 / 3 and 4 / 6


def test_after_the_end_of_a_task_nothing_has_changed():
    """The next observation is the same again there, and must not count as lasting.

    A square wave of period 6 has changes in the rows 2, 5, 8, ...: of the even rows a third.
    """
    wave = np.resize([1.0] * 3 + [-1.0] * 3, 1200).astype(np.float32)[:, None]
    follows = np.arange(1199) % 2 == 0
    following = np.where(follows[:, None], wave[1:], wave[:-1])
    assert preprocess.lasting_columns(wave[:-1], following, follows).tolist() == [False]
    nothing = np.zeros(1199, bool)
    assert preprocess.lasting_columns(wave[:-1], wave[:-1], nothing).tolist() == [False]


def test_no_deviation_is_below_the_typical_one():
    """The median of 1, 4 and 6 is 4; the column of noise, of 0.1, does not count in it."""
    std, lasts = np.array([1.0, 0.1, 4.0, 6.0]), np.array([True, False, True, True])
    np.testing.assert_array_equal(preprocess.at_least_typical(std, lasts), [4, 4, 4, 6])
    np.testing.assert_array_equal(preprocess.at_least_typical(std, np.zeros(4, bool)), std)
