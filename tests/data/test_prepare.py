"""From the stored numbers to those that a learner sees, and back by what was fitted."""

import dataclasses

import numpy as np
import pytest

from edp_jax import data, settings
from edp_jax.data import preprocess
from edp_jax.data.rewards import as_learner_sees
from edp_jax.types import ACTION_LIMIT, InputError, TaskSpec, pack

TASK = dataclasses.replace(data.find_task("mine.npz"), max_episode_steps=None)


@pytest.fixture
def raw() -> data.RawDataset:
    """Two episodes of three steps, the first ends in a terminal; torques in [-2, 2]."""
    rng = np.random.default_rng(0)
    return data.RawDataset(
        observations=rng.normal(3.0, 2.0, (6, 2)).astype(np.float32),
        actions=np.array([[-2], [-1], [0], [1], [2], [0.5]], np.float32),
        rewards=np.arange(6, dtype=np.float32),
        terminals=np.arange(6) == 2,
        timeouts=np.arange(6) == 5,
        action_low=np.array([-2], np.float32),
        action_high=np.array([2], np.float32),
    )


def prepare(raw, **options) -> data.Dataset:
    return data.prepare(TASK, raw, {}, data.Preprocessing(**options))


def test_transitions_are_views_of_the_rows(raw):
    dataset = prepare(raw)
    assert dataset.rows.shape == (5, 2 * 2 + 1 + 2) and dataset.rows.dtype == np.float32
    assert (dataset.size, dataset.spec) == (5, TaskSpec(2, 1))
    assert all(
        np.shares_memory(getattr(dataset.transitions, name), dataset.rows)
        for name in ("observation", "action", "next_observation", "reward", "discount")
    )


def test_whole_episodes_are_held_out(raw):
    """Of the two episodes, with 3 and 2 transitions, one is. All else stays as it is."""
    plain, dataset = prepare(raw).transitions, prepare(raw, holdout=0.5)
    assert dataset.spec == TaskSpec(2, 1, marks_held_out=True)
    assert dataset.transitions.held_out.tolist() in ([1, 1, 1, 0, 0], [0, 0, 0, 1, 1])
    assert np.shares_memory(dataset.transitions.held_out, dataset.rows)
    for name in ("observation", "action", "next_observation", "reward", "discount"):
        np.testing.assert_array_equal(getattr(dataset.transitions, name), getattr(plain, name))


def test_nothing_is_held_out_of_few_episodes_or_of_shuffled_rows(raw):
    """Single rows of an episode cannot be held out: critics that learn from the steps just before
    and after a row know nearly all about it, so their errors there would always look small."""
    one = dataclasses.replace(raw, terminals=np.zeros(6, bool))
    shuffled = dataclasses.replace(raw, whole_episodes=False)
    for each, share in ((one, 0.5), (shuffled, 0.5), (raw, 0.2)):
        told: list[str] = []
        options = data.Preprocessing(holdout=share)
        dataset = data.prepare(TASK, each, {}, options, progress=told.append)
        assert dataset.spec == TaskSpec(2, 1)
        assert any(f"holdout={share}: too few whole episodes" in line for line in told)


def test_the_share_of_the_episodes_is_held_out():
    episode = np.repeat(np.arange(20), np.arange(1, 21))
    for share, count in ((0.0, None), (0.1, 2), (0.125, 2), (0.3, 6)):
        marks = preprocess.held_out(episode, share)
        if count is None:
            assert marks is None
            continue
        assert len(np.unique(episode[marks])) == count
        assert not set(episode[marks]) & set(episode[~marks])
        np.testing.assert_array_equal(marks, preprocess.held_out(episode, share))


def test_units_lead_from_the_stored_numbers_to_the_learners(raw):
    dataset, kept = prepare(raw, normalize_observations=True), np.arange(5)
    seen, units = dataset.transitions, dataset.units
    np.testing.assert_array_equal(units.normalize(raw.observations[kept]), seen.observation)
    np.testing.assert_array_equal(units.scale(raw.actions[kept]), seen.action)
    np.testing.assert_allclose(seen.observation.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(seen.observation.std(axis=0), 1, rtol=1e-6)
    limit = np.float32(ACTION_LIMIT)
    np.testing.assert_array_equal(seen.action[:, 0], [-limit, -0.5, 0, 0.5, limit])
    np.testing.assert_array_equal(units.unscale(seen.action[1:4]), raw.actions[1:4])


@pytest.mark.parametrize("transform", ["none", "standardize"])
def test_new_steps_become_what_a_learner_sees_as_the_datasets_did(raw, transform):
    dataset = prepare(raw, normalize_observations=True, reward_transform=transform, reward_shift=1)
    stored = prepare(dataclasses.replace(raw, actions=raw.actions / 2)).transitions
    stored = dataclasses.replace(stored, action=raw.actions[:5])
    seen = as_learner_sees(stored, dataset.units, dataset.reward_transform)
    np.testing.assert_array_equal(pack(seen), dataset.rows)


def test_actions_of_the_learners_own_box_keep_their_bits(raw):
    actions = np.random.default_rng(0).uniform(-0.99, 0.99, (6, 1)).astype(np.float32)
    plain = dataclasses.replace(raw, actions=actions, action_low=None, action_high=None)
    np.testing.assert_array_equal(prepare(plain).transitions.action, actions[:5])


def test_the_reward_transform_leads_from_stored_rewards_to_the_learners(raw):
    dataset = prepare(raw, reward_transform="iql_antmaze", reward_scale=2.0, reward_shift=0.5)
    np.testing.assert_array_equal(dataset.transitions.reward, 2 * (raw.rewards[:5] - 1) + 0.5)
    assert dataset.reward_transform == data.RewardTransform(2.0, -1.5)
    assert dataset.reward_transform.apply(10.0) == 18.5


def test_locomotion_is_scaled_by_returns_that_count_every_stored_step(raw):
    # returns 0 + 1 + 2 and 3 + 4 + 5, although the last step is no transition
    assert prepare(raw, reward_transform="iql_locomotion").reward_transform.scale == 1000 / 9


def test_weights_prefer_the_better_episode(raw):
    weights = prepare(raw, return_weighting=0.5).weights  # scaled returns 0 and 1: 1 to e^2
    np.testing.assert_allclose(weights[3:] / weights[0], np.exp(2.0))
    np.testing.assert_allclose(weights.sum(), 1.0)


def test_rows_of_another_width_are_no_dataset(raw):
    with pytest.raises(AssertionError):
        dataclasses.replace(prepare(raw), spec=TaskSpec(3, 1))


def test_reference_scores_must_give_a_scale(raw):
    upside_down = dataclasses.replace(TASK, reference_scores=(4.0, 0.0))
    with pytest.raises(InputError, match="not a scale"):
        data.prepare(upside_down, raw, {}, data.Preprocessing())


def test_settings_are_the_options_but_for_the_learners_discount():
    names = [entry.name for entry in settings.describe(data.Preprocessing)]
    assert names == [
        *("reward_transform", "reward_scale", "reward_shift", "n_step", "horizon"),
        *("return_weighting", "normalize_observations", "keep_small"),
    ]
    assert data.Preprocessing(n_step=3, discount=0.5).discount == 0.5


def test_one_call_from_a_file_to_training(tmp_path, raw):
    path = str(tmp_path / "mine.npz")
    np.savez(path, **raw.arrays())
    lines = []
    dataset = data.load_dataset(path, progress=lines.append, n_step=2, discount=0.5)
    np.testing.assert_array_equal(dataset.transitions.reward, [0.5, 2.0, 2.0, 5.0, 4.0])
    assert dataset.info["path"] == path and dataset.behaviour_return == 7.5
    assert lines[0].startswith(f"{path}:\n") and "6 steps in 2 episodes" in lines[0]
    assert lines[1:] == ["  actions: box -2 to 2, declared by the data"]


def test_small_columns_can_stay_small(raw):
    """Observations that rise by 1 per step last; of 1, 1 and 0.001 times these the median is 1."""
    steps = np.arange(6, dtype=np.float32)[:, None]
    raw = dataclasses.replace(raw, observations=np.hstack([steps, steps, 1e-3 * steps]))
    plain, kept = (
        prepare(raw, normalize_observations=True, keep_small=keep).units.observation_std
        for keep in (False, True)
    )
    np.testing.assert_allclose(plain, plain[0] * np.array([1, 1, 1e-3]), rtol=1e-5)
    np.testing.assert_allclose(kept, plain[[0, 0, 0]], rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"n_stepp": 3}, "'n_stepp' is unknown here: did you mean 'n_step'"),
        ({"n_step": 0}, "n_step=0 must be at least 1"),
        ({"return_weighting": -1.0}, "return_weighting=-1.0 must be at least 0"),
        ({"reward_transform": "standard"}, "must be one of none, antmaze"),
    ],
)
def test_options_of_no_use_are_refused_before_the_data_are_read(options, says):
    with pytest.raises(InputError, match=says):
        data.load_dataset("nowhere.npz", **options)


def test_chunks_of_an_episode_that_ended_and_of_one_that_was_cut(raw):
    """gamma 0.5. Of the last step it is not known what followed: it is in no chunk."""
    told = []
    dataset = data.prepare(
        TASK, raw, {}, data.Preprocessing(horizon=2, discount=0.5), progress=told.append
    )
    seen = dataset.transitions
    assert dataset.spec == TaskSpec(2, 1, 2) and dataset.action_dim == 1
    np.testing.assert_array_equal(seen.valid, [[1, 1], [1, 1], [1, 0], [1, 1], [1, 0]])
    units = dataset.units.scale(raw.actions[[[0, 1], [1, 2], [2, 2], [3, 4], [4, 4]], 0])
    np.testing.assert_array_equal(seen.action, units)
    np.testing.assert_array_equal(seen.reward, [0 + 0.5, 1 + 1, 2, 3 + 2, 4])
    # times gamma in the loss; the task ended after row 2, and after row 4 the recording
    np.testing.assert_array_equal(seen.discount, [0.5, 0, 0, 0.5, 1])
    np.testing.assert_array_equal(seen.has_value, [1, 1, 1, 1, 0])
    np.testing.assert_array_equal(seen.next_observation, raw.observations[[2, 2, 2, 5, 5]])
    assert told[-1] == (
        "  chunks of 2 actions: 2 of 5 reach behind the end of their episode, 1 of these behind a "
        "cut (docs/chunks.md)"
    )


def test_a_known_next_observation_makes_the_last_step_one_of_the_chunk(raw):
    following = np.roll(raw.observations, -1, axis=0) + 1
    dataset = prepare(dataclasses.replace(raw, next_observations=following), horizon=3)
    valid = [[1, 1, 1], [1, 1, 0], [1, 0, 0]] * 2
    np.testing.assert_array_equal(dataset.transitions.valid, valid)
    np.testing.assert_array_equal(
        dataset.transitions.next_observation, following[[2, 2, 2, 5, 5, 5]]
    )


def test_a_window_of_rewards_is_at_most_an_episode(raw):
    np.testing.assert_array_equal(prepare(raw, n_step=10**9).rows, prepare(raw, n_step=3).rows)


@pytest.mark.parametrize(
    ("change", "options", "says"),
    [
        ({}, {"horizon": 10**9}, "horizon=1000000000: the longest run of transitions"),
        ({}, {"horizon": 4}, "horizon=4: the longest run .* in this dataset is 3; set"),
        ({"timeouts": np.ones(6, bool)}, {"horizon": 2}, "the longest run .* is 1"),
        ({}, {"horizon": 2, "n_step": 2}, "n_step=2: with horizon=2 the rewards .* leave n_step"),
    ],
)
def test_steps_that_cannot_be_taken_together_are_refused(raw, change, options, says):
    with pytest.raises(InputError, match=says) as error:
        prepare(dataclasses.replace(raw, **change), **options)
    assert "\n" not in str(error.value) and len(str(error.value)) <= 300


@pytest.mark.parametrize("options", [{"reward_scale": 1e39}, {"reward_shift": 3e38, "n_step": 2}])
def test_rewards_too_large_for_float32_are_refused(raw, options):
    with pytest.raises(InputError, match="too large for float32.*smaller reward_scale"):
        prepare(raw, discount=1.0, **options)
