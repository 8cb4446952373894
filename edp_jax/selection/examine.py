"""What has to be known of each policy to compare it: its choices, and its cheap signs."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from edp_jax import algorithms
from edp_jax.algorithms import AgentState, edp
from edp_jax.configuration import build
from edp_jax.selection import signs
from edp_jax.selection.episodes import Split, followed
from edp_jax.selection.fqe import Choices
from edp_jax.selection.pool import Contender, Recorded, Source
from edp_jax.selection.sampling import in_box_of, sample_actions
from edp_jax.training.divergence import possible_returns
from edp_jax.types import unpack

STARTING = 8  # actions that are drawn at the start of each held-out episode


class Examined(NamedTuple):
    """A policy with what was found out of it."""

    contender: Contender
    choices: Choices  # without the axis P; at the transitions to fit on
    signs: signs.Signs


def examine(
    source: Source,
    step: int,
    ways: Sequence[Any],
    recorded: Recorded,
    split: Split,
    count: int,
    seed: int,
) -> Iterator[Examined]:
    """Examines the policies of a checkpoint, but for members that have diverged.

    Args:
      source: their run.
      step: of the checkpoint.
      ways: settings of the learner, one for each way of acting.
      recorded: the data that all policies are judged by.
      split: of these data.
      count: M, actions per observation.
      seed: of the random numbers of acting, which are the same for all policies.
    """
    state = source.run.state(build.make_algorithm(source.settings, source.dataset), step)
    living = np.flatnonzero(np.asarray(state.diverged) < 0)
    if not len(living):
        return
    state = jax.tree.map(lambda leaf: leaf[living], state)
    rows, units = np.concatenate([split.fit, split.held_out]), source.dataset.units
    ahead, here = recorded.transitions.next_observation, recorded.transitions.observation
    seen = units.normalize(ahead[rows]), units.normalize(here[split.starts])
    for way in ways:
        algorithm = algorithms.make(source.settings.algorithm, way, source.dataset.spec)
        params = jax.vmap(algorithm.policy_params)(state)
        drawn, starting = (
            sample_actions(algorithm, params, observations, number, seed)
            for observations, number in zip(seen, (count, STARTING), strict=True)
        )
        for position, index in enumerate(living):
            member = jax.tree.map(lambda leaf, position=position: leaf[position], state)
            contender = Contender(source, step, int(index), way)
            following = in_box_of(recorded.units, units, drawn[position])
            begun = in_box_of(recorded.units, units, starting[position])
            held_out = slice(len(split.fit), None)
            found = _signs(
                contender, member, recorded, split.held_out, drawn[position][held_out], seed
            )
            found = found._replace(
                distance=_distance(recorded, split.held_out, following[held_out])
            )
            yield Examined(contender, Choices(following[: len(split.fit)], begun), found)


def _distance(recorded: Recorded, rows: np.ndarray, following: np.ndarray) -> float:
    """Of the actions [N, M, A] at the next observations of rows from those of the next rows."""
    known = np.isin(rows, followed(recorded.episode, rows))
    if not known.any():
        return np.nan
    return signs.distance(following[known], recorded.transitions.action[rows[known] + 1])


def _signs(
    contender: Contender,
    state: AgentState,
    recorded: Recorded,
    rows: np.ndarray,
    drawn: np.ndarray,
    seed: int,
) -> signs.Signs:
    """The signs of one member, but for the distance of its actions `drawn` [N, M, A] at `rows`."""
    settings, dataset = contender.way, contender.source.dataset
    batch = unpack(dataset.rows[rows], dataset.spec)
    found = signs.Signs(signs.denoising_loss(settings, dataset.spec, state, batch, seed))
    if "critic" not in state.networks or dataset.spec.horizon > 1:
        return found
    critics, params = edp.make_critics(settings, dataset.spec), state.networks["critic"]
    transform, stored = dataset.reward_transform, recorded.transitions
    discount = dict(contender.member.point).get("discount", settings.discount)
    rewards = transform.apply(stored.reward)
    _, highest = possible_returns(rewards, stored.discount, np.array([discount]))
    single = batch.replace(reward=rewards[rows], discount=stored.discount[rows])
    following = dataset.units.normalize(stored.next_observation[rows])
    q = critics.apply(params.target_params, batch.observation, batch.action)
    next_q = critics.apply(params.target_params, following, np.moveaxis(drawn, 1, 0))
    error, excess = signs.critic_signs(
        np.asarray(q), np.moveaxis(np.asarray(next_q), 1, 2), single, discount, highest[0]
    )
    scale = abs(transform.scale)
    return found._replace(td_error=error / scale, excess=excess / scale)
