"""Returns over several steps, and trajectories drawn by their return. Pure numpy."""

import numpy as np

from edp_jax.types import Transition


def n_step_returns(
    transitions: Transition, episode: np.ndarray, n: int, discount: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rewards, discounts and last rows [B] of windows of up to n steps of one episode, one from each of the `transitions` on
    (Sutton & Barto 2018, Eq. 7.1).

    With m <= n steps left in the episode: reward sum_i discount^i r_i, i < m; the last row, that of step m - 1, whose next
    observation is the window's; and a discount of discount^(m - 1), 0 after a true terminal, since losses multiply by one more
    discount. Windows end at a terminal, at a timeout (which bootstraps) and wherever `episode` [B] (the number of each row's
    episode) changes.
    """
    size = transitions.size
    reward = transitions.reward.astype(np.float64)
    factor = transitions.discount.astype(np.float64)
    last = np.arange(size)
    open_window = np.ones(size, bool)
    for step in range(1, n):
        follower = last + 1
        inside = np.minimum(follower, size - 1)
        open_window = (
            open_window
            & (follower < size)
            & (episode[inside] == episode)
            & (transitions.discount[last] > 0)
        )
        reward = np.where(open_window, reward + discount**step * transitions.reward[inside], reward)
        factor = np.where(open_window, discount**step * transitions.discount[inside], factor)
        last = np.where(open_window, inside, last)
    return reward.astype(np.float32), factor.astype(np.float32), last


def return_weights(returns: np.ndarray, episode: np.ndarray, temperature: float) -> np.ndarray:
    """Probability [B] of drawing each row: exp(G / temperature), G the return of its episode scaled to 0..1 over the dataset.

    Hong et al. 2023, "Harnessing mixed offline RL datasets via trajectory weighting" (2306.13085), Eq. 5. `returns` [episodes],
    `episode` [B].
    """
    spread = np.ptp(returns)
    scaled = (returns - returns.min()) / (spread if spread > 0 else 1.0)
    weights = np.exp((scaled - 1.0) / temperature)[episode]
    return weights / weights.sum()
