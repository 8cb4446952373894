"""Training all members of a run at once: what a notebook or a run in a folder calls."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from edp_jax.algorithms import Algorithm
from edp_jax.algorithms.base import AgentState, Metrics
from edp_jax.training import hosts, loop, sharding, stream
from edp_jax.training.batches import BatchSource, HasRows, Resident
from edp_jax.training.members import check_sweep, grid, member_settings
from edp_jax.types import InputError


class Trainer:
    """Trains one algorithm on one dataset, for several seeds and points of a sweep side by side.

    Each combination of a seed and a point of the sweep is a member, an agent of its own; R members
    are spread over the devices. The first call of `train` compiles, later ones do not, however many
    updates they ask for.

        trainer = edp_jax.Trainer(algorithm, dataset, seeds=(0, 1))
        state, metrics = trainer.train(trainer.init(), 10_000)

    Attributes:
      algorithm: the learner.
      members: R of them; member i is at index i of every array [R, ...].
      source: gives the batches of the dataset.
    """

    def __init__(
        self,
        algorithm: Algorithm,
        dataset: HasRows,
        *,
        seeds: Sequence[int] | int = (0,),
        sweep: Mapping[str, Sequence[float]] | None = None,
        batch_size: int = 256,
        data_placement: str = "auto",
    ):
        """Copies the dataset to the devices, unless it stays on the host.

        Args:
          algorithm: made by `edp_jax.algorithms.make`, for the sizes of this dataset.
          dataset: made by `edp_jax.load_dataset`; own arrays can be given as `batches.Rows`.
          seeds: one agent each; a single seed may stand without parentheses.
          sweep: values of traced settings of the learner; every combination of them is trained with
            every seed, as in {"eta": (0.5, 1.0)}.
          batch_size: transitions of an update.
          data_placement: "device", "host" (for data that do not fit: batches are sent ahead), or
            "auto", which chooses by the size of the data.

        Raises:
          InputError: the learner cannot sweep a setting or have a value, there is no seed, a value
            here is not allowed, or the processes of the run cannot share the members evenly.
        """
        if batch_size < 1:
            raise InputError(f"batch_size={batch_size} must be at least 1: set it to such a value")
        if data_placement not in stream.PLACEMENTS:
            names = ", ".join(stream.PLACEMENTS)
            raise InputError(f"data_placement={data_placement!r} is unknown: use one of {names}")
        check_sweep(algorithm.settings, sweep or {})
        self.algorithm = algorithm
        self.members = grid(seeds, sweep)
        size = len(self.members)
        sharding.check_members(size)
        mesh = sharding.member_mesh(size)
        self._over_members = sharding.over_members(mesh)
        self._replicated = sharding.replicated(mesh)
        settings = member_settings(algorithm.settings, self.members)
        self._settings = sharding.put(settings, self._over_members)
        self.source = _make_source(dataset, size, batch_size, algorithm.draws_ahead, data_placement)
        self._advance = loop.make_program(algorithm, mesh)
        self._copy = jax.jit(
            lambda tree: jax.tree.map(jnp.copy, tree), out_shardings=self._over_members
        )
        self._settle = jax.jit(
            jax.vmap(loop.settle, in_axes=(0, 0, 0, None)),
            donate_argnums=1,
            out_shardings=self._over_members,
        )
        self._metric_shapes: Metrics | None = None

    def init(self) -> AgentState:
        """Returns the untrained states of all members [R]."""
        return loop.init_members(self.algorithm, [member.seed for member in self.members])

    def train(
        self, state: AgentState, num_updates: int, source: BatchSource | None = None
    ) -> tuple[AgentState, dict[str, np.ndarray]]:
        """Does some updates of every member.

        Cutting a training into several calls changes nothing in its numbers. A member with a metric
        or a parameter that became NaN or infinite has diverged: `state.diverged` says in which
        update. Its networks stay as they were before that call, and it gets no further.

        Args:
          state: of all members [R]. Its arrays are given away: go on with the returned state.
          num_updates: per member, at least 1.
          source: gives the batches; None: `self.source`.

        Returns:
          The new states [R], and the metrics [R], averaged over these updates; NaN where a member
          had diverged before.

        Raises:
          InputError: no updates are asked for.
        """
        if num_updates < 1:
            raise InputError(f"num_updates={num_updates} must be at least 1: ask for some updates")
        start = step = sharding.first_value(state.step)
        end = step + num_updates
        before, totals, previous = self._copy(state.networks), None, None

        def newest() -> AgentState:
            return state

        for span_end, batches in (source or self.source).spans(newest, start, end):
            if totals is None:
                totals = self._zero_totals(state, batches)
            span = self._put(step, span_end - step)
            state, totals = self._advance(state, totals, batches, self._settings, *span)
            jax.block_until_ready(previous)  # so that the host is one span ahead of the devices
            previous, step = totals, span_end
        state, metrics = self._settle(before, state, totals, *self._put(num_updates))
        return state, hosts.fetch(metrics)

    def policy_params(self, state: AgentState) -> Any:
        """Returns what the members' policies need to act, leaves [R, ...] on the devices."""
        return jax.vmap(self.algorithm.policy_params)(state)

    def lower(self, state: AgentState) -> jax.stages.Lowered:
        """Returns the program of `train` before it is compiled, to ask for its cost and memory."""
        step = sharding.first_value(state.step)
        _, batches = next(iter(self.source.spans(lambda: state, step, step + 1)))
        totals = self._zero_totals(state, batches)
        return self._advance.lower(state, totals, batches, self._settings, *self._put(step, 1))

    def _zero_totals(self, state: AgentState, batches: Any) -> loop.Totals:
        """Totals before the first update, [R] each."""
        if self._metric_shapes is None:  # tracing an update takes a moment
            axes = (0, batches.member_axis, 0)
            one_update = jax.vmap(loop.make_one_update(self.algorithm), in_axes=axes)
            self._metric_shapes = jax.eval_shape(one_update, state, batches, self._settings)
        zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), self._metric_shapes)
        counts = np.zeros(len(self.members), np.int32)
        return sharding.put((zeros, counts), self._over_members)

    def _put(self, *numbers: int) -> tuple[jax.Array, ...]:
        """Puts integers onto every device that trains."""
        return sharding.put(tuple(map(np.int32, numbers)), self._replicated)


def _make_source(
    dataset: HasRows, num_members: int, batch_size: int, draws_ahead: int, placement: str
) -> BatchSource:
    if stream.stays_on_host(placement, dataset.rows, num_members):
        return stream.Streamed(dataset, num_members, batch_size, draws_ahead)
    return Resident(dataset, num_members, batch_size)
