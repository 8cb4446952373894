"""Trainings that go wrong: members that diverged, values that no return can reach."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edp_jax.training.members import Member

_VALUE = "critic/q_mean"  # the metric that is the mean of the critics' values


def describe(member: Member, update: int, settings: Any) -> str:
    """A line about a member with a metric or parameter that became NaN or infinite.

    Args:
      member: which one.
      update: in which it did, counted from 1.
      settings: of the learner; only remedies that it has are named.
    """
    return (
        f"{member} has diverged in update {update:,} and is trained no further; others go on. "
        f"Lower --config.learning_rate{_or_layer_norm(settings)}"
    )


def _or_layer_norm(settings: Any) -> str:
    without = getattr(settings, "critic_layer_norm", None) is False
    return ", or set --config.critic_layer_norm=True" if without else ""


def possible_returns(
    rewards: np.ndarray, discounts: np.ndarray, gamma: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Between which bounds discounted returns lie, with rewards like those of the data.

    A transition with the reward r and the discount d, taken in every step, adds up to r + gamma d r
    + ... = r / (1 - gamma d). The largest such number is the largest return: no mixture of
    transitions has more, since V = max (r + gamma d V) is solved by it. The smallest one likewise.
    After the end of a task d is 0; rewards that are sums over n steps come with gamma^(n - 1).

    Args:
      rewards: [N] of transitions.
      discounts: [N] of transitions.
      gamma: [R] discount factor of the members.

    Returns:
      The lower and the upper bound [R]; infinite where gamma is 1.
    """
    bounds = []
    with np.errstate(divide="ignore", invalid="ignore"):
        for each in np.asarray(gamma, np.float64).ravel():
            sums = rewards / (1.0 - each * np.asarray(discounts, np.float64))
            sums = np.where(rewards == 0, 0.0, sums)
            bounds.append((sums.min(), sums.max()))
    low, high = np.array(bounds).T
    return low, high


def learning_range(
    low: np.ndarray | float, high: np.ndarray | float
) -> tuple[np.ndarray, np.ndarray]:
    """The range of mean values that a critic may have while it learns, with nothing going wrong.

    An untrained critic says about 0. From there its values move to the returns of the data, which
    may all be far below 0 (every step costs something) or far above (every step pays). What lies
    between 0 and the returns is therefore allowed as well.

    Args:
      low, high: the bounds of the returns, of any shape.

    Returns:
      min(low, 0) and max(high, 0).
    """
    return np.minimum(low, 0.0), np.maximum(high, 0.0)


def describe_values(
    step: int,
    members: Sequence[Member],
    metrics: Mapping[str, np.ndarray],
    bounds: tuple[np.ndarray, np.ndarray],
    settings: Any,
) -> str | None:
    """A line about a critic whose mean value no return can reach.

    Only values that are too large are told. What a critic passes on its way from 0
    (`learning_range`), and a tenth of that range beyond it, are left for one that is still
    learning.

    Args:
      step: updates done.
      members: R of them.
      metrics: [R] by name.
      bounds: [R] each, see `possible_returns`.
      settings: of the learner; only remedies that it has are named.

    Returns:
      A line about the first such member, None where there is none.
    """
    if _VALUE not in metrics:
        return None
    (low, high), values = bounds, metrics[_VALUE]
    least, most = learning_range(low, high)
    with np.errstate(invalid="ignore"):
        limit = most + (most - least) / 10
        beyond = np.flatnonzero((values > limit) & np.isfinite(values))
    if not len(beyond):
        return None
    index = beyond[0]
    return (
        f"{members[index]}: {_VALUE} is {values[index]:.4g} at update {step:,}, and no return of "
        f"such rewards exceeds {high[index]:.4g}: the critics overestimate. Lower "
        f"--config.learning_rate or --config.discount{_or_layer_norm(settings)}"
    )
