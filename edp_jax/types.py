"""Types shared by every module.

Shape letters, used in all docstrings: B batch, S seeds, K diffusion timesteps, O observation, A action, N candidates
(or ensemble members), E environments.
"""

import dataclasses

import chex
import jax
import numpy as np
from flax import struct


@struct.dataclass
class Transition:
    """Transitions of an offline dataset; actions live in [-1, 1], the box every learner works in.

    `discount` is 0 after a true terminal and 1 elsewhere, time limits included: a learner bootstraps through a timeout.
    """

    observation: chex.Array  # [B, O]
    action: chex.Array  # [B, A]
    reward: chex.Array  # [B]
    discount: chex.Array  # [B]
    next_observation: chex.Array  # [B, O]

    @property
    def size(self) -> int:
        return self.reward.shape[0]


def pack(transitions: Transition) -> np.ndarray:
    """numpy transitions as rows [B, 2 O + A + 2] float32; where they are columns of such an array already, that array itself."""
    leaves = [transitions.observation, transitions.action, transitions.next_observation]
    leaves += [transitions.reward[:, None], transitions.discount[:, None]]
    width = sum(leaf.shape[1] for leaf in leaves)
    rows = transitions.observation.base
    if (
        isinstance(rows, np.ndarray)
        and rows.shape == (transitions.size, width)
        and rows.dtype == np.float32
    ):
        columns = unpack(rows, *(leaf.shape[1] for leaf in leaves[:2]))
        if jax.tree.all(jax.tree.map(_same_memory, columns, transitions)):
            return rows
    return np.concatenate(leaves, axis=1, dtype=np.float32)


def unpack(rows: chex.Array, observation_dim: int, action_dim: int) -> Transition:
    """The columns of `pack`ed rows [..., 2 O + A + 2]; views where `rows` is a numpy array."""
    o, a = observation_dim, action_dim
    return Transition(
        observation=rows[..., :o],
        action=rows[..., o : o + a],
        reward=rows[..., -2],
        discount=rows[..., -1],
        next_observation=rows[..., o + a : -2],
    )


def _same_memory(a: np.ndarray, b: np.ndarray) -> bool:
    return (a.ctypes.data, a.shape, a.strides, a.dtype) == (
        b.ctypes.data,
        b.shape,
        b.strides,
        b.dtype,
    )


@dataclasses.dataclass(frozen=True)
class TaskSpec:
    """What a learner has to know of a task: the sizes O and A."""

    observation_dim: int
    action_dim: int


@dataclasses.dataclass(frozen=True)
class EnvSpec:
    """A simulator to evaluate in; hashable."""

    name: str  # one that `evaluation` knows ("hopper", "kitchen-complete", ...), "gymnasium:<env id>", "minari:<dataset id>"
    # or "legacy:<name>"
    kwargs: str = "{}"  # JSON object of keyword arguments of a "gymnasium:" environment


class InputError(ValueError):
    """Something the user gave is wrong. One line: the value, what is wrong with it, and the remedy.

    `experiments.main` prints it without a traceback and exits with code 2.
    """
