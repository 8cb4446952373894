"""The training loop: one compiled call per chunk of updates, for all members (seeds, points of a sweep) at once: [R].

A run is a function of (config, seed, step): batches and noise are drawn from fold_in(key of the seed, step).
"""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from edp_jax.algorithms.base import AgentState, Algorithm, Hypers, Metrics, batch_key, update_key
from edp_jax.training import hosts, sharding
from edp_jax.types import Transition


@struct.dataclass
class Replay:
    """The dataset on the device, and how its rows are drawn."""

    transitions: Transition
    cumulative_weights: chex.Array | None = None  # [N - 1], see `cumulate`; None: all rows alike

    def sample(self, key: chex.PRNGKey, batch_size: int) -> Transition:
        """Draws rows with replacement."""
        index = draw_rows(key, batch_size, self.transitions.size, self.cumulative_weights)
        return jax.tree.map(lambda x: x[index], self.transitions)

    def batches(self, state: AgentState, steps: chex.Array, batch_size: int) -> Transition:
        """The batches of the updates `steps` [T], leaves [T, batch_size, ...]."""
        return jax.vmap(lambda step: self.sample(batch_key(state, step), batch_size))(steps)


TrainChunk = Callable[[AgentState, Any, Hypers, chex.Array, chex.Array], tuple[AgentState, Metrics]]
Advance = Callable[
    [AgentState, Metrics, Any, Hypers, chex.Array, chex.Array], tuple[AgentState, Metrics]
]


class Chunk(NamedTuple):
    """What one compiled call leaves: the state after update `step`, its metrics' means [R], and how long it took."""

    step: int
    state: AgentState
    metrics: dict[str, np.ndarray]
    num_updates: int
    seconds: float


def compiler_options() -> dict[str, int] | None:
    """What the training program is compiled with besides XLA_FLAGS: on a CPU, vectors as wide as its registers."""
    return {"xla_cpu_prefer_vector_width": 512} if jax.default_backend() == "cpu" else None


def draw_rows(
    key: chex.PRNGKey, batch_size: int, size: int, cumulative_weights: chex.Array | None
) -> chex.Array:
    """Rows [batch_size] of a dataset of `size` rows, with replacement; `cumulative_weights` by `cumulate`."""
    if cumulative_weights is None:
        return jax.random.randint(key, (batch_size,), 0, size)
    return jnp.searchsorted(
        cumulative_weights, jax.random.bits(key, (batch_size,), jnp.uint32), side="right"
    )


def init_seeds(algorithm: Algorithm, seeds: Sequence[int]) -> AgentState:
    """One agent per seed, stacked on axis 0 [R] and laid out over the devices."""
    keys = jnp.stack([jax.random.key(seed) for seed in seeds])
    states = sharding.over_seeds(sharding.seed_mesh(len(seeds)))
    return jax.jit(jax.vmap(algorithm.init), out_shardings=states)(keys)


def put_dataset(
    transitions: Transition, num_seeds: int, weights: np.ndarray | None = None
) -> Replay:
    """Copies the dataset to every device that trains; `weights` [N] are the probabilities of its rows, None for all alike."""
    return sharding.put(
        Replay(transitions, cumulate(weights)), sharding.replicated(sharding.seed_mesh(num_seeds))
    )


def cumulate(weights: np.ndarray | None) -> np.ndarray | None:
    """Weights [N] -> where the shares of the first N - 1 rows of 2^32 end; float32 could not tell millions of rows apart."""
    if weights is None:
        return None
    cumulative = np.cumsum(weights, dtype=np.float64)
    return np.minimum(cumulative[:-1] / cumulative[-1] * 2.0**32, 2.0**32 - 1).astype(np.uint32)


def put_hypers(hypers: Hypers, num_members: int) -> Hypers:
    """The settings on the devices, one value per member: leaves [R] from scalars or [R]."""
    leaves = jax.tree.map(
        lambda x: np.broadcast_to(np.asarray(x, np.float32), (num_members,)), hypers
    )
    return sharding.put(leaves, sharding.over_seeds(sharding.seed_mesh(num_members)))


def put_span(step: int, num_updates: int, num_members: int) -> tuple[jax.Array, jax.Array]:
    """Where updates start and how many they are, on every device that trains."""
    return sharding.put(
        (np.int32(step), np.int32(num_updates)),
        sharding.replicated(sharding.seed_mesh(num_members)),
    )


def make_train_chunk(algorithm: Algorithm, batch_size: int) -> TrainChunk:
    """Compiles (state [R], replay, hypers [R], step [], num_updates []) -> (state, metrics [R] averaged over the updates).

    The state is donated; `step` is its number of updates. How many follow is an argument of the compiled program, so chunks of
    any length share one, and where a run is cut into chunks changes nothing.
    """
    advance = make_advance(algorithm, batch_size)

    def train_member(
        state: AgentState,
        replay: Replay,
        hypers: Hypers,
        start: chex.Array,
        num_updates: chex.Array,
    ):
        sums = zero_sums(algorithm, batch_size, state, replay, hypers)
        state, sums = advance(state, sums, replay, hypers, start, num_updates)
        return state, means(sums, num_updates)

    return jit_members(train_member, (0, None, 0, None, None))


def jit_members(function: Callable, in_axes: tuple) -> Callable:
    """Compiles a function of one member's state, and more, for all members; the states [R] are donated."""
    return jax.jit(
        jax.vmap(function, in_axes=in_axes), donate_argnums=0, compiler_options=compiler_options()
    )


def make_advance(algorithm: Algorithm, batch_size: int) -> Advance:
    """(state, metrics' sums, source, hypers, step [], num_updates []) -> (state, sums) of one member, to be compiled.

    `source` is a `Replay`, or what has its `batches`.
    """
    ahead = algorithm.draws_ahead

    def draw(state: AgentState, source: Any, first: chex.Array):
        """Batches and draws of the updates first, first + 1, ..., leaves [ahead, ...]."""
        steps = first + jnp.arange(ahead)
        batches = source.batches(state, steps, batch_size)
        keys = jax.vmap(lambda step: update_key(state, step))(steps)
        return batches, jax.vmap(algorithm.draw, in_axes=(0, None, 0))(
            keys, state.actor.target_params, batches
        )

    def advance(
        state: AgentState,
        sums: Metrics,
        source: Any,
        hypers: Hypers,
        start: chex.Array,
        num_updates: chex.Array,
    ) -> tuple[AgentState, Metrics]:
        end = start + num_updates

        def block(index, carry):
            """The updates of one block, as far as they lie in the chunk. One sampling chain serves them all: the policy that
            makes their target actions does not move within the block."""
            first = index * ahead
            batches, draws = draw(carry[0], source, first)

            def update(j, carry):
                state, sums = carry
                batch, draw = jax.tree.map(lambda x: x[j], (batches, draws))
                state, metrics = algorithm.update(state, batch, hypers, draw)
                return state, jax.tree.map(jnp.add, sums, metrics)

            return jax.lax.fori_loop(
                jnp.maximum(start - first, 0), jnp.minimum(end - first, ahead), update, carry
            )

        return jax.lax.fori_loop(start // ahead, (end + ahead - 1) // ahead, block, (state, sums))

    return advance


def zero_sums(
    algorithm: Algorithm, batch_size: int, state: AgentState, source: Any, hypers: Hypers
) -> Metrics:
    """Sums of one member's metrics before the first update."""

    def metrics(state: AgentState, source: Any, hypers: Hypers) -> Metrics:
        batch = jax.tree.map(lambda x: x[0], source.batches(state, state.step[None], batch_size))
        return algorithm.update_step(state, batch, hypers)[1]

    return jax.tree.map(
        lambda m: jnp.zeros(m.shape, m.dtype), jax.eval_shape(metrics, state, source, hypers)
    )


def means(sums: Metrics, num_updates: chex.Array) -> Metrics:
    return jax.tree.map(lambda total: total / num_updates, sums)


def chunk_ends(start: int, num_steps: int, periods: Sequence[int]) -> Iterator[int]:
    """Steps at which a chunk ends: every multiple of a period, and the last step."""
    step = start
    while step < num_steps:
        step = min(num_steps, *((step // period + 1) * period for period in periods))
        yield step


def train(
    train_chunk: TrainChunk, state: AgentState, replay: Any, hypers: Hypers, ends: Iterator[int]
) -> Iterator[Chunk]:
    """Runs chunk after chunk up to each step of `ends`.

    Args:
      train_chunk: made by `make_train_chunk`, this module's or that of `stream`.
      state: [R]; its step says where to go on. Donated: use the state of the yielded chunks.
      replay: made by `put_dataset`; for a chunk of `stream` a `HostReplay`.
      hypers: scalar settings, or [R] where the members' differ.
      ends: increasing steps.
    """
    step, size = int(hosts.fetch(state.step)[0]), len(state.step)
    hypers = put_hypers(hypers, size)
    for end in ends:
        start = time.perf_counter()
        state, metrics = train_chunk(state, replay, hypers, *put_span(step, end - step, size))
        metrics = hosts.fetch(metrics)  # waits for the device
        yield Chunk(end, state, metrics, end - step, time.perf_counter() - start)
        step = end
