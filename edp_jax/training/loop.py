"""The training loop: one compiled call per chunk of updates, for all members (seeds, points of a sweep) at once: [R].

A run is a function of (config, seed, step): batches and noise are drawn from fold_in(key of the seed, step).
"""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

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
    cumulative_weights: chex.Array | None = None  # [B] increasing to 1; None: all rows alike

    def sample(self, key: chex.PRNGKey, batch_size: int) -> Transition:
        """Draws rows with replacement."""
        if self.cumulative_weights is None:
            index = jax.random.randint(key, (batch_size,), 0, self.transitions.size)
        else:
            index = jnp.searchsorted(self.cumulative_weights, jax.random.uniform(key, (batch_size,)), side="right")
        return jax.tree.map(lambda x: x[index], self.transitions)


TrainChunk = Callable[[AgentState, Replay, Hypers, chex.Array, chex.Array], tuple[AgentState, Metrics]]


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


def init_seeds(algorithm: Algorithm, seeds: Sequence[int]) -> AgentState:
    """One agent per seed, stacked on axis 0 [R] and laid out over the devices."""
    keys = jnp.stack([jax.random.key(seed) for seed in seeds])
    states = sharding.over_seeds(sharding.seed_mesh(len(seeds)))
    return jax.jit(jax.vmap(algorithm.init), out_shardings=states)(keys)


def put_dataset(transitions: Transition, num_seeds: int, weights: np.ndarray | None = None) -> Replay:
    """Copies the dataset to every device that trains; `weights` [B] are the probabilities of its rows, None for all alike."""
    replay = Replay(transitions)
    if weights is not None:
        cumulative = np.cumsum(weights, dtype=np.float64)
        replay = replay.replace(cumulative_weights=(cumulative / cumulative[-1]).astype(np.float32))
    return sharding.put(replay, sharding.replicated(sharding.seed_mesh(num_seeds)))


def put_hypers(hypers: Hypers, num_members: int) -> Hypers:
    """The settings on the devices, one value per member: leaves [R] from scalars or [R]."""
    leaves = jax.tree.map(lambda x: np.broadcast_to(np.asarray(x, np.float32), (num_members,)), hypers)
    return sharding.put(leaves, sharding.over_seeds(sharding.seed_mesh(num_members)))


def make_train_chunk(algorithm: Algorithm, batch_size: int) -> TrainChunk:
    """Compiles (state [R], replay, hypers [R], step [], num_updates []) -> (state, metrics [R] averaged over the updates).

    The state is donated; `step` is its number of updates. How many follow is an argument of the compiled program, so chunks of
    any length share one, and where a run is cut into chunks changes nothing.
    """
    ahead = algorithm.draws_ahead

    def draw(state: AgentState, replay: Replay, first: chex.Array):
        """Batches and draws of the updates first, first + 1, ..., leaves [ahead, ...]."""
        steps = first + jnp.arange(ahead)
        batches = jax.vmap(lambda step: replay.sample(batch_key(state, step), batch_size))(steps)
        keys = jax.vmap(lambda step: update_key(state, step))(steps)
        return batches, jax.vmap(algorithm.draw, in_axes=(0, None, 0))(keys, state.actor.target_params, batches)

    def train_member(state: AgentState, replay: Replay, hypers: Hypers, start: chex.Array, num_updates: chex.Array):
        _, metrics = jax.eval_shape(algorithm.update_step, state, replay.sample(state.key, batch_size), hypers)
        sums = jax.tree.map(lambda m: jnp.zeros(m.shape, m.dtype), metrics)
        end = start + num_updates

        def block(index, carry):
            """The updates of one block, as far as they lie in the chunk. One sampling chain serves them all: the policy that
            makes their target actions does not move within the block."""
            first = index * ahead
            batches, draws = draw(carry[0], replay, first)

            def update(j, carry):
                state, sums = carry
                batch, draw = jax.tree.map(lambda x: x[j], (batches, draws))
                state, metrics = algorithm.update(state, batch, hypers, draw)
                return state, jax.tree.map(jnp.add, sums, metrics)

            return jax.lax.fori_loop(jnp.maximum(start - first, 0), jnp.minimum(end - first, ahead), update, carry)

        state, sums = jax.lax.fori_loop(start // ahead, (end + ahead - 1) // ahead, block, (state, sums))
        return state, jax.tree.map(lambda total: total / num_updates, sums)

    return jax.jit(
        jax.vmap(train_member, in_axes=(0, None, 0, None, None)), donate_argnums=0, compiler_options=compiler_options()
    )


def chunk_ends(start: int, num_steps: int, periods: Sequence[int]) -> Iterator[int]:
    """Steps at which a chunk ends: every multiple of a period, and the last step."""
    step = start
    while step < num_steps:
        step = min(num_steps, *((step // period + 1) * period for period in periods))
        yield step


def train(
    train_chunk: TrainChunk, state: AgentState, replay: Replay, hypers: Hypers, ends: Iterator[int]
) -> Iterator[Chunk]:
    """Runs chunk after chunk up to each step of `ends`.

    Args:
      train_chunk: made by `make_train_chunk`.
      state: [R]; its step says where to go on. Donated: use the state of the yielded chunks.
      replay: made by `put_dataset`.
      hypers: scalar settings, or [R] where the members' differ.
      ends: increasing steps.
    """
    step, size = int(hosts.fetch(state.step)[0]), len(state.step)
    devices, hypers = sharding.replicated(sharding.seed_mesh(size)), put_hypers(hypers, size)
    for end in ends:
        start = time.perf_counter()
        span = [sharding.put(np.int32(number), devices) for number in (step, end - step)]
        state, metrics = train_chunk(state, replay, hypers, *span)
        metrics = hosts.fetch(metrics)  # waits for the device
        yield Chunk(end, state, metrics, end - step, time.perf_counter() - start)
        step = end
