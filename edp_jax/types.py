"""Types shared by every module.

Shape letters, used in all docstrings: B batch, S seeds, K diffusion timesteps, O observation, A action, N candidates
(or ensemble members), E environments.
"""

import dataclasses

import chex
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
