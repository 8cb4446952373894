"""What a policy is called with, checked: observations, keys, sizes of batches; and its actions."""

import numbers
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from edp_jax.errors import one_line
from edp_jax.types import InputError


def as_observation(observation: Any, size: int) -> np.ndarray:
    """An observation [O] or [B, O] as float32.

    Args:
      observation: what a policy was called with.
      size: O.

    Raises:
      InputError: it is none that the policy can take.
    """
    if isinstance(observation, tuple) and len(observation) == 2:
        if isinstance(observation[1], Mapping):
            raise InputError(
                "observation: a tuple (observation, info), as env.reset() returns; pass its "
                "first part"
            )
    try:
        given = np.asarray(observation)
        if given.dtype.kind not in "fiub":
            raise ValueError(f"its type is {given.dtype}")
        if np.ma.is_masked(observation):
            raise ValueError("numbers of it are masked")
        values = given
        if given.dtype != np.float32:
            with np.errstate(over="ignore"):  # what is too large is told below
                values = given.astype(np.float32)
    except Exception as error:  # arrays of other libraries can raise anything
        raise InputError(
            f"observation: no array of numbers ({one_line(error)}); pass one of shape "
            f"({size},) or (B, {size})"
        ) from error
    if values.ndim not in (1, 2) or values.shape[-1] != size or not values.size:
        raise InputError(
            f"observation of shape {values.shape} does not fit: this policy takes "
            f"({size},) or (B, {size})"
        )
    if not np.isfinite(values).all():
        broken = tuple(np.argwhere(~np.isfinite(values))[0])
        place, value = ", ".join(map(str, broken)), given[broken]
        problem = "more than float32 holds" if np.isfinite(value) else "not a finite number"
        raise InputError(
            f"observation[{place}] is {value}, {problem}: check the sensor, or skip this step"
        )
    return values


def check_key(key: Any) -> None:
    """Refuses what is no random key of JAX.

    Raises:
      InputError: it is none, or several.
    """
    if isinstance(key, jax.Array) and jax.numpy.issubdtype(key.dtype, jax.dtypes.prng_key):
        fits = key.shape == ()
    else:  # as jax.random.PRNGKey makes them
        fits = getattr(key, "dtype", None) == np.uint32 and key.shape == (2,)
    if not fits:
        raise InputError(
            f"key: {type(key).__name__:.40} is not a single random key; pass jax.random.key(0), or "
            "leave it out"
        )


def check_batch_size(batch_size: Any) -> None:
    """Refuses what is no number of observations.

    Raises:
      InputError: it is none.
    """
    whole = isinstance(batch_size, numbers.Integral) and not isinstance(batch_size, bool)
    if not whole or batch_size < 1:
        raise InputError(
            f"batch_size={batch_size!r:.40} must be an integer of at least 1, the rows of a "
            "call; leave it out for a single one without that axis"
        )


def check_action(action: np.ndarray) -> None:
    """Refuses an action that is NaN or infinite.

    Raises:
      InputError: it is.
    """
    if not np.isfinite(action).all():
        raise InputError(
            "policy: its action is NaN or infinite; either its training has diverged (see "
            "metrics.csv of the run), or the observation is far from the data"
        )
