"""Where episodes end and where learners bootstrap, in every convention of files."""

import numpy as np
import pytest

from edp_jax import data
from edp_jax.data.names import find_names
from edp_jax.data.raw import RawDataset, from_arrays
from edp_jax.types import InputError

LIMIT = np.arange(12) % 4 == 3  # three episodes of four steps
OBSERVATIONS = np.random.default_rng(0).normal(size=(12, 2)).astype(np.float32)


def following(observations=OBSERVATIONS) -> np.ndarray:
    """The next row's observation; after the last step of an episode one that no row holds."""
    after = np.roll(observations, -1, axis=0)
    after[LIMIT] += 0.5
    return after


def read(observations=OBSERVATIONS, **flags) -> RawDataset:
    size = len(observations)
    content = {"observations": observations, "actions": np.zeros((size, 1))}
    content |= {"rewards": np.ones(size)}
    names = find_names("data", content | flags)
    return from_arrays("data", {key: (content | flags)[name] for key, name in names.items()})


def rows_of(flags: np.ndarray) -> list[int]:
    return np.flatnonzero(flags).tolist()


def prepared(raw: RawDataset, **options) -> data.Dataset:
    task = data.find_task("mine.npz")
    return data.prepare(task, raw, {}, data.Preprocessing(**options))


@pytest.mark.parametrize("name", ["terminals", "dones_float", "done", "dones"])
def test_masks_decide_and_the_other_flag_marks_ends_of_trajectories(name, paired):
    masks = np.ones(12)
    masks[3] = 0  # the goal, at the end of the first trajectory; the others are cut
    raw = read(**{name: LIMIT.astype(float)}, masks=masks, next_observations=following())
    assert (rows_of(raw.terminals), rows_of(raw.timeouts)) == ([3], [7, 11])
    np.testing.assert_array_equal(paired(raw).discount, masks)
    assert "of 3 marked ends, 1 end the task and 2 are cuts" in raw.notes[0]
    assert prepared(raw).behaviour_return == 4


def test_a_goal_inside_a_trajectory_divides_it_and_leaves_no_behaviour_return():
    masks = np.ones(12)
    masks[[1, 7]] = 0
    raw = read(terminals=LIMIT, masks=masks)
    assert (rows_of(raw.terminals), rows_of(raw.timeouts)) == ([1, 7], [3, 11])
    assert "1 steps end the task inside an episode" in raw.notes[1]
    assert prepared(raw).behaviour_return is None


@pytest.mark.parametrize("name", ["masks", "not_done"])
def test_masks_alone_need_to_know_the_cuts(name):
    flag = {name: np.arange(12) != 3}
    with pytest.raises(InputError, match="nothing tells which steps were the last"):
        read(**flag)
    assert rows_of(read(**flag, timeouts=np.arange(12) == 7).timeouts) == [7]
    raw = read(**flag, next_observations=following())
    assert (rows_of(raw.terminals), rows_of(raw.timeouts)) == ([3], [7, 11])
    # terminals that say what masks say add nothing
    raw = read(**flag, terminals=np.arange(12) == 3, next_observations=following())
    assert (rows_of(raw.terminals), rows_of(raw.timeouts)) == ([3], [7, 11])


@pytest.mark.parametrize("cut", ["timeouts", "truncated", "truncations"])
def test_a_step_that_is_done_and_truncated_was_cut(cut):
    raw = read(done=LIMIT, **{cut: np.arange(12) == 7})
    assert (rows_of(raw.terminals), rows_of(raw.timeouts)) == ([3, 11], [7])
    assert "1 steps are both done and truncated: they count as cut" in raw.notes[0]
    assert not read(done=np.arange(12) == 3, **{cut: np.arange(12) == 7}).notes


@pytest.mark.parametrize("name", ["terminals", "terminated", "terminations"])
def test_a_terminal_that_is_a_timeout_too_counts_as_ended_and_a_line_tells_where_all_are(name):
    raw = read(**{name: LIMIT}, timeouts=np.arange(12) == 7)
    assert rows_of(raw.terminals) == [3, 7, 11]
    assert "all 1 timeouts are terminals as well and count as ended" in raw.notes[0]
    some = read(**{name: np.arange(12) == 7}, timeouts=LIMIT)
    assert (rows_of(some.terminals), some.notes) == ([7], ())


def test_terminals_that_look_like_a_time_limit_are_told():
    content = {"observations": np.zeros((36, 1)), "actions": np.zeros((36, 1))}
    content |= {"rewards": np.ones(36), "timeouts": np.zeros(36)}
    raw = from_arrays("data", content | {"terminals": np.arange(36) % 12 == 11})
    assert "3 episodes end the task after exactly 12 steps, the longest of all" in raw.notes[0]
    # 11, 13 and 12 steps
    several = from_arrays("data", content | {"terminals": np.isin(np.arange(36), [10, 23, 35])})
    assert not several.notes


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ({"terminals": LIMIT, "done": LIMIT}, "'terminals' and 'done' both mark ends"),
        ({"terminals": LIMIT, "terminated": LIMIT}, "'terminals' and 'terminated' mean the same"),
        ({"terminals": LIMIT, "is_last": LIMIT}, "'is_last' is not read"),
        ({"terminals": LIMIT, "discount": ~LIMIT}, "'discount' is not read"),
        ({"terminals": LIMIT, "mask": LIMIT}, "'mask' is not read"),
        ({"dones_float": LIMIT}, "no key 'terminals'"),
        ({"done": LIMIT, "timeouts": LIMIT, "masks": np.full(12, 0.99)}, "neither 0 nor 1"),
        ({"terminals": np.full(12, 2), "timeouts": LIMIT}, "12 values that are neither 0 nor 1"),
    ],
)
def test_flags_that_cannot_be_understood_are_refused(flags, says):
    with pytest.raises(InputError) as error:
        read(**flags)
    assert says in str(error.value) and len(str(error.value)) <= 300


@pytest.mark.parametrize(
    "rounded",
    [
        lambda x: np.round(x, 1),
        lambda x: np.round(x, 2),
        lambda x: x.astype(np.float16),
        lambda x: x + np.float32(1e-4),
    ],
)
def test_episodes_are_told_apart_by_observations_that_were_rounded(rounded):
    raw = read(terminals=np.zeros(12), next_observations=rounded(following()))
    assert rows_of(raw.timeouts) == [3, 7, 11] and not raw.notes
    # a number on an offset: float16 keeps 1000.6 as 1000.5
    shifted = OBSERVATIONS + np.float32(1000)
    raw = read(shifted, terminals=np.zeros(12), next_observations=following(shifted))
    assert rows_of(raw.timeouts) == [3, 7, 11]


@pytest.mark.parametrize("flags", [{}, {"timeouts": LIMIT}])
def test_shuffled_rows_are_told_and_have_no_behaviour_return(flags):
    order = np.random.default_rng(4).permutation(12)
    flags = {key: value[order] for key, value in flags.items()}
    raw = read(
        OBSERVATIONS[order], terminals=np.zeros(12), next_observations=following()[order], **flags
    )
    assert "steps are followed by their next observation: the rows are shuffled" in raw.notes[0]
    assert raw.timeouts.all()  # no row says anything of the one before
    assert prepared(raw).behaviour_return is None
    for name, value in (
        ("return_weighting", 0.5),
        ("reward_transform", "iql_locomotion"),
        ("n_step", 3),
    ):
        with pytest.raises(InputError, match=f"{name}=.*store whole episodes in order"):
            prepared(raw, **{name: value})


def test_a_random_order_is_told_where_only_the_order_says_what_followed():
    """A walk; the halved ratio of von Neumann is far below 1 along it, and 1 in another order."""
    rng, size = np.random.default_rng(0), 400
    walk = np.cumsum(rng.normal(size=(size, 2)), axis=0).astype(np.float32)
    flags = {"terminals": np.zeros(size), "timeouts": np.arange(size) % 50 == 49}
    assert not read(walk, **flags).notes
    (note,) = read(walk[rng.permutation(size)], **flags).notes
    assert "differ as much as those of any two" in note and "next_observations" in note
    still = np.stack([np.ones(size), walk[:, 0]], axis=1)  # a constant column says nothing
    assert not read(still.astype(np.float32), **flags).notes


@pytest.mark.parametrize(("shift", "side"), [(1, "before"), (-1, "after"), (0, "")])
def test_ends_that_are_marked_one_row_beside_the_jumps_are_told(shift, side):
    """Episodes of 25 small steps, each from a place of its own."""
    rng, size = np.random.default_rng(1), 200
    jumps = np.repeat(rng.normal(0, 50, (8, 2)), 25, axis=0)
    walk = (jumps + np.cumsum(rng.normal(size=(size, 2)), axis=0)).astype(np.float32)
    flags = {"terminals": np.zeros(size), "timeouts": np.roll(np.arange(size) % 25 == 24, shift)}
    notes = read(walk, **flags).notes
    said = f"jump one row {side} the marked ends, and not at them"
    assert (said in notes[0]) if side else not notes


def test_next_observations_that_are_the_observations_are_refused():
    with pytest.raises(InputError, match="are the observations themselves"):
        read(terminals=np.zeros(12), timeouts=LIMIT, next_observations=OBSERVATIONS)
    one_state = np.ones((12, 2), np.float32)  # a bandit
    read(one_state, terminals=np.zeros(12), timeouts=LIMIT, next_observations=one_state)


def test_a_buffer_that_was_not_filled_is_refused():
    filled = np.where(np.arange(40)[:, None] < 30, np.float32(1.5), np.float32(0))
    flags = {"terminals": np.zeros(40), "timeouts": np.arange(40) == 39}
    says = "the last 10 of 40 rows hold nothing but zeros.*store the first 30 rows"
    with pytest.raises(InputError, match=says):
        read(filled, actions=filled, rewards=filled[:, 0], **flags)
    filled[39] = 1.5  # zeros in the middle may be what was recorded
    assert len(read(filled, actions=filled, rewards=filled[:, 0], **flags).rewards) == 40


def test_an_end_that_the_flags_miss_is_found_by_the_rows():
    raw = read(terminals=np.zeros(12), timeouts=np.arange(12) == 11, next_observations=following())
    assert rows_of(raw.timeouts) == [3, 7, 11]
    assert "2 steps inside episodes are not followed" in raw.notes[0]


def test_next_observations_of_an_environment_that_resets_itself_are_left_out(paired):
    reset = np.roll(OBSERVATIONS, -1, axis=0)  # after a cut: the first of the next episode
    raw = read(terminals=np.zeros(12), timeouts=LIMIT, next_observations=reset)
    assert "after all 2 cuts are the first of the next episode" in raw.notes[0]
    transitions = paired(raw)
    assert transitions.size == 12 - 3
    np.testing.assert_array_equal(transitions.observation, OBSERVATIONS[~LIMIT])
    np.testing.assert_array_equal(transitions.next_observation, reset[~LIMIT])
    # after a terminal nothing follows, whatever is stored
    assert not read(terminals=LIMIT, timeouts=np.zeros(12), next_observations=reset).notes


def test_rows_that_are_resets_of_a_vector_environment_are_refused():
    # episodes of three steps, then a row from the last observation to the next episode's first
    rows = np.roll(OBSERVATIONS, -1, axis=0)
    content = {
        "observations": OBSERVATIONS,
        "next_observations": rows,
        "actions": np.zeros((12, 1)),
    }
    content |= {"rewards": np.arange(12) % 4 != 3, "terminals": np.arange(12) == 2}
    content["timeouts"] = np.isin(np.arange(12), [6, 10])
    with pytest.raises(
        InputError, match="the 3 rows after the ends of episodes, the first is row 3"
    ):
        from_arrays("data", content)


def slow(drift: float = 1e3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """20 random walks of 50 steps that drift apart: rows, next rows, and where each walk is cut.

    A step changes a column by far less than 1 % of its standard deviation.
    """
    rng = np.random.default_rng(0)
    walks = rng.normal(size=(20, 51, 2)).cumsum(axis=1) + drift * np.arange(20)[:, None, None]
    walks = walks.astype(np.float32)
    return walks[:, :-1].reshape(-1, 2), walks[:, 1:].reshape(-1, 2), np.arange(1000) % 50 == 49


def test_rows_that_are_missing_in_slow_data_are_found():
    """Where rows continue to the last bit, a small difference is a gap."""
    observations, after, cut = slow()
    kept = np.setdiff1d(np.arange(1000), [7, 60, 61, 510])
    flags = {"terminals": np.zeros(len(kept)), "timeouts": cut[kept]}
    raw = read(observations[kept], next_observations=after[kept], **flags)
    gaps = np.flatnonzero(np.diff(kept) > 1)
    assert rows_of(raw.timeouts) == sorted([*np.flatnonzero(cut[kept]), *gaps])
    assert "3 steps inside episodes are not followed" in raw.notes[0]


@pytest.mark.parametrize("flags", [{}, {"timeouts": np.arange(1000) % 50 == 49}])
def test_episodes_that_begin_where_others_end_but_for_the_noise_of_sensors(flags):
    """They are told apart, and what followed a cut stays known."""
    rng, move = np.random.default_rng(0), np.sin(np.linspace(0, np.pi, 51))[:, None] ** 2
    walks = [move * rng.normal(size=2) + 1e-4 * rng.normal(size=(51, 2)) for _ in range(20)]
    walks = np.array(walks, np.float32)
    observations, after = walks[:, :-1].reshape(-1, 2), walks[:, 1:].reshape(-1, 2)
    first = np.arange(1000) % 50 > 0  # the first step of each is not rewarded: these are no resets
    raw = read(
        observations, next_observations=after, terminals=np.zeros(1000), rewards=first, **flags
    )
    assert rows_of(raw.timeouts) == list(range(49, 1000, 50))
    np.testing.assert_array_equal(raw.next_observations, after)
    assert not raw.notes


def test_rounding_that_is_usual_in_the_data_is_no_gap_and_ten_times_as_much_is():
    observations, after, cut = slow(drift=0.0)
    noise = np.random.default_rng(1).uniform(-1e-3, 1e-3, after.shape)
    flags = {"terminals": np.zeros(1000), "timeouts": cut}
    raw = read(observations, next_observations=after + noise, **flags)
    np.testing.assert_array_equal(raw.timeouts, cut)
    noise[20] = 0.02
    raw = read(observations, next_observations=after + noise, **flags)
    assert rows_of(raw.timeouts & ~cut) == [20]


def test_a_file_without_a_marked_end_is_told():
    observations, _, cut = slow()
    raw = read(observations, terminals=np.zeros(1000), timeouts=np.zeros(1000))
    assert "no end is marked: all 1,000 steps count as one episode" in raw.notes[-1]
    x = np.linspace(0, 1, 1001, dtype=np.float32)[:, None]  # rows continue each other
    raw = read(x[:-1], next_observations=x[1:], terminals=np.zeros(1000))
    assert "no end is marked" in raw.notes[-1] and rows_of(raw.timeouts) == [999]
    only_last = np.arange(1000) == 999  # one episode, whose end is marked
    for terminals, timeouts in ((cut, 0 * cut), (only_last, 0 * cut), (0 * cut, only_last)):
        notes = read(observations, terminals=terminals, timeouts=timeouts).notes
        assert not any("no end" in note for note in notes)
