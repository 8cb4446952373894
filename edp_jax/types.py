"""Types shared by every module, and the letters that stand for the axes of their arrays.

| letter | axis |
| --- | --- |
| B | batch: the transitions of one update, or the observations of one call of a policy |
| N | rows of a dataset, one per transition |
| D | columns of packed rows: 2 O + A + 2; with chunks 2 O + H A + H + 2; 1 more with `held_out` |
| O, A | columns of an observation, of an action |
| H | actions that are chosen together: those of a chunk, which to a learner is one action |
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
import re
from typing import TypeAlias

import chex
import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

Array: TypeAlias = jax.Array | np.ndarray

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
COLLECTED = -1.0  # mark of a row that a policy has collected, see `Transition.held_out`
ACTION_LIMIT = 0.999  # largest action that a learner sees; its box is [-1, 1]


@struct.dataclass
class Transition:
    """Transitions of a dataset. Actions are in [-1, 1], the box that every learner works in.

    `discount` is 0 after a step that ended the task and 1 elsewhere. A time limit does not end the
    task, so a learner bootstraps through it.

    With a horizon H an action is a chunk: the actions of H steps side by side, A = H times the
    columns of one. The reward sums up these steps and the next observation is what followed them,
    see `edp_jax.data.returns.n_step_returns`. An episode may end before its last chunk does;
    `valid` says which steps there were. Without a horizon it is None, and so are the weights below.
    """

    observation: Array  # [B, O]
    action: Array  # [B, A]
    reward: Array  # [B]
    discount: Array  # [B]
    next_observation: Array  # [B, O]
    valid: Array | None = None  # [B, H] 1 where a step is one of the episode, 0 behind its end
    # [B] 1: no value is learned from it; 0: one is; `COLLECTED`: one is, and it is not of the
    # dataset. None: a value is learned from every row
    held_out: Array | None = None

    @property
    def size(self) -> int:
        return self.reward.shape[0]

    @property
    def recorded(self) -> Array | None:
        """[B, A] 1 for the numbers of an action that were recorded: only these are imitated."""
        if self.valid is None:
            return None
        return jnp.repeat(self.valid, self.action.shape[-1] // self.valid.shape[-1], axis=-1)

    @property
    def has_action(self) -> Array | None:
        """[B] 1 for the rows that a loss of policies counts: all in which a step is valid.

        A dataset has no others; a batch of fixed size may be filled up with them.
        """
        return None if self.valid is None else self.valid[..., 0]

    @property
    def has_value(self) -> Array | None:
        """[B] 1 for the rows that a loss of values counts, 0 for the others.

        It is 1 where the chunk is whole, and where the task ended in it: then the return is known,
        whatever the actions behind the end would have been. It is 0 where only the recording was
        cut. What would have followed depends on actions that nobody took, so no critic is trained
        on such a row, and no action is weighted or guided by a value there.
        """
        if self.valid is None:
            return None
        return jnp.where(self.discount == 0, self.valid[..., 0], self.valid[..., -1])

    @property
    def teaches_value(self) -> Array | None:
        """[B] 1 for the rows that values are learned from: they have one and are not held out."""
        if self.held_out is None:
            return self.has_value
        learned = jnp.where(self.held_out > 0, 0.0, 1.0)
        return learned if self.has_value is None else learned * self.has_value


@dataclasses.dataclass(frozen=True)
class TaskSpec:
    """The sizes of a task: all that a learner has to know of it to build its networks."""

    observation_dim: int  # O
    action_dim: int  # A
    horizon: int = 1  # H
    marks_held_out: bool = False  # whether rows say which of them are held out

    @property
    def for_learner(self) -> "TaskSpec":
        """The same task as learners see it: a chunk is one action, of H A columns."""
        return TaskSpec(self.observation_dim, self.horizon * self.action_dim)

    @property
    def row_width(self) -> int:
        """Columns of a packed row, D."""
        marks = (self.horizon if self.horizon > 1 else 0) + self.marks_held_out
        return 2 * self.observation_dim + self.horizon * self.action_dim + marks + 2


def pack(transitions: Transition) -> np.ndarray:
    """Puts the parts of each transition side by side: one row of numbers per transition.

    Args:
      transitions: numpy arrays with leading axes [...].

    Returns:
      A new array [..., D] float32. The columns are the observation (O of them), the action (A, or
      H A), the next observation (O), with chunks which steps are valid (H), where rows are held out
      which are (1), the reward and the discount.
    """
    columns = [transitions.observation, transitions.action, transitions.next_observation]
    columns += [] if transitions.valid is None else [transitions.valid]
    columns += [] if transitions.held_out is None else [transitions.held_out[..., None]]
    columns += [transitions.reward[..., None], transitions.discount[..., None]]
    return np.concatenate(columns, axis=-1, dtype=np.float32)


def unpack(rows: Array, spec: TaskSpec) -> Transition:
    """Takes packed rows [..., D] apart again; of a numpy array the parts are views."""
    o, a, horizon = spec.observation_dim, spec.horizon * spec.action_dim, spec.horizon
    end = -3 if spec.marks_held_out else -2
    chex.assert_axis_dimension(rows, -1, spec.row_width)
    return Transition(
        observation=rows[..., :o],
        action=rows[..., o : o + a],
        reward=rows[..., -2],
        discount=rows[..., -1],
        next_observation=rows[..., o + a : o + a + o],
        valid=rows[..., end - horizon : end] if horizon > 1 else None,
        held_out=rows[..., end] if spec.marks_held_out else None,
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

    def denormalize(self, observation: Array) -> Array:
        """Observations [..., O] as learners see them -> [..., O] in the dataset's units."""
        return observation * self.observation_std + self.observation_mean

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

    The programs in `experiments` print it without a traceback and exit with code 2. Breaks of lines
    and other control characters, which names in a file may have, become blanks.
    """

    def __init__(self, message: str = ""):
        super().__init__(_CONTROL.sub(" ", message))
