"""The loop over updates that is compiled: many updates of one member in one call.

Training is a function of the settings, the seed and the number of updates: the batch and the noise
of update i are drawn from keys that depend on the member's key and i alone.
"""

import dataclasses
import os
from collections.abc import Callable, Sequence
from typing import Any

import chex
import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from edp_jax.algorithms import Algorithm
from edp_jax.algorithms.base import AgentState, Metrics, TrainState, update_key
from edp_jax.training import sharding
from edp_jax.training.batches import Batches
from edp_jax.types import Transition

# sums of the metrics over the updates done so far, and in how many of these they were finite []
Totals = tuple[Metrics, jax.Array]
# (state, totals, batches, settings, number of updates done [], updates to do [])
# -> (state, totals)
Advance = Callable[..., tuple[AgentState, Totals]]

_COMPILER_OPTIONS: dict[str, dict[str, int | str]] = {
    "cpu": {"xla_cpu_prefer_vector_width": 512},
    "gpu": {
        "xla_gpu_enable_command_buffer": "FUSION,CUBLAS,CUBLASLT,CUDNN,CUSTOM_CALL,CONDITIONAL,"
        "WHILE,DYNAMIC_SLICE_FUSION",
        "xla_gpu_graph_min_graph_size": 1,
    },
}


def compiler_options(platform: str) -> dict[str, int | str]:
    """What the training program is compiled with; a flag that XLA_FLAGS sets stays as it is there.

    On a CPU: vectors as wide as its registers. On a GPU: whole loops are recorded as CUDA graphs.
    By default only the kernels between two steps of a loop are, and for every step of every loop
    the GPU waits for the host. One seed trains 2.4 times as fast with them (docs/performance.md).
    """
    flags = os.environ.get("XLA_FLAGS", "")
    options = _COMPILER_OPTIONS.get(platform, {})
    return {name: value for name, value in options.items() if name not in flags}


def make_program(algorithm: Algorithm, mesh: Mesh) -> Any:
    """Makes the training program: `make_advance` of all members at once.

    Args:
      algorithm: the learner.
      mesh: devices, over which the members are spread; see `sharding.member_mesh`.

    Returns:
      The function, which JAX compiles when it is called or lowered. It takes arrays [R, ...] but
      for the two numbers, and gives the memory of the state to its result.
    """
    of_one = make_advance(algorithm)

    def advance(
        state: AgentState, totals: Totals, batches: Batches, *others: Any
    ) -> tuple[AgentState, Totals]:
        of_all = jax.vmap(of_one, in_axes=(0, 0, batches.member_axis, 0, None, None))
        return of_all(state, totals, batches, *others)

    return jax.jit(
        advance,
        donate_argnums=0,
        out_shardings=sharding.over_members(mesh),
        compiler_options=compiler_options(mesh.devices.flat[0].platform),
    )


def init_members(algorithm: Algorithm, seeds: Sequence[int]) -> AgentState:
    """Makes one agent per seed.

    Args:
      algorithm: the learner.
      seeds: of R members; two members of a sweep may have the same.

    Returns:
      Their states [R], spread over the devices.
    """
    keys = jnp.stack([jax.random.key(seed) for seed in seeds])
    layout = sharding.over_members(sharding.member_mesh(len(seeds)))
    return jax.jit(jax.vmap(algorithm.init), out_shardings=layout)(keys)


def make_advance(algorithm: Algorithm) -> Advance:
    """Makes the function that does some updates of one member.

    Its last two arguments say after how many updates it starts, which is `state.step`, and how many
    it does. They are values, not sizes: one compiled program serves any number of updates, and a
    training that is cut into several calls leaves the same numbers.

    Returns:
      advance(state, totals, batches, settings, start, num_updates) -> (state, totals); the metrics
      of the updates are added to `totals`.
    """
    ahead = algorithm.draws_ahead

    def draw(
        state: AgentState, batches: Batches, first: jax.Array
    ) -> tuple[Transition, chex.ArrayTree]:
        """The batches and draws of the updates first, first + 1, ..., leaves [ahead, ...]."""
        steps = first + jnp.arange(ahead)
        transitions = batches.take(state, steps)
        keys = jax.vmap(lambda step: update_key(state, step))(steps)
        draw_one = jax.vmap(algorithm.draw, in_axes=(0, None, 0))
        return transitions, draw_one(keys, algorithm.draw_params(state), transitions)

    def advance(
        state: AgentState,
        totals: Totals,
        batches: Batches,
        settings: chex.ArrayTree,
        start: jax.Array,
        num_updates: jax.Array,
    ) -> tuple[AgentState, Totals]:
        end = start + num_updates

        def block(index: jax.Array, carry: tuple[AgentState, Totals]) -> tuple[AgentState, Totals]:
            """The updates of block `index`, as far as they are asked for.

            A block is `ahead` updates. What its draws look at does not change within it, so they
            are made together: one chain of the sampler serves all its updates.
            """
            first = index * ahead
            drawn = draw(carry[0], batches, first)

            def update(i: jax.Array, carry: tuple[AgentState, Totals]) -> tuple[AgentState, Totals]:
                state, (sums, num_finite) = carry
                batch, draws = jax.tree.map(lambda leaf: leaf[i], drawn)
                state, metrics = algorithm.update(state, batch, settings, draws)
                sums = jax.tree.map(jnp.add, sums, metrics)
                sound = jnp.isfinite(sum(sums.values()))  # once not finite, it stays so
                return state, (sums, num_finite + sound)

            begin = jnp.maximum(start - first, 0)
            return jax.lax.fori_loop(begin, jnp.minimum(end - first, ahead), update, carry)

        blocks = start // ahead, (end + ahead - 1) // ahead
        return jax.lax.fori_loop(*blocks, block, (state, totals))

    return advance


def settle(
    before: dict[str, TrainState], state: AgentState, totals: Totals, num_updates: jax.Array
) -> tuple[AgentState, Metrics]:
    """Ends some updates of one member: if a number became NaN or infinite in them, it stops.

    Args:
      before: its networks before these updates.
      state: after them.
      totals: of them.
      num_updates: [] how many they were.

    Returns:
      The state, whose networks are those of `before` if the member has diverged by now, and the
      mean metrics, which are NaN if it had diverged earlier.
    """
    sums, num_finite = totals
    sound = (num_finite == num_updates) & all_finite(state.networks)
    first = state.step - jnp.maximum(num_updates - num_finite - 1, 0)
    had_diverged = state.diverged >= 0
    diverged = jnp.where(had_diverged | sound, state.diverged, first)
    networks = jax.tree.map(
        lambda old, new: jnp.where(diverged >= 0, old, new), before, state.networks
    )
    means = jax.tree.map(lambda total: jnp.where(had_diverged, jnp.nan, total / num_updates), sums)
    return dataclasses.replace(state, networks=networks, diverged=diverged), means


def all_finite(tree: Any) -> jax.Array:
    """Whether no number in a tree is NaN or infinite: [] bool."""
    leaves = [jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(tree)]
    return jnp.stack(leaves).all()


def make_one_update(algorithm: Algorithm) -> Callable[..., Metrics]:
    """Makes the function whose result shows which metrics the updates of one member have.

    Returns:
      metrics(state, batches, settings), the metrics of the next update.
    """

    def metrics(state: AgentState, batches: Batches, settings: chex.ArrayTree) -> Metrics:
        batch = jax.tree.map(
            lambda leaf: leaf[0], batches.take(state, jnp.asarray(state.step)[None])
        )
        return algorithm.update_step(state, batch, settings)[1]

    return metrics
