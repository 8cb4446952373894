"""Data larger than the accelerator: the dataset stays on the host, and batches come to the devices window by window.

Window i holds the batches of the updates i T, ..., i T + T - 1: the rows that `loop.Replay` would draw. While the devices work on
one window, the host draws, gathers and copies the next, so that a run leaves the same numbers as with its data on the devices.
"""

import concurrent.futures
import os
from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from edp_jax.algorithms.base import AgentState, Algorithm, Hypers, Metrics, batch_key
from edp_jax.training import hosts, loop, sharding
from edp_jax.types import TaskSpec, Transition, pack, unpack

PLACEMENTS = ("auto", "device", "host")
DEVICE_SHARE = (
    0.4  # of a device's memory: where the dataset takes more, "auto" leaves it on the host
)
WINDOW_BYTES = 64 * 2**20  # a process' part of a window; three windows are alive at most
MAX_WINDOW = 250  # updates


def stays_on_host(placement: str, transitions: Transition, num_members: int) -> bool:
    """What one of `PLACEMENTS` means for this dataset and these devices; the same in all processes. Prints a line where data stay
    on the host."""
    needed = sum(leaf.nbytes for leaf in jax.tree.leaves(transitions))
    memory = min(map(_memory_of, sharding.seed_mesh(num_members).local_devices))
    too_large = hosts.gather(np.array([needed > DEVICE_SHARE * memory])).any()
    on_host = placement == "host" or (placement == "auto" and bool(too_large))
    if on_host:
        print(
            f"{needed / 1e9:.3g} GB of data stay on the host (a device has {memory / 1e9:.3g} GB): batches are sent ahead"
        )
    return on_host


def _memory_of(device: jax.Device) -> float:
    """Bytes that a device can use; a CPU's virtual devices share those of the machine."""
    if device.platform == "cpu":
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / jax.local_device_count()
    return (device.memory_stats() or {}).get("bytes_limit", float("inf"))


@struct.dataclass
class Window:
    """The batches of T updates that follow each other."""

    rows: chex.Array  # [T, B, 2 O + A + 2], see `pack`
    first: chex.Array  # [] the first of these updates
    sizes: tuple[int, int] = struct.field(pytree_node=False)  # O and A

    def batches(self, state: AgentState, steps: chex.Array, batch_size: int) -> Transition:
        """As `loop.Replay.batches`, for steps of this window."""
        del state, batch_size
        return unpack(self.rows[steps - self.first], TaskSpec(*self.sizes))


class HostReplay:
    """The dataset on the host, and the windows of it that the devices train on."""

    def __init__(
        self,
        transitions: Transition,
        members: int,
        batch_size: int,
        ahead: int,
        weights: np.ndarray | None = None,
    ):
        """Takes numpy transitions, which are copied unless `pack` finds them in rows already.

        Args:
          transitions: leaves [N, ...].
          members: R.
          batch_size: B.
          ahead: `draws_ahead` of the algorithm.
          weights: probabilities [N] of the rows; None: all alike.
        """
        mesh = sharding.seed_mesh(members)
        self._over_seeds, self._replicated = sharding.over_seeds(mesh), sharding.replicated(mesh)
        self._rows = pack(transitions)
        self._sizes = transitions.observation.shape[1], transitions.action.shape[1]
        self._cumulative_weights = sharding.put(loop.cumulate(weights), self._replicated)
        own_members = members // jax.process_count()
        self.window_size = _window_size(own_members * batch_size * self._rows[0].nbytes, ahead)
        self._draw = jax.jit(
            jax.vmap(self._make_draw(batch_size), in_axes=(0, None, None)),
            out_shardings=self._over_seeds,
        )
        self._worker = concurrent.futures.ThreadPoolExecutor(1, "gather")
        self._keys: tuple[np.ndarray, jax.Array] | None = (
            None  # key data of this process' members, and of all on the devices
        )
        self._windows: dict[int, concurrent.futures.Future[Window]] = {}

    def set_members(self, state: AgentState) -> None:
        """Says whose batches are wanted: those of the keys in `state` [R]."""
        own = np.asarray(sharding.own_part(jax.random.key_data(state.key)))
        if self._keys is None or not np.array_equal(own, self._keys[0]):
            self._keys, self._windows = (own, self._put_own(own, len(state.step))), {}

    def window(self, number: int) -> Window:
        """Waits for window `number`, leaves [R, ...], and has the next one made meanwhile."""
        wanted = (number, number + 1)
        self._windows = {i: self._windows.get(i) or self._request(i) for i in wanted}
        return self._windows[number].result()

    def _request(self, number: int) -> concurrent.futures.Future[Window]:
        first = sharding.put(np.int32(number * self.window_size), self._replicated)
        return self._worker.submit(
            self._gather, self._draw(self._keys[1], self._cumulative_weights, first), number
        )

    def _make_draw(self, batch_size: int) -> Callable[..., chex.Array]:
        def draw(
            key_data: chex.Array, cumulative_weights: chex.Array | None, first: chex.Array
        ) -> chex.Array:
            """Rows [T, B] of one member's batches, from update `first` on."""
            state = AgentState(step=first, key=jax.random.wrap_key_data(key_data), actor=None)

            def rows(step: chex.Array) -> chex.Array:
                return loop.draw_rows(
                    batch_key(state, step), batch_size, len(self._rows), cumulative_weights
                )

            return jax.vmap(rows)(first + jnp.arange(self.window_size))

        return draw

    def _gather(self, index: jax.Array, number: int) -> Window:
        """Window `number`, whose rows are `index` [R, T, B]; each process reads those of its own members."""
        own = np.asarray(sharding.own_part(index))
        rows = np.take(
            self._rows, own, axis=0, mode="clip"
        )  # as JAX does; "raise" would copy once more
        first = np.full(len(own), number * self.window_size, np.int32)
        return Window(
            self._put_own(rows, len(index)), self._put_own(first, len(index)), self._sizes
        )

    def _put_own(self, own: np.ndarray, members: int) -> jax.Array:
        """This process' part [R / P, ...] of an array [R, ...] onto its devices."""
        return jax.make_array_from_process_local_data(
            self._over_seeds, own, (members, *own.shape[1:])
        )


def _window_size(update_bytes: int, ahead: int) -> int:
    """Updates of a window: a multiple of `ahead`, so that no block of updates lies in two windows."""
    return max(1, min(MAX_WINDOW, WINDOW_BYTES // update_bytes) // ahead) * ahead


def make_train_chunk(algorithm: Algorithm, batch_size: int) -> loop.TrainChunk:
    """What `loop.make_train_chunk` makes, for a `HostReplay`: (state [R], replay, hypers [R], step [], num_updates []) -> (state,
    metrics [R]). One compiled program takes window after window; the host runs ahead of it by one."""
    advance = loop.jit_members(loop.make_advance(algorithm, batch_size), (0, 0, 0, 0, None, None))
    means = jax.jit(loop.means)

    @jax.jit
    @jax.vmap
    def zero_sums(state: AgentState, window: Window, hypers: Hypers) -> Metrics:
        return loop.zero_sums(algorithm, batch_size, state, window, hypers)

    def train_chunk(
        state: AgentState,
        replay: HostReplay,
        hypers: Hypers,
        start: chex.Array,
        num_updates: chex.Array,
    ) -> tuple[AgentState, Metrics]:
        replay.set_members(state)
        size, step = replay.window_size, int(start)
        end = step + int(num_updates)
        sums = previous = None
        while step < end:
            window = replay.window(step // size)
            count = min(end, (step // size + 1) * size) - step
            if sums is None:
                sums = zero_sums(state, window, hypers)
            state, sums = advance(
                state, sums, window, hypers, *loop.put_span(step, count, len(state.step))
            )
            jax.block_until_ready(
                previous
            )  # else the host would run ahead of the devices without end
            previous, step = sums, step + count
        return state, means(sums, num_updates)

    return train_chunk
