"""What choosing a checkpoint by trying it online costs.

OMS is the best of all evaluations: it knows every policy of a run, at the price of all their
episodes, and it judges the choice by the episodes that made it. Here a run's policies are the arms
of a bandit. It plays k episodes, each of one policy, and then names the policy that looks best.
What that policy scores in other episodes is its true score.

Source: the protocol of "A Clean Slate for Offline Reinforcement Learning" (arXiv 2504.11453), UCB1
(Auer et al. 2002) with one episode per pull. There the arms are policies of different settings and
the judge sees the episodes that the bandit drew from. Here the arms are the evaluations of one run,
as OMS compares them, and the episodes are split in two, so that the score is not flattered.
"""

from typing import NamedTuple

import numpy as np

MAX_PULLS = 200
_REPEATS = 200


class Selection(NamedTuple):
    """The mean over repeats and runs; [k] is after k + 1 episodes."""

    scores: np.ndarray  # [T] true score of the policy that looks best
    of_oms: float  # true score of the policy with the best mean of the first halves
    seen_by_oms: float  # that best mean, which OMS would report
    evaluations: tuple[int, int]  # the fewest and the most, of a run, that were chosen among


def usable(episodes: np.ndarray) -> np.ndarray:
    """Which policies [T] have at least two episodes that count, so that they can be split.

    Args:
      episodes: [T, E] scores of T policies. NaN stands for an episode that does not count.
    """
    return (~np.isnan(episodes)).sum(axis=1) >= 2


def select(episodes: np.ndarray, max_pulls: int = MAX_PULLS) -> Selection | None:
    """Plays the bandit on the policies of one run.

    In each of 200 repeats the episodes of every policy are split at random: the bandit draws from
    one half, with replacement, and the mean of the other half is the policy's true score.

    Args:
      episodes: [T, E] scores of T policies, of which those count that are `usable`.
      max_pulls: episodes to play.

    Returns:
      None where no policy is usable.
    """
    episodes = episodes[usable(episodes)]
    if not len(episodes):
        return None
    counts = (~np.isnan(episodes)).sum(axis=1)
    rng = np.random.default_rng(0)
    seen, true, sizes = _split(episodes, counts, rng)
    means = np.nansum(seen, axis=2) / sizes
    best = means.argmax(axis=1)[:, None]
    return Selection(
        _play(seen, true, sizes, max_pulls, rng),
        float(np.take_along_axis(true, best, 1).mean()),
        float(means.max(axis=1).mean()),
        (len(episodes), len(episodes)),
    )


def _split(
    episodes: np.ndarray, counts: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Halves of the episodes, drawn anew for each of the N repeats.

    Returns:
      The halves that are seen [N, T, E], those scores first; the means of the others [N, T]; the
      sizes of the first [T].
    """
    shape = (_REPEATS, *episodes.shape)
    keys = np.where(np.isnan(episodes), np.inf, rng.random(shape))  # NaN come last
    shuffled = np.take_along_axis(np.broadcast_to(episodes, shape), keys.argsort(axis=2), 2)
    sizes = counts // 2
    position = np.arange(episodes.shape[1])
    others = np.where(position >= sizes[:, None], shuffled, np.nan)
    seen = np.where(position < sizes[:, None], shuffled, np.nan)
    return seen, np.nansum(others, axis=2) / (counts - sizes), sizes


def _play(
    seen: np.ndarray,
    true: np.ndarray,
    sizes: np.ndarray,
    max_pulls: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """The true score [k] of the arm with the best mean after each pull, as the mean over repeats.

    UCB1 expects rewards from 0 to 1, so its bonus is multiplied by the range of all scores.
    """
    repeats, num_arms = np.arange(len(seen)), seen.shape[1]
    scale = np.nanmax(seen) - np.nanmin(seen)
    pulls, sums = np.zeros((len(seen), num_arms)), np.zeros((len(seen), num_arms))
    order = rng.random(pulls.shape).argsort(axis=1)  # each arm is pulled once before any is twice
    found = []
    for pull in range(max_pulls):
        if pull < num_arms:
            arm = order[:, pull]
        else:
            arm = (sums / pulls + scale * np.sqrt(2 * np.log(pull) / pulls)).argmax(axis=1)
        episode = rng.integers(sizes[arm])
        sums[repeats, arm] += seen[repeats, arm, episode]
        pulls[repeats, arm] += 1
        means = np.where(pulls > 0, sums / np.maximum(pulls, 1), -np.inf)
        found.append(true[repeats, means.argmax(axis=1)].mean())
    return np.array(found)
