"""Datasets larger than a device: the rows stay on the host, and batches are sent ahead.

The updates of a run are divided into windows of T updates each: window i holds the batches of the
updates i T, ..., i T + T - 1, with the rows that `batches.Resident` would take. While the devices
work on one window, the host draws, gathers and copies the next.
"""

import concurrent.futures
import os
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from edp_jax.algorithms.base import AgentState, batch_key
from edp_jax.training import hosts, sharding
from edp_jax.training.batches import HasRows, draw_rows, row_boundaries
from edp_jax.types import TaskSpec, Transition, unpack

PLACEMENTS = ("auto", "device", "host")
DEVICE_SHARE = 0.4  # of a device's memory; "auto" leaves data that take more on the host
WINDOW_BYTES = 64 * 2**20  # a process' part of a window; at most three windows are alive
MAX_WINDOW = 250  # updates


def stays_on_host(placement: str, rows: np.ndarray, num_members: int) -> bool:
    """Decides where a dataset is kept, and prints a line where that is the host. Collective.

    Args:
      placement: "host", "device", or "auto": on the devices unless the rows take more than
        `DEVICE_SHARE` of the memory of one of them.
      rows: [N, D].
      num_members: R.

    Returns:
      Whether it stays on the host; the same in all processes.
    """
    devices = sharding.member_mesh(num_members).local_devices
    memory = min(_memory_of(device) for device in devices)
    too_large = hosts.all_gather(np.array([rows.nbytes > DEVICE_SHARE * memory])).any()
    on_host = placement == "host" or (placement == "auto" and bool(too_large))
    if on_host:
        print(
            f"{rows.nbytes / 1e9:.3g} GB of data stay on the host (a device has "
            f"{memory / 1e9:.3g} GB): batches are sent ahead"
        )
    return on_host


def _memory_of(device: Any) -> float:
    """Bytes that a device can use; a CPU's virtual devices share those of the machine."""
    if device.platform == "cpu":
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / jax.local_device_count()
    return (device.memory_stats() or {}).get("bytes_limit", float("inf"))


@struct.dataclass
class Window:
    """The batches of T updates that follow each other; all leaves gain an axis [R] for members."""

    rows: jax.Array  # [T, B, D]
    first: jax.Array  # [] the first of these updates
    spec: TaskSpec = struct.field(pytree_node=False)

    member_axis = 0

    def take(self, state: AgentState, steps: jax.Array) -> Transition:
        """As `Batches.take`, for steps of this window."""
        del state
        return unpack(self.rows[steps - self.first], self.spec)


class Streamed:
    """A `BatchSource` that keeps the dataset on the host."""

    def __init__(self, dataset: HasRows, num_members: int, batch_size: int, draws_ahead: int):
        """Takes numpy rows; they are not copied.

        Args:
          dataset: N transitions.
          num_members: R.
          batch_size: B.
          draws_ahead: of the algorithm. A block of so many updates lies in one window.
        """
        mesh = sharding.member_mesh(num_members)
        self._over_members = sharding.over_members(mesh)
        self._replicated = sharding.replicated(mesh)
        self._rows, self._spec, self._num_members = dataset.rows, dataset.spec, num_members
        self._boundaries = sharding.put(row_boundaries(dataset.weights), self._replicated)
        own_members = num_members // jax.process_count()
        update_bytes = own_members * batch_size * dataset.rows[0].nbytes
        self.window_size = _window_size(update_bytes, draws_ahead)
        self._draw = jax.jit(
            jax.vmap(self._make_draw(batch_size), in_axes=(0, None, None)),
            out_shardings=self._over_members,
        )
        self._worker = concurrent.futures.ThreadPoolExecutor(1, "gather")
        self._own_keys: np.ndarray | None = None  # key data of this process' members
        self._keys: jax.Array | None = None  # and of all, on the devices
        self._windows: dict[int, concurrent.futures.Future[Window]] = {}

    def spans(
        self, newest: Callable[[], AgentState], start: int, end: int
    ) -> Iterator[tuple[int, Window]]:
        """As `BatchSource.spans`: a span for each window that the updates touch."""
        self._draw_for(newest())
        while start < end:
            number = start // self.window_size
            start = min(end, (number + 1) * self.window_size)
            yield start, self._window(number)

    def _draw_for(self, state: AgentState) -> None:
        """Makes the windows those of the agents in `state` [R].

        An agent's key decides which rows it draws. Windows gathered ahead for other keys are
        dropped.
        """
        own = np.asarray(sharding.own_part(jax.random.key_data(state.key)))
        if self._own_keys is None or not np.array_equal(own, self._own_keys):
            self._own_keys, self._keys, self._windows = own, self._put_own(own), {}

    def _window(self, number: int) -> Window:
        """Waits for a window, leaves [R, ...], and has the next one made meanwhile."""
        wanted = (number, number + 1)
        self._windows = {i: self._windows.get(i) or self._request(i) for i in wanted}
        return self._windows[number].result()

    def _request(self, number: int) -> concurrent.futures.Future[Window]:
        first = sharding.put(np.int32(number * self.window_size), self._replicated)
        index = self._draw(self._keys, self._boundaries, first)
        return self._worker.submit(self._gather, index, number)

    def _make_draw(self, batch_size: int) -> Callable[..., jax.Array]:
        def draw(key_data: jax.Array, boundaries: jax.Array | None, first: jax.Array) -> jax.Array:
            """Rows [T, B] of one member's batches, from update `first` on."""
            state = AgentState(step=first, key=jax.random.wrap_key_data(key_data), networks={})

            def rows(step: jax.Array) -> jax.Array:
                return draw_rows(batch_key(state, step), batch_size, len(self._rows), boundaries)

            return jax.vmap(rows)(first + jnp.arange(self.window_size))

        return draw

    def _gather(self, index: jax.Array, number: int) -> Window:
        """Reads the rows `index` [R, T, B] of a window; each process those of its own members."""
        own = np.asarray(sharding.own_part(index))
        # "clip" does with an index behind the last row what JAX does; "raise" copies once more
        rows = np.take(self._rows, own, axis=0, mode="clip")
        first = np.full(len(own), number * self.window_size, np.int32)
        return Window(self._put_own(rows), self._put_own(first), self._spec)

    def _put_own(self, own: np.ndarray) -> jax.Array:
        """Copies this process' part [R / P, ...] of an array [R, ...] onto its devices."""
        return jax.make_array_from_process_local_data(
            self._over_members, own, (self._num_members, *own.shape[1:])
        )


def _window_size(update_bytes: int, draws_ahead: int) -> int:
    """Updates of a window: a multiple of `draws_ahead`, so that each block lies in one window."""
    return max(1, min(MAX_WINDOW, WINDOW_BYTES // update_bytes) // draws_ahead) * draws_ahead
