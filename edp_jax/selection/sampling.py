"""What policies would do at recorded observations."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from edp_jax.algorithms import Algorithm
from edp_jax.types import Array, Units

COUNT = 2  # actions per observation, where no other number is asked for
_BLOCK = 1024  # observations at a time


# (parameters [R, ...], observations [N, O] as the learner sees them) -> actions [R, N, M, A]
Sample = Callable[[Any, np.ndarray], np.ndarray]


def make_sample(algorithm: Algorithm, count: int, seed: int) -> Sample:
    """Builds a function that draws actions of several members' policies; it compiles once.

    Args:
      algorithm: their learner, which says how they act.
      count: M, actions per observation.
      seed: of the random numbers, which are the same for all policies.

    Returns:
      sample(parameters that act, observations) -> actions in [-1, 1]; A counts all of a chunk.
    """

    def act(own: Any, observation: jax.Array, key: jax.Array) -> jax.Array:
        several = jnp.broadcast_to(observation, (count, *observation.shape))
        return jnp.moveaxis(algorithm.act(own, several, key), 0, 1)

    act_all, key = jax.jit(jax.vmap(act, in_axes=(0, None, None))), jax.random.key(seed)

    def sample(params: Any, observations: np.ndarray) -> np.ndarray:
        size, drawn = min(_BLOCK, len(observations)), []
        for index, start in enumerate(range(0, len(observations), size)):
            rows = observations[start : start + size]
            filled = np.pad(rows, ((0, size - len(rows)), (0, 0)), mode="edge")
            actions = act_all(params, filled, jax.random.fold_in(key, index))
            drawn.append(np.asarray(actions)[:, : len(rows)])
        return np.concatenate(drawn, axis=1)

    return sample


def in_box_of(units: Units, own: Units, actions: Array) -> Array:
    """Actions [..., A'] in [-1, 1] of the box of `own`, as [..., A] in [-1, 1] of that of `units`.

    Of a chunk it is the first action.
    """
    first = actions[..., : own.action_low.shape[-1]]
    return units.scale(own.unscale(first).clip(own.action_low, own.action_high))
