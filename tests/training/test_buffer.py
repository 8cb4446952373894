"""Collected steps: a ring of rows, and batches in which they are mixed with those of a dataset."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from edp_jax.algorithms.base import AgentState
from edp_jax.data.rewards import RewardTransform
from edp_jax.training.batches import ResidentRows
from edp_jax.training.buffer import Buffer, Mixed, add
from edp_jax.types import TaskSpec, Units

SPEC = TaskSpec(1, 1)  # rows: observation, action, next observation, reward, discount


def numbered(*numbers):
    """Rows in which every column is the number of the row."""
    return jnp.tile(jnp.array(numbers, jnp.float32)[:, None], (1, SPEC.row_width))


def test_the_newest_steps_replace_the_oldest():
    """A capacity of 4; the counts leave out the last rows of what is added."""
    buffer = Buffer(np.zeros((4, SPEC.row_width), np.float32), np.int32(0))
    sizes = []
    for rows, count in (((1, 2, 9), 2), ((3, 9, 9), 1), ((9, 9, 9), 0), ((4, 5, 6), 3)):
        buffer = add(buffer, numbered(*rows), np.int32(count))
        sizes.append(int(buffer.size))
    assert sizes == [2, 3, 3, 4] and int(buffer.added) == 6
    assert np.asarray(buffer.rows)[:, 0].tolist() == [5, 6, 3, 4]


def mixed(share, size, batch_size=8, num_offline=6):
    """Offline rows 0, ..., 5 and collected ones 100, 101, ...; the learner sees twice minus 1."""
    offline = ResidentRows(numbered(*range(num_offline)), None, SPEC, batch_size)
    rows = numbered(*range(100, 110))
    units = Units(np.zeros(1), np.ones(1), -200 * np.ones(1), 200 * np.ones(1))
    rewards = RewardTransform(2.0, -1.0)
    return Mixed(offline, Buffer(rows, np.int32(size)), units, rewards, SPEC, num_offline, share)


def drawn(batches, num_steps=400):
    state = AgentState(np.int32(0), jax.random.key(3), {})
    return batches.take(state, jnp.arange(num_steps)), state


@pytest.mark.parametrize(
    ("share", "size", "counts"), [(0.5, 4, {4}), (0.3, 4, {2, 3}), (1, 4, {8})]
)
def test_a_share_of_each_batch_is_collected(share, size, counts):
    batch, _ = drawn(mixed(share, size))
    number = (np.asarray(batch.observation) >= 100).sum(axis=(1, 2))
    assert set(number.tolist()) == counts
    assert abs(number.mean() - 8 * share) < 0.1  # of 0.3: three standard errors are 0.08


def test_share_zero_draws_all_rows_alike():
    """Of 6 rows of the data and 4 collected ones each is a tenth of what is drawn."""
    batch, _ = drawn(mixed(0, 4))
    values, counts = np.unique(np.asarray(batch.observation), return_counts=True)
    assert values.tolist() == [0, 1, 2, 3, 4, 5, 100, 101, 102, 103]
    np.testing.assert_allclose(counts / counts.sum(), 0.1, atol=0.02)


def test_without_collected_steps_the_batches_are_those_of_the_data():
    batches = mixed(0.5, 0)
    batch, state = drawn(batches, 5)
    expected = batches.offline.take(state, jnp.arange(5))
    jax.tree.map(np.testing.assert_array_equal, batch, expected)


def test_collected_steps_become_what_a_learner_sees_and_the_data_stay():
    """Rewards 2 r - 1; actions of the box [-200, 200] in [-1, 1]."""
    batch, _ = drawn(mixed(0.5, 4))
    row = np.asarray(batch.observation)[..., 0]
    collected = row >= 100
    np.testing.assert_allclose(batch.reward, np.where(collected, 2 * row - 1, row))
    np.testing.assert_allclose(batch.action[..., 0], np.where(collected, row / 200, row), rtol=1e-6)


def test_a_batch_depends_on_the_members_key_and_the_number_of_the_update():
    batches = mixed(0.5, 4)
    state = AgentState(np.int32(0), jax.random.key(3), {})
    together, alone = batches.take(state, jnp.arange(3)), batches.take(state, jnp.arange(1, 2))
    np.testing.assert_array_equal(together.observation[1], alone.observation[0])
    other = batches.take(AgentState(np.int32(0), jax.random.key(4), {}), jnp.arange(3))
    assert (np.asarray(together.observation) != np.asarray(other.observation)).any()
