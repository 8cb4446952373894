"""Acting while learning: the rows of steps, the ends of episodes, taking an episode up again."""

import numpy as np
import pytest

from edp_jax import InputError
from edp_jax.training.interaction import Episodes, Finished, Interaction
from edp_jax.types import TaskSpec, unpack
from tests.training.toy import Drift

SPEC = TaskSpec(3, 2)


def act(observation, step):
    """Depends on the observation and on the number of the step; partly outside the box."""
    return (np.sin(step) * observation[:, :2] * 3).astype(np.float32)


def interaction(seeds=(1, 2), **options):
    return Interaction([Episodes(Drift(**options), seed) for seed in seeds])


def steps_of(rows, counts, member):
    return unpack(rows[member, : counts[member]], SPEC)


def test_rows_are_what_the_environment_gave():
    """Compares 40 rows with an environment that is stepped by hand, clipped actions included.

    A row that follows the end of an episode begins with the next episode's first observation.
    """
    ours = interaction((1,))
    rows, counts = ours.collect(act, 0, 40)
    steps, env = steps_of(rows, counts, 0), Episodes(Drift(), 1)
    assert counts.tolist() == [40]
    observation, ends = env.reset()[0], []
    for index in range(40):
        np.testing.assert_array_equal(steps.observation[index], observation)
        action = np.clip(act(observation[None], index)[0], -2, 2)
        following, reward, terminated, truncated, _ = env.step(action)
        np.testing.assert_array_equal(steps.action[index], action)
        np.testing.assert_array_equal(steps.next_observation[index], following)
        assert steps.reward[index] == np.float32(reward)
        assert steps.discount[index] == (0 if terminated else 1)
        ends += [(terminated, truncated)] if terminated or truncated else []
        observation = env.reset()[0] if terminated or truncated else following
    assert {(True, False), (False, True)} == set(ends)  # both kinds were met
    assert [each.episode for each in ours.finished] == list(range(len(ends)))
    lengths = np.diff([0, *(each.env_step for each in ours.finished)])
    assert lengths.tolist() == [each.length for each in ours.finished]
    last = ours.finished[-1]
    own = steps.reward[last.env_step - last.length : last.env_step]
    assert last.total == pytest.approx(own.sum(), rel=1e-6)


def test_where_rows_say_what_is_held_out_these_say_that_they_were_collected():
    plain, _ = interaction((1,)).collect(act, 0, 10)
    marked, _ = Interaction([Episodes(Drift(), 1)], marks_held_out=True).collect(act, 0, 10)
    steps = unpack(marked[0], TaskSpec(3, 2, marks_held_out=True))
    assert steps.held_out.tolist() == [-1.0] * 10
    np.testing.assert_array_equal(np.delete(marked, -3, axis=-1), plain)


def test_where_rewards_add_up_a_row_holds_the_sum_of_its_episode_so_far():
    plain, _ = interaction((1,)).collect(act, 0, 10)
    summed, _ = Interaction([Episodes(Drift(), 1)], rewards_add_up=True).collect(act, 0, 10)
    rewards = plain[0, :, -2].astype(np.float64)
    begins = np.r_[True, (plain[0, 1:, :3] != plain[0, :-1, 5:8]).any(axis=1)]
    expected = [rewards[np.flatnonzero(begins[: i + 1])[-1] : i + 1].sum() for i in range(10)]
    assert begins.sum() > 1
    np.testing.assert_allclose(summed[0, :, -2], expected, rtol=1e-6)


@pytest.mark.parametrize("before", [3, 7, 12])
def test_an_episode_is_taken_up_where_it_was(before):
    """In the middle of an episode, and at its end."""
    whole = interaction()
    expected, _ = whole.collect(act, 0, 25)
    first, again = interaction(), interaction()
    first.collect(act, 0, before)
    saved = first.arrays()
    assert again.take_up(saved) == []
    rows, counts = again.collect(act, before, 25 - before)
    np.testing.assert_array_equal(rows, expected[:, before:])
    assert counts.tolist() == [25 - before] * 2
    assert sorted(first.finished + again.finished) == sorted(whole.finished)


def test_a_simulator_that_does_not_repeat_itself_is_noticed_and_its_episode_left():
    first, again = (interaction(forgetful=True, edge=100.0) for _ in range(2))
    first.collect(act, 0, 2)
    saved = first.arrays()
    assert saved["episode"].tolist() == [0, 0] and saved["length"].tolist() == [2, 2]
    assert again.take_up(saved) == [0, 1]
    again.collect(act, 2, 10)
    assert min(each.episode for each in again.finished) == 1


def test_a_member_that_gives_nan_stands_still_and_the_others_go_on():
    def half(observation, step):
        return np.where([[True], [False]], np.nan, act(observation, step))

    ours = interaction()
    rows, counts = ours.collect(half, 0, 12)
    assert counts.tolist() == [0, 12] and {each.member for each in ours.finished} == {1}
    expected, _ = interaction().collect(act, 0, 12)
    np.testing.assert_array_equal(rows[1], expected[1])
    _, counts = ours.collect(lambda observation, step: np.full((2, 2), np.nan), 12, 3)
    assert counts.tolist() == [0, 0]


def test_a_member_that_gave_nan_goes_on_as_it_does_after_a_stop():
    def late(observation, step):
        return np.where(step < 2, 1.0, np.nan) * act(observation, step)

    ours, again = interaction(), interaction()
    assert ours.collect(late, 0, 4)[1].tolist() == [2, 2]
    assert again.take_up(ours.arrays()) == []
    for found, expected in zip(ours.collect(act, 4, 6), again.collect(act, 4, 6), strict=True):
        np.testing.assert_array_equal(found, expected)
    assert {each.episode for each in again.finished} == {0} and len(again.finished) == 2


def test_each_step_of_an_episode_that_is_taken_up_has_its_own_time():
    calls = []

    def call(function):
        calls.append(function())
        return calls[-1]

    first = interaction((1,), edge=100.0)
    first.collect(act, 0, 5)
    again = Interaction([Episodes(Drift(edge=100.0), 1)], call=call)
    assert again.take_up(first.arrays()) == [] and len(calls) == 1 + 5


def test_a_step_with_numbers_that_are_not_finite_is_left_out_and_ends_the_episode():
    class Broken(Drift):
        def step(self, action):
            observation, reward, *ends = super().step(action)
            return observation, np.inf if self._steps == 3 else reward, *ends

    ours = Interaction([Episodes(Broken(edge=100.0), 1)])
    rows, counts = ours.collect(act, 0, 6)
    assert counts.tolist() == [4] and np.isfinite(rows[0]).all()
    np.testing.assert_equal(
        ours.finished, [Finished(0, 3, 0, np.nan, -1), Finished(0, 6, 1, np.nan, -1)]
    )


def test_a_first_observation_that_is_not_finite_is_told():
    class Broken(Drift):
        def reset(self, **options):
            return np.full(3, np.nan), {}

    with pytest.raises(InputError, match="first observation of episode 0 is not finite"):
        Interaction([Episodes(Broken(), 1)]).collect(act, 0, 1)
