"""The loop over updates that is compiled: many updates of one member in one call.

Training is a function of the settings, the seed and the number of updates: the batch and the noise
of update i are drawn from keys that depend on the member's key and i alone.
"""

from collections.abc import Callable, Sequence

import chex
import jax
import jax.numpy as jnp

from edp_jax.algorithms import Algorithm
from edp_jax.algorithms.base import AgentState, Metrics, update_key
from edp_jax.training import sharding
from edp_jax.training.batches import Batches
from edp_jax.types import Transition

# (state, sums of metrics, batches, settings, number of updates done [], updates to do [])
# -> (state, sums of metrics)
Advance = Callable[..., tuple[AgentState, Metrics]]


def compiler_options() -> dict[str, int] | None:
    """What the training program is compiled with: on a CPU, vectors as wide as its registers."""
    return {"xla_cpu_prefer_vector_width": 512} if jax.default_backend() == "cpu" else None


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
      advance(state, sums, batches, settings, start, num_updates) -> (state, sums); the metrics of
      the updates are added to `sums`.
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
        sums: Metrics,
        batches: Batches,
        settings: chex.ArrayTree,
        start: jax.Array,
        num_updates: jax.Array,
    ) -> tuple[AgentState, Metrics]:
        end = start + num_updates

        def block(
            index: jax.Array, carry: tuple[AgentState, Metrics]
        ) -> tuple[AgentState, Metrics]:
            """The updates of block `index`, as far as they are asked for.

            A block is `ahead` updates. What its draws look at does not change within it, so they
            are made together: one chain of the sampler serves all its updates.
            """
            first = index * ahead
            drawn = draw(carry[0], batches, first)

            def update(
                i: jax.Array, carry: tuple[AgentState, Metrics]
            ) -> tuple[AgentState, Metrics]:
                state, sums = carry
                batch, draws = jax.tree.map(lambda leaf: leaf[i], drawn)
                state, metrics = algorithm.update(state, batch, settings, draws)
                return state, jax.tree.map(jnp.add, sums, metrics)

            begin = jnp.maximum(start - first, 0)
            return jax.lax.fori_loop(begin, jnp.minimum(end - first, ahead), update, carry)

        blocks = start // ahead, (end + ahead - 1) // ahead
        return jax.lax.fori_loop(*blocks, block, (state, sums))

    return advance


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
