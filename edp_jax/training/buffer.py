"""Steps that members have collected, and batches in which they are mixed with those of a dataset.

The steps are kept in the units of the data, as they were recorded. They become what a learner sees
when they are drawn.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from edp_jax.algorithms.base import AgentState, batch_key
from edp_jax.data.rewards import RewardTransform, as_learner_sees
from edp_jax.types import Array, TaskSpec, Transition, Units, unpack


@struct.dataclass
class Buffer:
    """The newest steps of one member; of several, stacked: [R]."""

    rows: Array  # [capacity, D] packed, see `types.pack`; step i is in row i modulo the capacity
    added: Array  # [] int32, all steps that were ever added

    @property
    def size(self) -> Array:
        """[] how many of the rows hold a step."""
        return jnp.minimum(self.added, self.rows.shape[-2])


def add(buffer: Buffer, rows: Array, count: Array) -> Buffer:
    """Adds steps to one member's buffer; the oldest ones make room.

    Args:
      buffer: of the member.
      rows: [T, D], at most as many as its capacity.
      count: [] how many of them, the first ones, are added.
    """
    capacity, order = buffer.rows.shape[0], jnp.arange(rows.shape[0])
    index = jnp.where(order < count, (buffer.added + order) % capacity, capacity)
    filled = jnp.asarray(buffer.rows).at[index].set(rows, mode="drop")
    return Buffer(filled, buffer.added + count)


@struct.dataclass
class Mixed:
    """`Batches` of which a part comes from a dataset and the rest from each member's buffer."""

    offline: Any  # the `Batches` of the dataset
    buffer: Buffer
    units: Units  # of the data, leaves [O] and [A]
    rewards: RewardTransform = struct.field(pytree_node=False)
    spec: TaskSpec = struct.field(pytree_node=False)
    num_offline: int = struct.field(pytree_node=False)  # N, transitions of the dataset
    share: float = struct.field(pytree_node=False)  # of a batch; 0: by the number of rows

    @property
    def member_axis(self) -> "Mixed":
        """The members share the dataset as far as its batches say so, and the units."""
        return dataclasses.replace(self, offline=self.offline.member_axis, buffer=0, units=None)

    def take(self, state: AgentState, steps: jax.Array) -> Transition:
        """As `Batches.take`: the first rows of each batch are collected ones.

        Their number is `share` times the batch size B. Where that is not whole, it is the next
        smaller or larger number, so that the mean over the batches is right.
        """
        offline = self.offline.take(state, steps)
        size, batch_size = self.buffer.size, offline.reward.shape[-1]
        share = self.share or size / (size + self.num_offline)
        wanted = jnp.where(size > 0, share * batch_size, 0.0)

        def draw(step: jax.Array) -> tuple[jax.Array, jax.Array]:
            index_key, count_key = jax.random.split(jax.random.fold_in(batch_key(state, step), 0))
            index = jax.random.randint(index_key, (batch_size,), 0, jnp.maximum(size, 1))
            count = jnp.floor(wanted + jax.random.uniform(count_key))
            return index, jnp.arange(batch_size) < count

        index, collected = jax.vmap(draw)(steps)
        online = as_learner_sees(
            unpack(self.buffer.rows[index], self.spec), self.units, self.rewards
        )

        def choose(ours: jax.Array, theirs: jax.Array) -> jax.Array:
            mask = collected.reshape(collected.shape + (1,) * (ours.ndim - collected.ndim))
            return jnp.where(mask, ours, theirs)

        return jax.tree.map(choose, online, offline)
