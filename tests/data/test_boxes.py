"""The box of a dataset's actions: which one is taken, and what is told or refused."""

import numpy as np
import pytest

from edp_jax import data
from edp_jax.data import boxes
from edp_jax.data.raw import RawDataset
from edp_jax.types import InputError

FLOAT32, FLOAT64 = float(np.finfo(np.float32).max), float(np.finfo(np.float64).max)


def with_actions(actions) -> RawDataset:
    steps = len(actions)
    return RawDataset(
        observations=np.arange(steps, dtype=np.float32)[:, None],
        actions=np.asarray(actions, np.float32),
        rewards=np.ones(steps, np.float32),
        terminals=np.zeros(steps, bool),
        timeouts=np.zeros(steps, bool),
    )


def sides(*bounds) -> tuple:
    return tuple(np.array(side) for side in zip(*bounds, strict=True))


def test_the_first_known_box_is_taken_and_said():
    raw = with_actions([[0.5, -0.5], [0.0, 1.0]])
    given, declared = ((-2.0,), (2.0,)), sides((-1.0, 1.0), (-3.0, 3.0))
    box = boxes.find(raw, given=given, declared=declared)
    np.testing.assert_array_equal([box.low, box.high], [[-2, -2], [2, 2]])
    assert box.low.dtype == box.high.dtype == np.float32
    assert box.lines == (
        "actions: box -2 to 2, as configured",
        "note: another box, declared by the data, is [-1 to 1, -3 to 3]",
    )
    box = boxes.find(raw, declared=declared, environment=declared)
    np.testing.assert_array_equal([box.low, box.high], [[-1, -3], [1, 3]])
    assert box.lines == ("actions: box [-1 to 1, -3 to 3], declared by the data",)
    box = boxes.find(raw, environment=declared)
    assert box.lines == ("actions: box [-1 to 1, -3 to 3], that of the environment",)
    box = boxes.find(raw, recorded=([-2.0, -2.0], [2.0, 2.0]), environment=declared)
    np.testing.assert_array_equal([box.low, box.high], [[-2, -2], [2, 2]])
    assert box.lines[0] == "actions: box -2 to 2, as the run began with"
    assert "the default: no bounded one" in boxes.find(raw).lines[0]


@pytest.mark.parametrize("bound", [np.inf, FLOAT32, FLOAT64, 1e10, 2.0**31, 1e6])
def test_a_box_without_bounds_is_none(bound):
    raw = with_actions([[0.5, -0.5], [0.0, 1.0]])
    vast, narrow = sides((-bound, bound), (-1.0, 1.0)), sides((-2.0, 2.0), (-2.0, 2.0))
    with np.errstate(all="raise"):
        box = boxes.find(raw, declared=vast, environment=narrow)
        np.testing.assert_array_equal([box.low, box.high], [[-2, -2], [2, 2]])
        box = boxes.find(raw, environment=vast)
    np.testing.assert_array_equal([box.low, box.high], [[-1, -1], [1, 1]])
    assert "has no bounds" in box.lines[1]
    # actions beyond the default are refused, never lost
    with pytest.raises(InputError, match="1 action values outside their box, the first 7.0"):
        boxes.find(with_actions([[0.0, 7.0]] * 1 + [[0.0, 0.0]]), environment=vast)
    if np.isfinite(bound):
        with pytest.raises(InputError, match="all become 0 in it; set action_box"):
            boxes.find(raw, given=vast)


def test_a_large_box_that_actions_fill_is_one():
    box = boxes.find(with_actions([[-2.5e6], [1e6]]), declared=((-3e6,), (3e6,)))
    np.testing.assert_array_equal([box.low, box.high], [[-3e6], [3e6]])


def test_actions_in_0_to_1_are_told_where_the_box_is_the_default():
    raw = with_actions([[0.0, -0.9], [1.0, 0.8], [0.3, 0.1]])
    assert boxes.find(raw).lines[1] == (
        "note: actions of column 0 lie in 0 to 1, 50 % of the box; if that is the wrong box, set "
        "action_box (of a run: --config.action_low and --config.action_high)"
    )
    assert len(boxes.find(raw, declared=((-1.0,), (1.0,))).lines) == 1
    narrow = boxes.find(raw, declared=sides((-50.0, 50.0), (-1.0, 1.0)))
    assert "column 0 lie in 0 to 1, 1 % of the box" in narrow.lines[1]


def test_whole_numbers_are_told():
    lines = boxes.find(with_actions([[0, -1], [1, -1], [0, -1]]), given=((-1,), (1,))).lines
    assert lines[1:] == (
        "note: all actions are whole numbers (-1 to 1), and trained on as continuous ones: "
        "policies will give numbers in between",
    )
    assert len(boxes.find(with_actions([[0.0], [0.0]]), given=((-1,), (1,))).lines) == 1


def test_another_box_of_the_environment_is_told():
    raw = with_actions([[-2.0], [2.0], [0.5]])
    lines = boxes.find(raw, declared=((-2.0,), (2.0,)), environment=((-1.0,), (1.0,))).lines
    assert lines[1] == (
        "note: another box, that of the environment, is -1 to 1: evaluation clips actions to it"
    )


def test_prepare_tells_these_lines():
    raw, lines = with_actions([[-1.0], [1.0], [0.5]]), []
    task = data.find_task("mine.npz")
    data.prepare(task, raw, {}, data.Preprocessing(), progress=lines.append)
    assert lines == [
        "  actions: box -1 to 1, the default: no bounded one in the data or an environment"
    ]


def test_actions_outside_their_box_are_counted_and_located():
    raw = with_actions([[0.0, 0.5], [1.000005, 2.5], [0.0, -1.5]])  # 1.000005: rounding
    with pytest.raises(InputError) as error:
        boxes.find(raw)
    message = str(error.value)
    assert (
        "2 action values outside their box, the first 2.5 in row 1, column 1 (box: -1.0 to 1.0)"
        in message
    )
    assert "--config.action_low and --config.action_high" in message and "\n" not in message
    low, high = boxes.find(raw, given=((-1.0, -2.5), (1.0, 2.5)))[:2]
    np.testing.assert_array_equal([low, high], [[-1.0, -2.5], [1.0, 2.5]])


@pytest.mark.parametrize(
    ("box", "says"),
    [
        (((-1.0,) * 3, (1.0,) * 3), "3 numbers, actions have 2"),
        (((-1.0, 1.0), (1.0,)), "empty in column 1"),
    ],
)
def test_useless_action_boxes_are_refused(box, says):
    with pytest.raises(InputError, match=says):
        boxes.find(with_actions([[0.0, 0.0]] * 2), given=box)
