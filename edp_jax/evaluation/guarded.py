"""An environment whose errors end an episode, and not the program."""

from typing import Any

import numpy as np

from edp_jax.errors import one_line


class Guarded:
    """An environment in which an error ends the episode, with numbers that are NaN.

    Attributes:
      error: what ended the current episode, in one line; empty where nothing did.
    """

    def __init__(self, environment: Any):
        """Wraps an environment of gymnasium."""
        self._environment = environment
        self.observation_space = environment.observation_space
        self.action_space = environment.action_space
        self.error = ""
        self._last = np.zeros(environment.observation_space.shape, np.float32)

    def reset(self, **options: Any) -> tuple[Any, dict]:
        """Resets it; where that fails, the observation is NaN."""
        self.error = ""
        try:
            self._last, info = self._environment.reset(**options)
            return self._last, info
        except Exception as error:  # simulators raise what they like
            self.error = _told(error)
            return np.full(self.observation_space.shape, np.nan, np.float32), {}

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict]:
        """Steps it; where that fails, the reward is NaN and the episode ends."""
        try:
            outcome = self._environment.step(action)
            self._last = outcome[0]
            return outcome
        except Exception as error:  # simulators raise what they like
            self.error = self.error or _told(error)
            return self._last, float("nan"), True, False, {}


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {one_line(error)}"
