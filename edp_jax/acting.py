"""Acting as a pure function of parameters, observation and random numbers.

Training asks a policy with a random key. A policy that is taken out of its run (`edp_jax.export`)
is given the random numbers instead, so that it acts alike in every format and on every machine.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import chex
import jax
import jax.numpy as jnp

from edp_jax.diffusion.samplers import noise_of_row
from edp_jax.types import Array

NOISE = "noise"  # [..., M, A] standard normal: what M candidates are sampled from
STEP_NOISE = "step_noise"  # [..., n, M, A] standard normal: what the sampler's n calls add
CHOICE_NOISE = "choice_noise"  # [..., M] standard Gumbel: what the choice among candidates adds
NAMES = (NOISE, STEP_NOISE, CHOICE_NOISE)

# Random numbers by name; what a policy does not read is left out.
Numbers = Mapping[str, Array]
Shapes = Mapping[str, tuple[int, ...]]


@dataclasses.dataclass(frozen=True, eq=False)  # as functions are: hashable, by identity
class Acting:
    """How a policy acts; called with a key, it draws its random numbers itself."""

    # (policy_params, observation [..., O], numbers) -> action [..., A] in [-1, 1]
    run: Callable[[Any, Array, Numbers], Array]

    # of the numbers that `run` reads, by name, without the axes [...] of the observations
    shapes: Shapes

    def __call__(self, params: Any, observation: Array, key: chex.PRNGKey) -> Array:
        """Actions [..., A] for observation [..., O]."""
        batch = observation.shape[:-1]
        return self.run(params, observation, draw(self.shapes, key, batch, ahead=False))


def draw(
    shapes: Shapes, key: chex.PRNGKey, batch: tuple[int, ...], *, ahead: bool = True
) -> dict[str, Array]:
    """Draws the random numbers of acting.

    Args:
      shapes: `Acting.shapes`.
      key: random key.
      batch: axes [...] of the observations.
      ahead: False leaves the key that it is drawn from in place of the step noise, so that a
        sampler of many calls draws it on its way and does not hold all of it.

    Returns:
      Arrays [..., *shape] by name.
    """
    numbers = {}
    for name, own in zip(NAMES, jax.random.split(key, len(NAMES)), strict=True):
        if (shape := shapes.get(name)) is None:
            continue
        if name == STEP_NOISE:
            numbers[name] = _draw_steps(own, shape, batch) if ahead else own
        elif name == CHOICE_NOISE:
            numbers[name] = jnp.moveaxis(
                jax.random.gumbel(own, (*shape, *batch), jnp.float32), 0, -1
            )
        else:
            candidates, width = shape
            noise = jax.random.normal(own, (candidates, *batch, width), jnp.float32)
            numbers[name] = jnp.moveaxis(noise, 0, -2)
    return numbers


def _draw_steps(key: chex.PRNGKey, shape: tuple[int, ...], batch: tuple[int, ...]) -> Array:
    calls, candidates, width = shape
    each = (candidates, *batch, width)
    noise = jax.vmap(lambda index: noise_of_row(key, index, each, jnp.float32))(jnp.arange(calls))
    return jnp.moveaxis(noise, (0, 1), (-3, -2))
