"""What has to be known of each policy to compare it: its choices, and its signs."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from edp_jax import algorithms
from edp_jax.algorithms import AgentState, edp
from edp_jax.configuration import build
from edp_jax.selection import dynamics, signs
from edp_jax.selection.episodes import Split, followed
from edp_jax.selection.fqe import FQE, Choices, evaluate
from edp_jax.selection.pool import Contender, Recorded, Source
from edp_jax.selection.sampling import in_box_of, make_sample
from edp_jax.training.divergence import possible_returns
from edp_jax.types import unpack

_MOST_ROWS = 300_000  # that dynamics are learned from
_STARTING = 8  # actions that are drawn at the start of each held-out episode, at least


class Examined(NamedTuple):
    """A policy with what was found out of it."""

    contender: Contender
    choices: Choices  # without the axis P; at the transitions to fit on
    signs: signs.Signs


def examine(
    source: Source,
    steps: Sequence[int],
    ways: Sequence[Any],
    recorded: Recorded,
    split: Split,
    count: int,
    seed: int,
    imagined: dynamics.Imagined,
) -> Iterator[Examined]:
    """Examines the policies of a run, but for members that have diverged.

    Args:
      source: the run.
      steps: of its checkpoints.
      ways: settings of the learner, one for each way of acting.
      recorded: the data that all policies are judged by.
      split: of these data.
      count: M, actions per observation.
      seed: of the random numbers of acting, which are the same for all policies.
      imagined: where the policies act to find out how they drift.
    """
    name, dataset = source.settings.algorithm, source.dataset
    made = [algorithms.make(name, way, dataset.spec) for way in ways]
    samples = [make_sample(algorithm, count, seed) for algorithm in made]
    num_fit, num_rows = len(split.fit), len(split.fit) + len(split.held_out)
    drifts = [
        dynamics.make_drift(algorithm, recorded.units, dataset.units, imagined.settings)
        for algorithm in made
    ]
    repeats = -(-_STARTING // count)
    observations = np.concatenate(
        [
            recorded.transitions.next_observation[np.concatenate([split.fit, split.held_out])],
            np.repeat(recorded.transitions.observation[split.starts], repeats, axis=0),
        ]
    )
    seen = np.asarray(dataset.units.normalize(observations))
    for step in steps:
        state = source.run.state(build.make_algorithm(source.settings, dataset), step)
        for way, algorithm, sample, drift in zip(ways, made, samples, drifts, strict=True):
            params = jax.vmap(algorithm.policy_params)(state)
            drawn, drifted = sample(params, seen), drift(imagined.dynamics, params, imagined.start)
            chosen = np.asarray(in_box_of(recorded.units, dataset.units, drawn))
            for index in np.flatnonzero(np.asarray(state.diverged) < 0).tolist():
                contender = Contender(source, step, index, way)
                starting = chosen[index, num_rows:].reshape(len(split.starts), repeats * count, -1)
                own = drawn[index, num_fit:num_rows]
                found = _signs(
                    contender, _member(state, index), recorded, split.held_out, own, seed
                )
                away = _distance(recorded, split.held_out, chosen[index, num_fit:num_rows])
                yield Examined(
                    contender,
                    Choices(chosen[index, :num_fit], starting),
                    found._replace(distance=away, drift=float(drifted[index])),
                )


def imagine(recorded: Recorded, split: Split, settings: dynamics.Imagination) -> dynamics.Imagined:
    """Learns dynamics, and chooses where imagined episodes begin.

    The networks learn from the episodes that are not held out. Steps that ended the task are left
    out, since many datasets do not hold what was observed after them. Imagined episodes begin where
    held-out episodes began, and are not longer than the longest recorded episode.

    Args:
      recorded: the data that all policies are judged by.
      split: of these data.
      settings: how dynamics are learned.
    """
    held_out = np.isin(recorded.episode, recorded.episode[split.held_out])
    goes_on = np.asarray(recorded.transitions.discount) > 0
    rows = np.flatnonzero(~held_out & goes_on)
    rows = rows if len(rows) else np.flatnonzero(~held_out)
    if len(rows) > _MOST_ROWS:
        rng = np.random.default_rng(settings.seed)
        rows = np.sort(rng.choice(rows, _MOST_ROWS, replace=False))
    fitted = dynamics.fit(recorded.normalized(rows), settings)
    number, there = settings.num_episodes, len(split.starts)
    spread = np.linspace(0, there - 1, number).round().astype(int)
    starts = split.starts[spread if there > number else np.arange(number) % there]
    longest = int(np.unique(recorded.episode, return_counts=True)[1].max())
    settings = dataclasses.replace(settings, length=min(settings.length, longest))
    return dynamics.Imagined(fitted, recorded.normalized(starts).observation, settings)


def estimate(
    recorded: Recorded, split: Split, choices: Sequence[Choices], settings: FQE
) -> np.ndarray:
    """Estimates the discounted return of policies by what they would do; see `fqe.evaluate`.

    Args:
      recorded: the data that all policies are judged by.
      split: of these data.
      choices: of each of the P policies, without the axis P.
      settings: how critics are fitted.

    Returns:
      [P, C, E] from the starts of the held-out episodes.
    """
    stored = recorded.transitions
    rewards, discounts = np.asarray(stored.reward), np.asarray(stored.discount)
    low, high = possible_returns(rewards, discounts, np.array([settings.discount]))
    return evaluate(
        recorded.normalized(split.fit),
        recorded.normalized(split.starts).observation,
        jax.tree.map(lambda *leaves: np.stack(leaves), *choices),
        (float(low[0]), float(high[0])),
        settings,
    )


def _member(state: AgentState, index: int) -> AgentState:
    return jax.tree.map(lambda leaf: leaf[index], state)


def _distance(recorded: Recorded, rows: np.ndarray, following: np.ndarray) -> float:
    """Of the actions [N, M, A] at the next observations of rows from those of the next rows."""
    known = np.isin(rows, followed(recorded.episode, rows))
    if not known.any():
        return np.nan
    taken = np.asarray(recorded.transitions.action)[rows[known] + 1]
    return signs.distance(following[known], taken)


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
    following = dataset.units.normalize(recorded.transitions.next_observation[rows])
    if dataset.spec.horizon == 1:
        own = dataclasses.replace(batch, observation=following, action=drawn[:, 0])
        loss = signs.denoising_loss(settings, dataset.spec, state, own, seed)
        found = found._replace(sample_loss=loss)
    if "critic" not in state.networks or dataset.spec.horizon > 1:
        return found
    critics, params = edp.make_critics(settings, dataset.spec), state.networks["critic"]
    transform, stored = dataset.reward_transform, recorded.transitions
    discount = ({"discount": settings.discount} | dict(contender.member.point))["discount"]
    rewards = transform.apply(stored.reward)
    goes_on = np.asarray(stored.discount)
    _, highest = possible_returns(rewards, goes_on, np.array([discount]))
    single = dataclasses.replace(batch, reward=rewards[rows], discount=goes_on[rows])
    q = critics.apply(params.target_params, batch.observation, batch.action)
    next_q = critics.apply(params.target_params, following, np.moveaxis(drawn, 1, 0))
    error, excess = signs.critic_signs(
        np.asarray(q), np.moveaxis(np.asarray(next_q), 1, 2), single, discount, highest[0]
    )
    scale = abs(transform.scale)
    return found._replace(td_error=error / scale, excess=excess / scale)
