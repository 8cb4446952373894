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


def share_of(*columns, follows=None) -> np.ndarray:
    """What of columns [N + 1], each one recording, lasts from step to step."""
    steps = np.stack(columns, axis=1).astype(np.float32)
    follows = np.ones(len(steps) - 1, bool) if follows is None else follows
    return preprocess.lasting_share(steps[:-1], steps[1:], follows)


def test_what_lasts_is_told_from_noise():
    """A slow wave changes by little, noise by sqrt(2) of its deviation; of their sum half lasts."""
    rng, size = np.random.default_rng(0), 20_000
    wave = np.sqrt(2) * np.sin(np.arange(size) / 300)  # variance 1
    noise = rng.normal(size=size)
    found = share_of(wave, noise, wave + noise, 1e-3 * wave, 1e3 * noise, np.full(size, 7.0))
    np.testing.assert_allclose(found, [1, 0.02, 0.5, 1, 0.02, 1], atol=0.03)


def test_the_most_lasting_column_is_the_measure():
    """A square wave of period 8: of 8 changes 2 are of size 2, so rho = 1 - (8 / 8) / 2 = 1/2.

    Of period 4 it is 1 - (16 / 8) / 2 = 0, which leaves the least share.
    """
    eight, four = np.tile([1.0] * 4 + [-1.0] * 4, 100), np.tile([1.0] * 2 + [-1.0] * 2, 200)
    np.testing.assert_allclose(share_of(eight, four), [1, 0.02], atol=0.01)


def test_contexts_that_are_all_drawn_anew_are_no_noise():
    contexts = np.random.default_rng(0).normal(size=(2, 5000))
    np.testing.assert_array_equal(share_of(*contexts), [1, 1])


def test_ends_of_the_task_are_no_change():
    """Where nothing follows, the next observation is the same again: it would count as lasting."""
    eight = np.tile([1.0] * 4 + [-1.0] * 4, 100)
    wave, follows = np.sin(np.arange(800) / 50), np.arange(799) % 2 == 1
    steps = np.stack([eight, wave], axis=1).astype(np.float32)
    following = np.where(follows[:, None], steps[1:], steps[:-1])
    found = preprocess.lasting_share(steps[:-1], following, follows)
    np.testing.assert_allclose(found, [0.0 + 0.02, 1], atol=0.01)  # changes at odd rows: rho = 0
    nothing = preprocess.lasting_share(steps[:-1], steps[:-1], np.zeros(799, bool))
    np.testing.assert_array_equal(nothing, [1, 1])
