"""Trainings that go wrong: members that diverged, values that no return can reach."""

from collections.abc import Mapping, Sequence

import numpy as np

from edp_jax.training.members import Member

_VALUE = "critic/q_mean"  # the metric that is the mean of the critics' values


def describe(member: Member, update: int) -> str:
    """A line about a member with a metric or parameter that became NaN or infinite.

    Args:
      member: which one.
      update: in which it did, counted from 1.
    """
    return (
        f"{member} has diverged in update {update:,} and is trained no further; others go on. "
        "Lower --config.learning_rate, or set --config.critic_layer_norm=True"
    )


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


def describe_values(
    step: int,
    members: Sequence[Member],
    metrics: Mapping[str, np.ndarray],
    bounds: tuple[np.ndarray, np.ndarray],
) -> str | None:
    """A line about a critic whose mean value no return can reach.

    A tenth of the range between the bounds is left for a critic that is still learning.

    Args:
      step: updates done.
      members: R of them.
      metrics: [R] by name.
      bounds: [R] each, see `possible_returns`.

    Returns:
      A line about the first such member, None where there is none.
    """
    if _VALUE not in metrics:
        return None
    (low, high), values = bounds, metrics[_VALUE]
    with np.errstate(invalid="ignore"):
        beyond = np.flatnonzero((values > high + (high - low) / 10) & np.isfinite(values))
    if not len(beyond):
        return None
    index = beyond[0]
    return (
        f"{members[index]}: {_VALUE} is {values[index]:.4g} at update {step:,}, and no return of "
        f"such rewards exceeds {high[index]:.4g}: the critics overestimate. Lower "
        "--config.learning_rate or --config.discount, or set --config.critic_layer_norm=True"
    )
