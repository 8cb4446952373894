"""Data on the host: the same rows, the same numbers, however windows and chunks are cut."""

import jax
import numpy as np
import pytest

from edp_jax import TaskSpec, Transition, algorithms
from edp_jax.training import loop, stream
from edp_jax.types import pack, unpack

SPEC = TaskSpec(3, 2)
CONFIG = algorithms.AlgorithmConfig(
    hidden_dims=(16, 16), num_timesteps=10, sampler_calls=3, ema_start=2, ema_period=4
)
HYPERS = algorithms.Hypers()
ALGORITHM = algorithms.make("td3", CONFIG, SPEC)
WEIGHTS = np.arange(1.0, 41.0)
BATCH_SIZE = 8


def make_dataset(size: int = 40) -> Transition:
    rng = np.random.default_rng(0)
    return Transition(
        observation=rng.normal(size=(size, 3)).astype(np.float32),
        action=rng.uniform(-1, 1, (size, 2)).astype(np.float32),
        reward=rng.normal(size=size).astype(np.float32),
        discount=(rng.uniform(size=size) < 0.9).astype(np.float32),
        next_observation=rng.normal(size=(size, 3)).astype(np.float32),
    )


def host_replay(members: int, weights: np.ndarray | None = None) -> stream.HostReplay:
    return stream.HostReplay(make_dataset(), members, BATCH_SIZE, ALGORITHM.draws_ahead, weights)


@pytest.fixture(scope="module")
def resident_chunk():
    return loop.make_train_chunk(ALGORITHM, BATCH_SIZE)


@pytest.fixture(scope="module")
def streamed_chunk():
    return stream.make_train_chunk(ALGORITHM, BATCH_SIZE)


def train(train_chunk, replay, seeds, ends) -> list[loop.Chunk]:
    """All chunks; the states of all but the last are gone."""
    return list(
        loop.train(train_chunk, loop.init_seeds(ALGORITHM, seeds), replay, HYPERS, iter(ends))
    )


def assert_same_state(a, b):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key):
            x, y = jax.random.key_data(x), jax.random.key_data(y)
        np.testing.assert_array_equal(np.asarray(x), np.asarray(y))


@pytest.mark.parametrize(
    ("seeds", "weights"),
    [
        pytest.param((5, 7), WEIGHTS, id="two weighted"),
        pytest.param(tuple(range(9)), None, id="nine", marks=pytest.mark.slow),
    ],
)
def test_the_same_numbers_as_with_the_data_on_the_device(
    monkeypatch, resident_chunk, streamed_chunk, seeds, weights
):
    """Windows of 8 updates, blocks of 4, chunks that end inside both."""
    monkeypatch.setattr(stream, "MAX_WINDOW", 9)
    ends = [3, 8, 21, 30]
    replay = host_replay(len(seeds), weights)
    assert replay.window_size == 8
    resident = train(
        resident_chunk, loop.put_dataset(make_dataset(), len(seeds), weights), seeds, ends
    )
    streamed = train(streamed_chunk, replay, seeds, ends)
    assert_same_state(streamed[-1].state, resident[-1].state)
    for a, b in zip(streamed, resident, strict=True):
        assert (a.step, a.num_updates) == (
            b.step,
            b.num_updates,
        ) and a.metrics.keys() == b.metrics.keys()
        for name in a.metrics:
            np.testing.assert_array_equal(a.metrics[name], b.metrics[name], name)


def test_a_replay_serves_one_agent_after_another(resident_chunk, streamed_chunk):
    """What was gathered ahead for other seeds, or for other updates, is not used."""
    replay, resident = host_replay(1), loop.put_dataset(make_dataset(), 1)
    for seed in (1, 2, 1):
        streamed = train(streamed_chunk, replay, (seed,), [6])[-1]
        assert_same_state(streamed.state, train(resident_chunk, resident, (seed,), [6])[-1].state)


def test_a_window_is_gathered_while_the_one_before_is_in_use(monkeypatch):
    monkeypatch.setattr(stream, "MAX_WINDOW", 4)
    replay = host_replay(2)
    replay.set_members(loop.init_seeds(ALGORITHM, (0, 1)))
    first = replay.window(3)
    assert first.rows.shape == (2, 4, BATCH_SIZE, 3 + 2 + 3 + 2) and first.first.tolist() == [
        12,
        12,
    ]
    assert sorted(replay._windows) == [3, 4]  # and no more: the host's memory is bounded
    ahead = replay._windows[4]
    assert replay.window(4) is ahead.result() and replay.window(4).first.tolist() == [16, 16]


def test_rows_beyond_the_rounding_of_the_weights_are_the_last():
    """Of a weight that float32 rounds to nothing, JAX takes the last row for an index behind it; so does the host."""
    index = jax.numpy.array([[[0, 39, 40]]])
    replay = host_replay(1)
    np.testing.assert_array_equal(replay._gather(index, 0).rows[0, 0, 2], pack(make_dataset())[39])


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
    monkeypatch, capsys, placement, memory, on_host
):
    """40 transitions of 10 numbers are 1600 bytes: 0.4 of 4000."""
    monkeypatch.setattr(stream, "_memory_of", lambda device: memory)
    assert stream.stays_on_host(placement, make_dataset(), 2) is on_host
    assert ("stay on the host" in capsys.readouterr().out) is on_host


def test_packed_rows_are_not_copied_again():
    dataset = make_dataset()
    rows = pack(dataset)
    columns = unpack(rows, 3, 2)
    for column, leaf in zip(jax.tree.leaves(columns), jax.tree.leaves(dataset), strict=True):
        np.testing.assert_array_equal(column, leaf)
    assert pack(columns) is rows
    other = columns.replace(reward=columns.reward + 1)
    assert pack(other) is not rows
    np.testing.assert_array_equal(pack(other)[:, -2], dataset.reward + 1)
