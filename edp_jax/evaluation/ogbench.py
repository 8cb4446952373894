"""OGBench's single-task environments (arXiv 2410.20092): a return is 1 for a success, else 0."""

# pyright: reportAttributeAccessIssue=false
# (the names of mujoco are in a compiled module, which type checkers cannot see)

import contextlib
import copy
from collections.abc import Iterator
from typing import Any

import gymnasium
import mujoco
import numpy as np

from edp_jax import ogbench_package
from edp_jax.evaluation import adapters


def make_ogbench(dataset: str, num_envs: int) -> tuple[gymnasium.Env, ...]:
    """Makes the environments of a single-task dataset, with flat observations.

    Args:
      dataset: OGBench's name, such as cube-single-play-singletask-task2-v0.
      num_envs: how many.

    Raises:
      InputError: see `edp_jax.ogbench_package.make_env`.
    """
    first = ogbench_package.make_env(dataset)
    is_arm = hasattr(first.unwrapped, "compile_model_and_data")

    def each() -> Iterator[gymnasium.Env]:
        yield first
        while True:
            yield _twin(first) if is_arm else ogbench_package.make_env(dataset)

    envs = each()
    return adapters.make_flat(lambda: Success(next(envs)), num_envs, f"ogbench:{dataset}")


class Success(gymnasium.Wrapper):
    """Pays 1 with the last step of an episode if the task was done then, as OGBench counts it.

    OGBench draws some numbers from numpy's global generator and from the action space. Here each
    environment has its own generator, which a seed sets: what else draws numbers changes nothing in
    an episode. An arm makes its action space anew at each look, so a few random actions in its
    reset are not seeded; it takes them to see its goal, and puts positions and speeds back.
    """

    def __init__(self, env: gymnasium.Env):
        super().__init__(env)
        with ogbench_package.quiet():
            self.action_space = env.action_space
        self._random = np.random.RandomState(0).get_state()

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict]:
        """As of any environment."""
        if seed is not None:
            self._random = np.random.RandomState(seed).get_state()
        with self._own_numbers(), ogbench_package.quiet():
            if seed is not None:
                self.env.unwrapped.action_space.seed(seed)
            return self.env.reset(seed=seed, options=options)

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict]:
        """As of any environment."""
        with self._own_numbers():
            observation, _, terminated, truncated, info = self.env.step(action)
        ended = terminated or truncated
        return observation, float(ended and info["success"]), terminated, truncated, info

    @contextlib.contextmanager
    def _own_numbers(self) -> Iterator[None]:
        others = np.random.get_state()
        np.random.set_state(self._random)
        try:
            yield
        finally:
            self._random = np.random.get_state()
            np.random.set_state(others)


def _twin(env: gymnasium.Env) -> gymnasium.Env:
    """A second arm with a copy of the compiled model, which takes seconds and 160 MB to make.

    What the arms still share they only read, or set anew at each reset.
    """
    twin: Any = copy.copy(env.unwrapped)
    spec: Any = env.spec
    twin._model = copy.copy(twin._model)
    twin._data = mujoco.MjData(twin._model)
    return gymnasium.wrappers.TimeLimit(twin, spec.max_episode_steps)
