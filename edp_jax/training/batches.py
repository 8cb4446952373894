"""Where the batches of a training come from.

A `BatchSource` gives the compiled program the batches of any updates. Two of them give those of a
dataset: `Resident`, here, keeps the whole of it on every device; `stream.Streamed` keeps it on the
host and sends batches ahead. Both draw the same rows for the same update, so a training leaves the
same numbers with either. `online.Online` mixes theirs with steps that the policies take meanwhile.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from edp_jax.algorithms.base import AgentState, batch_key
from edp_jax.training import sharding
from edp_jax.types import TaskSpec, Transition, unpack


class HasRows(Protocol):
    """What a training reads of a dataset; `edp_jax.data.Dataset` and `Rows` have it."""

    @property
    def rows(self) -> np.ndarray:
        """One packed row per transition [N, D], see `types.pack`."""
        ...

    @property
    def spec(self) -> TaskSpec:
        """The sizes of observations and actions."""
        ...

    @property
    def weights(self) -> np.ndarray | None:
        """Weights [N] with which rows are drawn; None: all alike."""
        ...


class Rows(NamedTuple):
    """The least that can be trained on: transitions that need no preparation."""

    rows: np.ndarray  # [N, D] float32, see `types.pack`
    spec: TaskSpec
    weights: np.ndarray | None = None  # [N]


class Batches(Protocol):
    """The batches of some updates: a pytree of arrays, an argument of the compiled program."""

    @property
    def member_axis(self) -> Any:
        """0 where leaves are [R, ...], None where members share them; or a tree of these."""
        ...

    def take(self, state: AgentState, steps: jax.Array) -> Transition:
        """Gives one member's batches, inside the compiled program.

        Args:
          state: the member's.
          steps: updates [T], by the number of updates before each.

        Returns:
          Batches with leaves [T, B, ...].
        """
        ...


class BatchSource(Protocol):
    """Gives the batches of all members."""

    def spans(
        self, newest: Callable[[], AgentState], start: int, end: int
    ) -> Iterator[tuple[int, Batches]]:
        """Covers the updates from `start` to `end` - 1 by spans that follow each other.

        Args:
          newest: gives the states of all members [R] after the spans so far. The devices may still
            be at work on them.
          start: number of updates done.
          end: number of updates after the last span.

        Yields:
          Where a span ends, and the batches of its updates. An earlier span's batches are not
          needed any more.
        """
        ...


def draw_rows(
    key: jax.Array, batch_size: int, num_rows: int, boundaries: jax.Array | None
) -> jax.Array:
    """Draws rows of a dataset with replacement.

    Args:
      key: of the batch.
      batch_size: B.
      num_rows: N.
      boundaries: made by `row_boundaries`; None: all rows are alike.

    Returns:
      Row numbers [B].
    """
    if boundaries is None:
        return jax.random.randint(key, (batch_size,), 0, num_rows)
    bits = jax.random.bits(key, (batch_size,), jnp.uint32)
    return jnp.searchsorted(boundaries, bits, side="right")


def row_boundaries(weights: np.ndarray | None) -> np.ndarray | None:
    """Divides the integers below 2^32 among rows, in proportion to the rows' weights.

    A row is drawn by drawing such an integer and looking up whose it is. Integers are used because
    uniform float32 numbers take only 2^23 values, too few to tell millions of rows apart.

    Args:
      weights: [N], not negative; None where all rows are alike.

    Returns:
      The first integer that is not row i's any more, for i = 0 .. N - 2: uint32 [N - 1]. The rest
      belongs to the last row. None where `weights` is.
    """
    if weights is None:
        return None
    sums = np.cumsum(weights, dtype=np.float64)
    return np.minimum(sums[:-1] / sums[-1] * 2.0**32, 2.0**32 - 1).astype(np.uint32)


@struct.dataclass
class ResidentRows:
    """The dataset on a device; batches are gathered there."""

    rows: jax.Array  # [N, D]
    boundaries: jax.Array | None  # [N - 1], see `row_boundaries`
    spec: TaskSpec = struct.field(pytree_node=False)
    batch_size: int = struct.field(pytree_node=False)

    member_axis = None

    def take(self, state: AgentState, steps: jax.Array) -> Transition:
        """As `Batches.take`."""

        def rows(step: jax.Array) -> jax.Array:
            key = batch_key(state, step)
            return self.rows[draw_rows(key, self.batch_size, len(self.rows), self.boundaries)]

        return unpack(jax.vmap(rows)(steps), self.spec)


class Resident:
    """A `BatchSource` that keeps the dataset on every device that trains."""

    def __init__(self, dataset: HasRows, num_members: int, batch_size: int):
        """Copies the dataset to the devices.

        Args:
          dataset: N transitions.
          num_members: R.
          batch_size: B.
        """
        layout = sharding.replicated(sharding.member_mesh(num_members))
        rows, boundaries = sharding.put((dataset.rows, row_boundaries(dataset.weights)), layout)
        self._batches = ResidentRows(rows, boundaries, dataset.spec, batch_size)

    def spans(
        self, newest: Callable[[], AgentState], start: int, end: int
    ) -> Iterator[tuple[int, ResidentRows]]:
        """As `BatchSource.spans`: one span, since all rows are there."""
        del newest
        if start < end:
            yield end, self._batches
