"""Action chunks: any learner with a policy that chooses several actions at once.

To a learner a chunk of H actions is one action (`TaskSpec.for_learner`), and its losses count what
`Transition.recorded`, `has_action` and `has_value` say. With values that is Q-chunking (Li et al.
2025, arXiv 2507.07969): Q(s_t, a_t .. a_{t+H-1}) learns sum_i gamma^i r_{t+i} + gamma^H Q(s_{t+H},
chunk of the policy).
"""

import dataclasses
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from edp_jax.algorithms.base import AgentState, Algorithm, Metrics
from edp_jax.policy import ACTION_BOUND
from edp_jax.types import Array, Transition


class Draws(NamedTuple):
    """All random numbers of one update on chunks."""

    learner: Any  # what the learner draws
    behind: Array  # [B, A] uniform actions, for the steps behind an episode's end


def on_chunks(algorithm: Algorithm) -> Algorithm:
    """The learner with another view of its batches: what they hold behind an episode's end is gone.

    Random actions stand there, new ones in every update. No loss of a policy counts them. A critic
    is given them after the end of a task, where every action leaves the same return: it learns that
    they do not matter. A fixed filling would be a mark by which it could tell that the end is near,
    and the policy's own chunks, which it is asked about, do not have that mark.
    """

    def draw(key: chex.PRNGKey, params: Any, batch: Transition) -> Draws:
        learner_key, behind_key = jax.random.split(key)
        behind = jax.random.uniform(
            behind_key, batch.action.shape, minval=-ACTION_BOUND, maxval=ACTION_BOUND
        )
        return Draws(algorithm.draw(learner_key, params, _hidden(batch, behind)), behind)

    def update(
        state: AgentState, batch: Transition, settings: Any, draws: Draws
    ) -> tuple[AgentState, Metrics]:
        return algorithm.update(state, _hidden(batch, draws.behind), settings, draws.learner)

    return algorithm._replace(draw=draw, update=update)


def _hidden(batch: Transition, behind: Array) -> Transition:
    recorded = batch.recorded
    assert recorded is not None, "a batch of single actions, for a learner with a horizon"
    action = jnp.where(recorded > 0, batch.action, behind)
    return dataclasses.replace(batch, action=action)
