"""How far critics can be trusted: how they do on episodes that they have not learned from.

Critics of a small dataset can know every row by heart and be wrong between the rows. Their errors
on what they learned from do not show it. So some episodes are held out: the policy imitates them,
values are not learned from them (docs/findings.md, "Following the critics where they generalise").
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import chex
import jax.numpy as jnp

from edp_jax import losses
from edp_jax.algorithms.base import AgentState, Algorithm, Metrics, TrainState
from edp_jax.types import Array, Transition

ERRORS = "errors"  # name of the running means in the state
_STEP = 0.005  # of the running means, per update


class Errors(NamedTuple):
    """Running means over the batches, in units of Q; all start at 0, equally far below the truth.

    They are means of magnitudes and not of squares, so that the few rows near a goal, where rewards
    are rare, do not outweigh all others.
    """

    learned: Array  # [] of |delta|, the TD error, on rows that values are learned from
    held_out: Array  # [] of |delta| on the others
    spread: Array  # [] of |A - mean A| on the others


def measure(advantage: Array, td_error: Array, held_out: Array, counts: Array | None) -> Metrics:
    """The means of one batch, as metrics.

    Args:
      advantage: [B] A of the dataset's actions.
      td_error: [B] delta of them.
      held_out: [B] of the batch, see `edp_jax.types.Transition`. Collected rows do not count: they
        may be easier or harder than those of the data, whatever the critics know.
      counts: [B], see `edp_jax.losses`.

    Returns:
      The `Errors` by name, with the prefix "error_", 0 where there are no such rows; and
      "error_both": 1 where rows of both kinds are there, at least two of them held out, else 0.
    """
    all_count = jnp.ones_like(td_error) if counts is None else counts
    out, learned = (jnp.where(held_out == mark, all_count, 0.0) for mark in (1, 0))
    number = jnp.sum(out)
    both = (number > 1) & (jnp.sum(learned) > 0)
    deviation = losses.mean(jnp.abs(advantage - losses.mean(advantage, out)), out)
    unbiased = jnp.sqrt(number / jnp.maximum(number - 1.0, 1.0))  # the mean is of the same rows
    return {
        "error_learned": losses.mean(jnp.abs(td_error), learned),
        "error_held_out": losses.mean(jnp.abs(td_error), out),
        "error_spread": unbiased * deviation,
        "error_both": both.astype(jnp.float32),
    }


def updated(errors: Errors, metrics: Mapping[str, Array]) -> Errors:
    """The running means after one more batch.

    A batch in which all rows are held out, or hardly any, tells nothing: the means do not move.
    """
    step = _STEP * metrics["actor/error_both"]
    named = errors._asdict().items()
    return Errors(*(old + step * (metrics[f"actor/error_{name}"] - old) for name, old in named))


def reliability(errors: Errors) -> Array:
    """How much of what the critics say of unseen episodes is true, between 0 and 1.

    Their TD errors there have two parts: chance in what happens, which no critic can foresee and
    which is in the errors on learned rows as well, and what the critics have learned wrongly. With
    magnitudes for standard deviations, the second has the variance n = max(held_out^2 - learned^2,
    0). Advantages there have the variance v = spread^2.

    Returns:
      [] max(v - n, 0) / (v + n): 1 where the critics do as well on unseen episodes, 0 where the
      advantages vary by no more than the critics err, and before the first batch.
    """
    wrong = jnp.maximum(jnp.square(errors.held_out) - jnp.square(errors.learned), 0.0)
    spread = jnp.square(errors.spread)
    both = spread + wrong
    return jnp.maximum(spread - wrong, 0.0) / jnp.where(both > 0, both, jnp.inf)


def reliability_of(state: AgentState) -> Array:
    """The `reliability` of a state's critics: [] of one member, [R] of all.

    It is 0 where no episodes are held out, since nothing says then how far to trust the critics.
    """
    if ERRORS not in state.networks:
        return jnp.zeros(())
    return reliability(state.networks[ERRORS].params)


def remembering(learner: Algorithm) -> Algorithm:
    """The learner with a state that remembers the `Errors` of its critics, under `ERRORS`.

    Its metrics have what `measure` gives, as metrics of the network "actor".
    """

    def init(key: chex.PRNGKey) -> AgentState:
        return _remember(learner.init(key), Errors(jnp.zeros(()), jnp.zeros(()), jnp.zeros(())))

    def update(
        state: AgentState, batch: Transition, settings: Any, draws: Any
    ) -> tuple[AgentState, Metrics]:
        before = state.networks[ERRORS].params
        state, metrics = learner.update(state, batch, settings, draws)
        return _remember(state, updated(before, metrics)), metrics

    return learner._replace(init=init, update=update)


def _remember(state: AgentState, errors: Errors) -> AgentState:
    networks = state.networks | {ERRORS: TrainState(errors, None, ())}
    return dataclasses.replace(state, networks=networks)
