"""A simulator for tests of learning online: cheap, and as deterministic as it is told to be."""

import gymnasium
import numpy as np


class Drift(gymnasium.Env):
    """A point in three dimensions that actions push; the episode ends far out, or after a time.

    Its reward is higher near the origin. Its actions are in [-2, 2].
    """

    def __init__(self, *, limit: int = 7, edge: float = 3.0, forgetful: bool = False):
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (3,), np.float32)
        self.action_space = gymnasium.spaces.Box(-2.0, 2.0, (2,), np.float32)
        self._limit, self._edge, self._forgetful = limit, edge, forgetful
        self._others = np.random.default_rng()

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self._steps, self._place = 0, self.np_random.normal(size=3)
        if self._forgetful:
            self._place += self._others.normal(size=3)
        return self._place.astype(np.float32), {}

    def step(self, action):
        self._steps += 1
        self._place = self._place + 0.3 * np.array([*action, self.np_random.normal()])
        distance = float(np.linalg.norm(self._place))
        ended, late = distance > self._edge, self._steps == self._limit
        return self._place.astype(np.float32), -distance, ended, late and not ended, {}
