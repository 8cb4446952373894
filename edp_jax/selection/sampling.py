"""What policies would do at recorded observations."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from edp_jax.algorithms import Algorithm
from edp_jax.types import Units

_BLOCK = 1024  # observations at a time


def sample_actions(
    algorithm: Algorithm, params: Any, observations: np.ndarray, count: int, seed: int
) -> np.ndarray:
    """Draws actions of several members' policies.

    Args:
      algorithm: their learner, which says how they act.
      params: `Algorithm.policy_params`, leaves [R, ...].
      observations: [N, O] as the learner sees them.
      count: M, actions per observation.
      seed: of the random numbers, which are the same for all policies.

    Returns:
      [R, N, M, A] in [-1, 1]; A counts all actions of a chunk.
    """

    def act(own: Any, observation: jax.Array, key: jax.Array) -> jax.Array:
        several = jnp.broadcast_to(observation, (count, *observation.shape))
        return jnp.moveaxis(algorithm.act(own, several, key), 0, 1)

    act_all = jax.jit(jax.vmap(act, in_axes=(0, None, None)))
    size, key = min(_BLOCK, len(observations)), jax.random.key(seed)

    def blocks() -> Iterator[np.ndarray]:
        for index, start in enumerate(range(0, len(observations), size)):
            rows = observations[start : start + size]
            filled = np.pad(rows, ((0, size - len(rows)), (0, 0)), mode="edge")
            drawn = act_all(params, filled, jax.random.fold_in(key, index))
            yield np.asarray(drawn)[:, : len(rows)]

    return np.concatenate(list(blocks()), axis=1)


def in_box_of(units: Units, own: Units, actions: np.ndarray) -> np.ndarray:
    """Actions [..., A'] in [-1, 1] of the box of `own`, as [..., A] in [-1, 1] of that of `units`.

    Of a chunk it is the first action.
    """
    first = actions[..., : own.action_low.shape[-1]]
    return units.scale(np.clip(own.unscale(first), own.action_low, own.action_high))
