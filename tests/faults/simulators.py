"""A simulator that does what simulators should not do, in every way by name."""

import os
import signal
import sys
import threading
from typing import Any

import gymnasium
import numpy as np

SOUND_EPISODES = 1  # the first one is what a run tries before it trains


def _raise(error: BaseException) -> Any:
    raise error


def _hang() -> Any:
    threading.Event().wait()


NAN, INF = float("nan"), float("inf")
# what a step returns instead of (observation, reward, terminated, truncated, info)
STEPS = {
    "raises": lambda o: _raise(RuntimeError("the joint broke\nand more")),
    "raises with a long text": lambda o: _raise(ValueError("x" * 10_000)),
    "raises a key error": lambda o: _raise(KeyError(3)),
    "has no memory": lambda o: _raise(MemoryError()),
    "recurses": lambda o: _raise(RecursionError("maximum recursion depth exceeded")),
    "exits": lambda o: sys.exit(3),
    "interrupts": lambda o: _raise(KeyboardInterrupt()),
    "hangs": lambda o: _hang(),
    "four results": lambda o: (o, 0.0, False, {}),
    "nothing": lambda o: None,
    "more columns": lambda o: (np.zeros(4), 0.0, False, False, {}),
    "one column": lambda o: (np.zeros(1), 0.0, False, False, {}),
    "a number as observation": lambda o: (0.5, 0.0, False, False, {}),
    "no observation": lambda o: (None, 0.0, False, False, {}),
    "words as observation": lambda o: (["a", "b", "c"], 0.0, False, False, {}),
    "no reward": lambda o: (o, None, False, False, {}),
    "two rewards": lambda o: (o, np.zeros(2), False, False, {}),
    "a word as reward": lambda o: (o, "good", False, False, {}),
    "NaN in an observation": lambda o: (o * NAN, 0.0, False, False, {}),
    "an infinite observation": lambda o: (o + INF, 0.0, False, False, {}),
    "a NaN reward": lambda o: (o, NAN, False, False, {}),
    "an infinite reward": lambda o: (o, -INF, False, False, {}),
    "two ends": lambda o: (o, 0.0, np.zeros(2), False, {}),
}
RESETS = {
    "raises at a reset": lambda o: _raise(RuntimeError("no such model")),
    "hangs at a reset": lambda o: _hang(),
    "more columns at a reset": lambda o: (np.zeros(4), {}),
    "NaN at a reset": lambda o: (o * NAN, {}),
    "no info at a reset": lambda o: (o,),
}
DEATHS = {
    "ends the process": lambda o: os._exit(3),
    "crashes": lambda o: os.kill(os.getpid(), signal.SIGSEGV),
}
# after these some episodes do not count; all others make an evaluation fail
NOT_COUNTED = {
    *("NaN in an observation", "an infinite observation", "a NaN reward", "an infinite reward"),
    "NaN at a reset",
}


class Faulty(gymnasium.Env):
    """A point that actions push, ten steps long; from the second episode on it has a fault."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (3,), np.float32)
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)
    episodes = 0

    def __init__(self, fault: str = ""):
        self._fault, self._steps, self._place = fault, 0, np.zeros(3, np.float32)

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> Any:
        super().reset(seed=seed)
        Faulty.episodes += 1
        self._steps = 0
        self._place = self.np_random.normal(size=3).astype(np.float32)
        if self._fault in RESETS and Faulty.episodes > SOUND_EPISODES:
            return RESETS[self._fault](self._place)
        return self._place, {}

    def step(self, action: np.ndarray) -> Any:
        self._steps += 1
        self._place = (self._place + 0.1 * action).astype(np.float32)
        wrong = (STEPS | DEATHS).get(self._fault)
        if wrong and Faulty.episodes > SOUND_EPISODES and self._steps == 5:
            return wrong(self._place)
        return self._place, -float(np.abs(self._place).sum()), False, False, {}


gymnasium.register("Faulty-v0", entry_point=Faulty, max_episode_steps=10)
