"""An environment whose errors end an episode, and not the program."""

import sys
from typing import Any

import numpy as np

from edp_jax.errors import one_line


class Guarded:
    """An environment in which an error ends the episode, with a reward that is NaN."""

    def __init__(self, environment: Any):
        """Wraps an environment of gymnasium."""
        self._environment = environment
        self.observation_space = environment.observation_space
        self.action_space = environment.action_space
        self._last = np.zeros(environment.observation_space.shape, np.float32)

    def reset(self, **options: Any) -> tuple[Any, dict]:
        """Resets it; where that fails, the observation is NaN."""
        try:
            self._last, info = self._environment.reset(**options)
            return self._last, info
        except Exception as error:  # simulators raise what they like
            self._tell("reset", error)
            return np.full(self.observation_space.shape, np.nan, np.float32), {}

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict]:
        """Steps it; where that fails, the reward is NaN and the episode ends."""
        try:
            outcome = self._environment.step(action)
            self._last = outcome[0]
            return outcome
        except Exception as error:  # simulators raise what they like
            self._tell("step", error)
            return self._last, float("nan"), True, False, {}

    def _tell(self, what: str, error: Exception) -> None:
        line = f"warning: a {what} failed: {type(error).__name__}: {one_line(error)}"
        print(line, file=sys.stderr, flush=True)
