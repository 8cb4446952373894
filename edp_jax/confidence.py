"""What the critics of a policy say about the actions it chooses, and how much they disagree."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp

from edp_jax.algorithms.edp import make_critics
from edp_jax.networks import Network
from edp_jax.policy import Act, in_dataset_units
from edp_jax.types import Array, InputError, TaskSpec, Units


class Judged(NamedTuple):
    """Actions, with what an ensemble of critics says about them.

    A value is a discounted return, of rewards as the learner saw them.
    """

    action: Array  # [..., A], or [..., execute, A] of a policy with a horizon
    value: Array  # [...] mean of the critics
    disagreement: Array  # [...] their standard deviation, with 1 / C


def find_critics(settings: Any, spec: TaskSpec, params: Any) -> Network:
    """The critics that a policy takes along.

    Args:
      settings: of its learner.
      spec: of its task.
      params: `Algorithm.policy_params`.

    Raises:
      InputError: it takes none along, or a single one.
    """
    if not isinstance(params, Mapping) or "critic" not in params:
        raise InputError(
            "policy: takes no critics along that could judge its actions; use one whose learner "
            "has a diffusion policy and critics, such as edp"
        )
    if settings.num_critics == 1:
        raise InputError(
            "policy: its only critic has none to disagree with; train with num_critics=2 or more"
        )
    return make_critics(settings, spec.for_learner)


def judged_in_dataset_units(
    act: Act, critics: Network, units: Units, execute: int | None = None
) -> Callable[[Any, Array, Any], Judged]:
    """`act` in the units of the dataset, with what critics say about the actions.

    Args:
      act: (parameters, observation [..., O], key or random numbers) -> action [..., A].
      critics: that belong to `params["critic"]`, C of them.
      units: of the dataset.
      execute: see `edp_jax.policy.in_dataset_units`; all actions of a chunk are judged together.
    """

    def judged(params: Any, observation: Array, random: Any) -> Judged:
        seen = units.normalize(observation)
        action = act(params, seen, random)
        q = critics.apply(params["critic"], seen, action)
        chosen = in_dataset_units(lambda *_: action, units, execute)
        return Judged(chosen(params, observation, random), jnp.mean(q, axis=0), jnp.std(q, axis=0))

    return judged
