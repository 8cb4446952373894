"""Types shared by every module, and the letters that stand for the axes of their arrays.

| letter | axis |
| --- | --- |
| B | batch: the transitions of one update, or the observations of one call of a policy |
| N | rows of a dataset, one per transition |
| D | columns of a dataset's packed rows: 2 O + A + 2 |
| O, A | columns of an observation, of an action |
| K | timesteps of the diffusion |
| M | actions compared with each other at one observation: candidates, backup actions |
| C | critics of an ensemble |
| S | seeds |
| R | members: the agents that one program trains, one per seed and point of a sweep |
| T | updates or evaluations that follow each other |
| E | episodes, or environments that run side by side |
| P | processes of a run |
"""

import dataclasses
from typing import TypeAlias

import chex
import jax
import numpy as np
from flax import struct

Array: TypeAlias = jax.Array | np.ndarray

ACTION_LIMIT = 0.999  # largest action that a learner sees; its box is [-1, 1]


@struct.dataclass
class Transition:
    """Transitions of a dataset. Actions are in [-1, 1], the box that every learner works in.

    `discount` is 0 after a step that ended the task and 1 elsewhere. A time limit does not end the
    task, so a learner bootstraps through it.
    """

    observation: Array  # [B, O]
    action: Array  # [B, A]
    reward: Array  # [B]
    discount: Array  # [B]
    next_observation: Array  # [B, O]

    @property
    def size(self) -> int:
        return self.reward.shape[0]


@dataclasses.dataclass(frozen=True)
class TaskSpec:
    """The sizes of a task: all that a learner has to know of it to build its networks."""

    observation_dim: int  # O
    action_dim: int  # A

    @property
    def row_width(self) -> int:
        """Columns of a packed row: D = 2 O + A + 2."""
        return 2 * self.observation_dim + self.action_dim + 2


def pack(transitions: Transition) -> np.ndarray:
    """Puts the parts of each transition side by side: one row of numbers per transition.

    Args:
      transitions: numpy arrays with leading axes [...].

    Returns:
      A new array [..., D] float32. The columns are the observation (O of them), the action (A), the
      next observation (O), the reward and the discount.
    """
    columns = [transitions.observation, transitions.action, transitions.next_observation]
    columns += [transitions.reward[..., None], transitions.discount[..., None]]
    return np.concatenate(columns, axis=-1, dtype=np.float32)


def unpack(rows: Array, spec: TaskSpec) -> Transition:
    """Takes packed rows [..., D] apart again; of a numpy array the parts are views."""
    o, a = spec.observation_dim, spec.action_dim
    chex.assert_axis_dimension(rows, -1, spec.row_width)
    return Transition(
        observation=rows[..., :o],
        action=rows[..., o : o + a],
        reward=rows[..., -2],
        discount=rows[..., -1],
        next_observation=rows[..., o + a : -2],
    )


@struct.dataclass
class Units:
    """How the numbers of a dataset became those that a learner sees, fitted to that dataset.

    Learners see observations minus `observation_mean`, divided by `observation_std`, and actions in
    [-1, 1]. Works on numpy and on JAX arrays.
    """

    observation_mean: Array  # [O]; 0 where observations are not normalised
    observation_std: Array  # [O]; 1 where observations are not normalised
    action_low: Array  # [A] the box of the dataset's actions, which becomes [-1, 1]
    action_high: Array  # [A]

    def normalize(self, observation: Array) -> Array:
        """Observations [..., O] in the dataset's units -> [..., O] as learners see them."""
        return (observation - self.observation_mean) / self.observation_std

    def scale(self, action: Array) -> Array:
        """Actions [..., A] in the dataset's units -> [..., A] as learners see them.

        They are clipped to 0.999 of [-1, 1], as in the public code of EDP and of CQL before it.
        """
        centre, half = self._box
        return ((action - centre) / half).clip(-ACTION_LIMIT, ACTION_LIMIT)

    def unscale(self, action: Array) -> Array:
        """Actions [..., A] in [-1, 1] -> [..., A] in the dataset's units."""
        centre, half = self._box
        return centre + half * action

    @property
    def _box(self) -> tuple[Array, Array]:
        low, high = self.action_low, self.action_high
        return (low + high) / 2, (high - low) / 2


@dataclasses.dataclass(frozen=True)
class EnvSpec:
    """A simulator to evaluate in; hashable.

    `name` is one that `edp_jax.evaluation` knows ("hopper", "kitchen-complete", ...) or begins with
    "gymnasium:", "minari:", "ogbench:" or "legacy:". `kwargs` is a JSON object of keyword
    arguments, which only a "gymnasium:" environment takes.
    """

    name: str
    kwargs: str = "{}"


class InputError(ValueError):
    """Something the user gave is wrong. One line: the value, what is wrong with it, the remedy.

    The programs in `experiments` print it without a traceback and exit with code 2.
    """
