"""Reward transforms: fitted to a dataset once, then the same for every reward."""

import dataclasses
import difflib
from typing import Any

import numpy as np

from edp_jax.data.columns import constant_columns
from edp_jax.types import InputError, Transition, Units

REWARD_KINDS = (
    *("none", "antmaze", "iql_antmaze", "standardize", "iql_locomotion"),
    *("unit_magnitude", "unit_return"),
)


@dataclasses.dataclass(frozen=True)
class RewardTransform:
    """The reward that a learner sees: scale times the stored reward, plus shift."""

    scale: float = 1.0
    shift: float = 0.0

    def apply(self, reward: Any) -> Any:
        """Rewards [...] of the dataset, or of new transitions, as a learner sees them."""
        return self.scale * reward + self.shift

    def then(self, scale: float, shift: float) -> "RewardTransform":
        """This transform followed by another scale and shift."""
        return RewardTransform(scale * self.scale, scale * self.shift + shift)


def as_learner_sees(steps: Transition, units: Units, rewards: RewardTransform) -> Transition:
    """Steps [...] in the units of the data, as a learner sees them; numpy or JAX arrays.

    `prepare` does the same to a whole dataset, block by block.
    """
    return dataclasses.replace(
        steps,
        observation=units.normalize(steps.observation),
        action=units.scale(steps.action),
        reward=rewards.apply(steps.reward),
        next_observation=units.normalize(steps.next_observation),
    )


def fit(
    kind: str, rewards: np.ndarray, returns: np.ndarray, episode: np.ndarray, gamma: float
) -> RewardTransform:
    """Fits one kind of transform to a dataset.

    | kind | rewards that a learner sees | source |
    | --- | --- | --- |
    | none | r | |
    | antmaze | 4 (r - 0.5) | CQL (arXiv 2006.04779), used on AntMaze by Diffusion-QL and EDP |
    | iql_antmaze | r - 1 | IQL (arXiv 2110.06169, appendix A), on AntMaze |
    | iql_locomotion | 1000 r / (largest - smallest return) | IQL, on locomotion |
    | standardize | (r - mean) / std | Diffusion-QL (arXiv 2208.06193) and EDP, on Adroit |
    | unit_magnitude | r / mean of abs(r) | ours |
    | unit_return | r / `constant_reward` | ours: recorded returns are at most 1 / (1 - gamma) |

    Rewards that are all 0 stay 0 with the last two kinds.

    Args:
      kind: one of `REWARD_KINDS`.
      rewards: [N] of the transitions.
      returns: [episodes], the sum of all stored rewards of each.
      episode: [N], the number of each transition's episode.
      gamma: the discount per step.

    Raises:
      InputError: an unknown kind, or a spread to divide by that is 0 or only rounding.
    """
    if kind == "none":
        return RewardTransform()
    if kind == "antmaze":
        return RewardTransform(4.0, -2.0)
    if kind == "iql_antmaze":
        return RewardTransform(1.0, -1.0)
    if kind == "iql_locomotion":
        _check_spread(kind, "episodes return", returns)
        return RewardTransform(float(1000.0 / np.ptp(returns)))
    if kind == "standardize":
        values = rewards.astype(np.float64)
        _check_spread(kind, "rewards are", values)
        return RewardTransform(float(1.0 / values.std()), float(-values.mean() / values.std()))
    if kind == "unit_magnitude":
        magnitude = np.abs(rewards).mean(dtype=np.float64)
        return RewardTransform(float(1.0 / magnitude) if magnitude > 0 else 1.0)
    if kind == "unit_return":
        unit = constant_reward(rewards, episode, gamma)
        return RewardTransform(1.0 / unit if unit > 0 else 1.0)
    near = difflib.get_close_matches(kind, REWARD_KINDS, n=1, cutoff=0.0)[0]
    listed = ", ".join(REWARD_KINDS)
    raise InputError(f"reward transform {kind!r}: unknown; use {near!r} or one of {listed}")


def constant_reward(rewards: np.ndarray, episode: np.ndarray, gamma: float) -> float:
    """The reward that, paid in every step, gives the largest discounted return of the dataset.

    It is max |G| / (1 + gamma + ... + gamma^(T - 1)), where G is what is paid from one step of an
    episode to its end, discounted, and T the length of the longest episode. Where every step is
    paid about alike it is near their reward. Where one step alone is paid, as at a goal, it is far
    above the mean reward, which would make the values near the goal as large as there are steps.

    Args:
      rewards: [N] of the transitions, in the order they were made in.
      episode: [N], the number of each transition's episode.
      gamma: the discount per step.

    Returns:
      A number of at least 0, in units of the rewards.
    """
    longest = int(np.bincount(episode).max())
    total, step = rewards.astype(np.float64), 1
    while step < longest:  # `total` has the rewards of that many steps, and then of twice as many
        inside = episode[step:] == episode[:-step]
        total[:-step] += np.where(inside, gamma**step * total[step:], 0.0)
        step *= 2
    return float(np.abs(total).max() / np.sum(gamma ** np.arange(longest)))


def _check_spread(kind: str, what: str, values: np.ndarray) -> None:
    if constant_columns(values[:, None])[0]:
        raise InputError(
            f"reward transform {kind!r}: all {what} {values[0]:.6g}, nothing to scale; use 'none'"
        )
