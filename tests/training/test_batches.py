"""Rows are drawn by their weights, from the device and from the host alike."""

import jax
import numpy as np
import pytest

from edp_jax.algorithms.base import AgentState
from edp_jax.training import batches, stream
from edp_jax.training.trainer import Trainer

SEEDS = (5, 7)


def assert_same(a, b):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key):
            x, y = jax.random.key_data(x), jax.random.key_data(y)
        np.testing.assert_array_equal(np.asarray(x), np.asarray(y))


def states(seeds) -> AgentState:
    keys = jax.vmap(jax.random.key)(np.array(seeds))
    return AgentState(np.zeros(len(seeds), np.int32), keys, {})


@pytest.mark.parametrize(
    ("weights", "expected"),
    [(np.array([0.0, 1.0, 3.0]), [0, 0.25, 0.75]), (None, [1 / 3, 1 / 3, 1 / 3])],
)
def test_rows_are_drawn_by_their_weights(weights, expected):
    boundaries = batches.row_boundaries(weights)
    rows = np.asarray(batches.draw_rows(jax.random.key(0), 4000, 3, boundaries))
    np.testing.assert_allclose(np.bincount(rows, minlength=3) / 4000, expected, atol=0.03)


def test_every_row_of_a_large_dataset_can_be_drawn():
    """2^24 + 1 rows of equal weight: uniform float32 numbers would pass over half of them."""
    size = 2**24 + 1
    boundaries = batches.row_boundaries(np.ones(size))
    shares = np.diff(boundaries, prepend=0)
    assert len(shares) == size - 1 and set(np.unique(shares)) == {255, 256}
    rows = np.asarray(batches.draw_rows(jax.random.key(0), 10_000, size, boundaries))
    assert np.unique(rows % 4).size == 4 and 0 <= rows.min() and rows.max() < size


def test_resident_batches_are_rows_of_the_dataset(tiny_rows):
    """An observation tells which row it is from; all parts have to come from the same."""
    dataset = tiny_rows()
    ((end, resident),) = batches.Resident(dataset, 1, 8).spans(lambda: states((5,)), 2, 6)
    taken = resident.take(AgentState(np.int32(0), jax.random.key(5), {}), np.arange(2, 6))
    assert end == 6 and taken.reward.shape == (4, 8)
    index = np.argmax(np.asarray(taken.observation)[..., None, 0] == dataset.rows[:, 0], axis=-1)
    np.testing.assert_array_equal(taken.action, dataset.rows[index, 3:5])
    np.testing.assert_array_equal(taken.next_observation, dataset.rows[index, 5:8])
    np.testing.assert_array_equal(taken.reward, dataset.rows[index, 8])
    np.testing.assert_array_equal(taken.discount, dataset.rows[index, 9])
    assert len(np.unique(index)) > 8  # not the same batch every time


@pytest.mark.parametrize(
    ("seeds", "weighted"),
    [
        pytest.param(SEEDS, True, id="two weighted"),
        pytest.param(tuple(range(9)), False, id="nine", marks=pytest.mark.slow),
    ],
)
def test_the_same_numbers_wherever_the_data_are(
    monkeypatch, tiny_learner, tiny_rows, seeds, weighted
):
    """Windows of 8 updates, blocks of 4, and calls that end inside both."""
    monkeypatch.setattr(stream, "MAX_WINDOW", 9)
    dataset = tiny_rows(np.arange(1.0, 41.0) if weighted else None)
    found = {}
    for placement in ("device", "host"):
        options = {"seeds": seeds, "batch_size": 8, "data_placement": placement}
        trainer = Trainer(tiny_learner(ema_period=4), dataset, **options)
        state, metrics = trainer.init(), {}
        for length in (3, 5, 13, 9):
            state, metrics = trainer.train(state, length)
        found[placement] = state, metrics
    assert_same(found["host"], found["device"])


def test_one_source_serves_one_agent_after_another(tiny_learner, tiny_rows):
    """What was gathered ahead for other keys, or for other updates, is not used."""
    streamed = stream.Streamed(tiny_rows(), 1, 8, draws_ahead=4)
    resident = batches.Resident(tiny_rows(), 1, 8)
    for seed in (1, 2, 1):
        member = AgentState(np.int32(0), jax.random.key(seed), {})
        ((end, window),) = streamed.spans(lambda seed=seed: states((seed,)), 2, 6)
        ((_, rows),) = resident.spans(lambda seed=seed: states((seed,)), 2, 6)
        window = jax.tree.map(lambda leaf: leaf[0], window)
        assert_same(window.take(member, np.arange(2, 6)), rows.take(member, np.arange(2, 6)))


def test_a_window_is_gathered_while_the_one_before_is_in_use(monkeypatch, tiny_rows):
    monkeypatch.setattr(stream, "MAX_WINDOW", 4)
    source = stream.Streamed(tiny_rows(), 2, 8, draws_ahead=4)
    spans = source.spans(lambda: states(SEEDS), 13, 18)
    end, first = next(spans)
    assert end == 16 and first.rows.shape == (2, 4, 8, 10) and first.first.tolist() == [12, 12]
    assert sorted(source._windows) == [3, 4]  # and no more: the host's memory is bounded
    ahead = source._windows[4].result()
    end, second = next(spans)
    assert end == 18 and second is ahead and second.first.tolist() == [16, 16]


def test_rows_beyond_the_rounding_of_the_weights_are_the_last(tiny_rows):
    """JAX takes the last row for an index behind it; so does the host."""
    source = stream.Streamed(tiny_rows(), 1, 8, draws_ahead=1)
    window = source._gather(jax.numpy.array([[[0, 39, 40]]]), 0)
    np.testing.assert_array_equal(window.rows[0, 0, 2], tiny_rows().rows[39])


@pytest.mark.parametrize(
    ("update_bytes", "ahead", "size"),
    [(10**5, 5, 250), (10**5, 8, 248), (10**6, 5, 65), (10**9, 5, 5)],
)
def test_windows_are_bounded_in_updates_and_bytes_and_hold_whole_blocks(update_bytes, ahead, size):
    assert stream._window_size(update_bytes, ahead) == size


@pytest.mark.parametrize(
    ("placement", "memory", "on_host"),
    [("auto", 3999, True), ("auto", 4001, False), ("device", 1, False), ("host", 10**9, True)],
)
def test_data_stay_on_the_host_where_they_take_more_than_their_share(
    monkeypatch, capsys, tiny_rows, placement, memory, on_host
):
    """40 rows of 10 numbers are 1600 bytes: 0.4 of 4000."""
    monkeypatch.setattr(stream, "_memory_of", lambda device: memory)
    assert stream.stays_on_host(placement, tiny_rows().rows, 2) is on_host
    assert ("stay on the host" in capsys.readouterr().out) is on_host
