"""Packed rows, with and without chunks, and which rows of chunks count."""

import numpy as np
import pytest

from edp_jax.types import TaskSpec, Transition, pack, unpack


@pytest.mark.parametrize("marks", [False, True])
@pytest.mark.parametrize(("horizon", "width"), [(1, 3 + 2 + 3 + 2), (4, 3 + 8 + 3 + 4 + 2)])
def test_rows_are_taken_apart_as_they_were_put_together(horizon, width, marks):
    spec, rng = TaskSpec(3, 2, horizon, marks), np.random.default_rng(0)
    numbers = lambda *shape: rng.normal(size=shape).astype(np.float32)  # noqa: E731
    valid = numbers(5, horizon) if horizon > 1 else None
    parts = Transition(
        numbers(5, 3), numbers(5, 2 * horizon), numbers(5), numbers(5), numbers(5, 3), valid
    )
    parts = parts.replace(held_out=numbers(5)) if marks else parts
    rows = pack(parts)
    assert rows.shape == (5, width + marks) == (5, spec.row_width)
    found = unpack(rows, spec)
    for name, part in vars(parts).items():
        np.testing.assert_array_equal(getattr(found, name), part)
    assert (found.valid is None) == (horizon == 1)
    assert (found.held_out is None) == (not marks)
    assert spec.for_learner == TaskSpec(3, 2 * horizon)


def test_single_actions_have_no_weights():
    zeros = np.zeros((2, 1), np.float32)
    single = Transition(zeros, zeros, zeros[:, 0], zeros[:, 0], zeros)
    assert single.recorded is single.has_action is single.has_value is None


def test_values_are_learned_from_rows_that_have_one_and_are_not_held_out():
    zeros = np.zeros((4, 1), np.float32)
    steps = Transition(zeros, zeros, zeros[:, 0], np.ones(4, np.float32), zeros)
    assert steps.teaches_value is None
    assert steps.replace(held_out=np.array([-1, 0, 1])).teaches_value.tolist() == [1, 1, 0]
    held_out = np.array([0, 0, 1, 1], np.float32)
    assert steps.replace(held_out=held_out).teaches_value.tolist() == [1, 1, 0, 0]
    chunks = steps.replace(held_out=held_out, valid=np.array([[1, 1], [1, 0]] * 2, np.float32))
    assert chunks.teaches_value.tolist() == [1, 0, 0, 0]
    cut = chunks.replace(held_out=None)
    assert cut.teaches_value.tolist() == cut.has_value.tolist() == [1, 0, 1, 0]


@pytest.mark.parametrize(
    ("valid", "discount", "has_value"),
    [
        ([1, 1, 1], 0.81, 1),  # whole
        ([1, 1, 1], 0.0, 1),  # the task ended in its last step
        ([1, 0, 0], 0.0, 1),  # the task ended before
        ([1, 1, 0], 0.9, 0),  # the recording was cut
        ([0, 0, 0], 0.0, 0),  # padding alone
    ],
)
def test_which_chunks_have_a_value(valid, discount, has_value):
    column = np.zeros((1, 1), np.float32)
    row = Transition(
        column,
        np.zeros((1, 6), np.float32),
        np.zeros(1, np.float32),
        np.array([discount], np.float32),
        column,
        np.array([valid], np.float32),
    )
    assert row.has_value.tolist() == [has_value]
    assert row.has_action.tolist() == [valid[0]]
    assert row.recorded.tolist() == [[step for step in valid for _ in range(2)]]
