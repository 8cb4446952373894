"""Several steps as one transition, and drawing transitions by the return of their episode."""

import chex
import numpy as np

from edp_jax.data.storage import map_rows


def n_step_returns(
    reward: np.ndarray, discount: np.ndarray, episode: np.ndarray, num_steps: int, gamma: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sums rewards over the steps that follow each transition (Sutton & Barto 2018, Eq. 7.1).

    From transition t on, a window takes in the next m - 1 transitions of the same episode. It is
    `num_steps` long, or shorter where the episode ends before. The window becomes one transition,
    from the observation of t to the next observation of its last one, t + m - 1.

    Args:
      reward: [N] of transitions in the order they were made in.
      discount: [N]; 0 after a step that ended the task, and 1 elsewhere.
      episode: [N], the number of each transition's episode.
      num_steps: the longest window.
      gamma: the discount per step.

    Returns:
      reward: [N] float32, the sum of gamma^i reward[t + i] over i < m.
      discount: [N] float32, gamma^(m - 1) discount[t + m - 1]. A learner multiplies it by gamma, as
        it does with a single step, so that it bootstraps with gamma^m.
      last: [N] int, t + m - 1.
    """
    chex.assert_equal_shape([reward, discount, episode])
    size = len(reward)
    total, factor = reward.astype(np.float64), discount.astype(np.float64)
    last, is_open = np.arange(size), np.ones(size, bool)
    for step in range(1, num_steps):
        follower = last + 1
        inside = np.minimum(follower, size - 1)
        is_open &= (follower < size) & (episode[inside] == episode) & (discount[last] > 0)
        if not is_open.any():
            break
        total = np.where(is_open, total + gamma**step * reward[inside], total)
        factor = np.where(is_open, gamma**step * discount[inside], factor)
        last = np.where(is_open, inside, last)
    return total.astype(np.float32), factor.astype(np.float32), last


def fill_chunks(action: np.ndarray, valid: np.ndarray, last: np.ndarray) -> None:
    """Puts the actions of the steps that follow each transition beside its own.

    A chunk that reaches behind the end of its episode repeats the episode's last action.

    Args:
      action: [N, H A]; the action of each transition is in the first A columns, the others are
        filled.
      valid: [N, H], is filled: 1 where a step of the chunk is one of the episode, 0 behind its end.
      last: [N] the last transition of each one's window of H, as `n_step_returns` gives it.
    """
    horizon, steps = valid.shape[1], np.arange(len(last))
    single = action[:, : action.shape[1] // horizon]
    for ahead, columns in enumerate(np.split(action, horizon, axis=1)):
        valid[:, ahead] = steps + ahead <= last
        if ahead:
            index = np.minimum(steps + ahead, last)
            map_rows(lambda index: single[index], index, out=columns)


def return_weights(returns: np.ndarray, episode: np.ndarray, temperature: float) -> np.ndarray:
    """Probabilities that prefer transitions of episodes with a high return.

    They are proportional to exp(G / temperature), where G is the return of the episode, scaled so
    that the lowest of the dataset is 0 and the highest 1. Source: Hong et al. 2023 (arXiv
    2306.13085), Eq. 5.

    Args:
      returns: [episodes].
      episode: [N], the number of each transition's episode.
      temperature: the smaller, the stronger the preference; above 0.

    Returns:
      [N], which sum to 1.
    """
    chex.assert_rank([returns, episode], 1)
    spread = np.ptp(returns)
    scaled = (returns - returns.min()) / (spread if spread > 0 else 1.0)
    weights = np.exp((scaled - 1.0) / temperature)[episode]
    return weights / weights.sum()
