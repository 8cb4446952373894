"""The compiled chunk: seeds do not see each other, one compilation serves all chunks, nothing leaves the device inside one."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from edp_jax import TaskSpec, Transition, algorithms
from edp_jax.algorithms import base
from edp_jax.training import loop, sharding
from edp_jax.training.members import grid, member_hypers

SPEC = TaskSpec(3, 2)
CONFIG = algorithms.AlgorithmConfig(
    hidden_dims=(16, 16), num_timesteps=10, sampler_calls=3, ema_start=2
)
HYPERS = jax.tree.map(np.float32, algorithms.Hypers())
ALGORITHM = algorithms.make("td3", CONFIG, SPEC)


def make_dataset(size: int = 40) -> Transition:
    rng = np.random.default_rng(0)
    return Transition(
        observation=rng.normal(size=(size, 3)).astype(np.float32),
        action=rng.uniform(-1, 1, (size, 2)).astype(np.float32),
        reward=rng.normal(size=size).astype(np.float32),
        discount=np.ones(size, np.float32),
        next_observation=rng.normal(size=(size, 3)).astype(np.float32),
    )


def train(seeds: tuple[int, ...], ends: list[int]) -> loop.Chunk:
    dataset = loop.put_dataset(make_dataset(), len(seeds))
    state = loop.init_seeds(ALGORITHM, seeds)
    return list(
        loop.train(loop.make_train_chunk(ALGORITHM, 8), state, dataset, HYPERS, iter(ends))
    )[-1]


def params_of(state) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in jax.tree.leaves((state.actor, state.critic))]


def test_seeds_trained_together_equal_seeds_trained_alone():
    together = params_of(train((5, 7), [6]).state)
    for index, seed in enumerate((5, 7)):
        alone = params_of(train((seed,), [6]).state)
        for both, one in zip(together, alone, strict=True):
            np.testing.assert_allclose(both[index], one[0], rtol=1e-4, atol=1e-6)


def test_seeds_differ_and_a_seed_repeats_itself():
    first, again, other = (params_of(train((seed,), [4]).state) for seed in (0, 0, 1))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def test_how_a_run_is_cut_into_chunks_does_not_matter():
    whole, parts = train((0, 1), [7]), train((0, 1), [2, 3, 7])
    for a, b in zip(params_of(whole.state), params_of(parts.state), strict=True):
        np.testing.assert_array_equal(a, b)


def test_drawing_for_several_updates_at_once_changes_nothing():
    """Blocks of five updates share a sampling chain; against the same updates one by one, over three blocks and two parts."""
    config = dataclasses.replace(CONFIG, ema_period=5, ema_start=4)
    algorithm = algorithms.make("td3", config, SPEC)
    assert algorithm.draws_ahead == 5
    replay = loop.put_dataset(make_dataset(), 1)

    def params_after_12(algorithm):
        state = loop.init_seeds(algorithm, (3,))
        return params_of(
            list(
                loop.train(
                    loop.make_train_chunk(algorithm, 8), state, replay, HYPERS, iter([3, 12])
                )
            )[-1].state
        )

    for ahead, alone in zip(
        params_after_12(algorithm), params_after_12(algorithm._replace(draws_ahead=1)), strict=True
    ):
        np.testing.assert_allclose(ahead, alone, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("ema_period", "ahead"), [(1, 1), (5, 5), (8, 8), (12, 6), (7, 7), (22, 2), (1000, 8), (11, 1)]
)
def test_blocks_never_cross_a_step_of_the_moving_average(ema_period, ahead):
    assert base.draws_ahead(dataclasses.replace(CONFIG, ema_period=ema_period)) == ahead


def test_metrics_are_means_over_the_updates_of_the_chunk():
    dataset = loop.put_dataset(make_dataset(), 1)
    train_chunk = loop.make_train_chunk(ALGORITHM, 8)
    singles = list(
        loop.train(train_chunk, loop.init_seeds(ALGORITHM, (0,)), dataset, HYPERS, iter([1, 2, 3]))
    )
    whole = list(
        loop.train(train_chunk, loop.init_seeds(ALGORITHM, (0,)), dataset, HYPERS, iter([3]))
    )[0]
    for name, value in whole.metrics.items():
        np.testing.assert_allclose(
            value, np.mean([chunk.metrics[name] for chunk in singles], axis=0), rtol=1e-5, atol=1e-6
        )


def test_chunks_of_any_length_share_one_compilation_and_transfer_nothing(caplog):
    dataset = loop.put_dataset(make_dataset(), 2)
    train_chunk = loop.make_train_chunk(ALGORITHM, 8)
    state = loop.init_seeds(ALGORITHM, (0, 1))
    mesh = sharding.replicated(sharding.seed_mesh(2))
    hypers = loop.put_hypers(HYPERS, 2)
    spans = [
        jax.device_put((np.int32(start), np.int32(length)), mesh)
        for start, length in ((0, 2), (2, 5), (7, 3))
    ]
    with jax.log_compiles():
        state, _ = train_chunk(state, dataset, hypers, *spans[0])
        assert "Compiling" in caplog.text
        caplog.clear()
        with jax.transfer_guard("disallow"):
            for span in spans[1:]:
                state, _ = train_chunk(state, dataset, hypers, *span)
        assert "Compiling" not in caplog.text
    assert state.step.tolist() == [10, 10]


def test_the_state_is_donated():
    dataset = loop.put_dataset(make_dataset(), 1)
    state = loop.init_seeds(ALGORITHM, (0,))
    loop.make_train_chunk(ALGORITHM, 8)(
        state, dataset, loop.put_hypers(HYPERS, 1), np.int32(0), np.int32(1)
    )
    assert jax.tree.leaves(state.actor.params)[0].is_deleted()


def test_eight_seeds_on_eight_devices_need_no_collectives():
    if len(jax.devices()) < 8:
        pytest.skip("needs XLA_FLAGS=--xla_force_host_platform_device_count=8")
    seeds = tuple(range(8))
    state, dataset = loop.init_seeds(ALGORITHM, seeds), loop.put_dataset(make_dataset(), 8)
    hypers = loop.put_hypers(HYPERS, 8)
    assert len(state.step.sharding.device_set) == 8
    compiled = (
        loop.make_train_chunk(ALGORITHM, 8)
        .lower(state, dataset, hypers, jnp.int32(0), jnp.int32(3))
        .compile()
    )
    program = compiled.as_text()
    for collective in (
        "all-reduce",
        "all-gather",
        "all-to-all",
        "collective-permute",
        "reduce-scatter",
    ):
        assert collective not in program
    span = jax.device_put((np.int32(0), np.int32(3)), sharding.replicated(sharding.seed_mesh(8)))
    state, _ = compiled(state, dataset, hypers, *span)
    assert len(state.step.sharding.device_set) == 8


def test_a_point_of_a_sweep_equals_a_run_of_its_own():
    """Two seeds at two values of eta and tau in one program, against single runs."""
    members = grid((5, 7), {"eta": (0.0, 50.0), "tau": (0.5,)})
    columns = [{"seed": seed, "eta": eta, "tau": 0.5} for eta in (0.0, 50.0) for seed in (5, 7)]
    assert [member.columns for member in members] == columns
    hypers = member_hypers(algorithms.Hypers(), members)
    np.testing.assert_allclose(hypers.eta, [0, 0, 50, 50])
    np.testing.assert_allclose(hypers.discount, [0.99] * 4)

    def last(seeds, hypers):
        replay, state = (
            loop.put_dataset(make_dataset(), len(seeds)),
            loop.init_seeds(ALGORITHM, seeds),
        )
        return next(
            loop.train(loop.make_train_chunk(ALGORITHM, 8), state, replay, hypers, iter([6]))
        )

    swept = last([member.seed for member in members], hypers)
    for index, member in enumerate(members):
        alone = last([member.seed], algorithms.Hypers(**dict(member.point)))
        for both, one in zip(params_of(swept.state), params_of(alone.state), strict=True):
            np.testing.assert_allclose(both[index], one[0], rtol=1e-4, atol=1e-6)
    assert not np.allclose(swept.metrics["actor/loss"][:2], swept.metrics["actor/loss"][2:])


def test_rows_are_drawn_by_their_weights():
    """Weights 0, 1/4, 3/4 over 4000 draws; without weights all alike."""
    transitions = jax.tree.map(lambda leaf: leaf[:3], make_dataset())
    replay = loop.put_dataset(
        transitions.replace(reward=np.arange(3, dtype=np.float32)), 1, np.array([0.0, 1.0, 3.0])
    )
    for drawn_from, expected in (
        (replay, [0, 0.25, 0.75]),
        (replay.replace(cumulative_weights=None), [1 / 3] * 3),
    ):
        reward = np.asarray(drawn_from.sample(jax.random.key(0), 4000).reward).astype(int)
        np.testing.assert_allclose(np.bincount(reward, minlength=3) / 4000, expected, atol=0.03)


def test_every_row_of_a_large_dataset_can_be_drawn():
    """2^24 + 1 rows of equal weight: steps of 2^-23, which uniform float32 numbers have, would pass over half of them."""
    size = 2**24 + 1
    shares = np.diff(loop.cumulate(np.ones(size)), prepend=0)
    assert len(shares) == size - 1 and set(np.unique(shares)) == {255, 256}
    rows = loop.draw_rows(jax.random.key(0), 10_000, size, loop.cumulate(np.ones(size)))
    assert np.unique(np.asarray(rows) % 4).size == 4 and 0 <= np.min(rows) and np.max(rows) < size


@pytest.mark.parametrize(
    ("start", "num_steps", "periods", "expected"),
    [
        (0, 10, (4,), [4, 8, 10]),
        (0, 12, (4, 6), [4, 6, 8, 12]),
        (8, 12, (4, 6), [12]),  # going on from 8
        (12, 12, (4,), []),
        (0, 3, (100, 50), [3]),
    ],
)
def test_chunk_ends(start, num_steps, periods, expected):
    assert list(loop.chunk_ends(start, num_steps, periods)) == expected


@pytest.mark.parametrize(
    ("num_seeds", "devices"), [(1, 1), (2, 2), (3, 3), (6, 6), (9, 3), (16, 8)]
)
def test_seeds_use_the_largest_number_of_devices_that_divides_them(num_seeds, devices):
    assert sharding.seed_mesh(num_seeds).size == devices
