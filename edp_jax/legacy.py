"""The packages D4RL was published with: d4rl on gym 0.23 or 0.24 and mujoco-py.

This is the only file that imports any of the three.
"""

import importlib
from typing import Any

import numpy as np

from edp_jax.errors import install, one_line
from edp_jax.types import InputError

_PARTS = ("mujoco_py", "gym", "d4rl")


class LegacyEnv:
    """A gym environment with the calls of gymnasium and observations [O] float32."""

    def __init__(self, env: Any):
        self._env = env
        self.observation_space, self.action_space = env.observation_space, env.action_space

    def reset(self, *, seed: int | None = None) -> tuple[np.ndarray, dict]:
        """Starts an episode and returns its first observation [O] and an empty dict.

        Args:
          seed: seeds the environment and numpy's global generator. AntMaze draws its goals from
            the latter. None: both go on where they are.
        """
        if seed is not None:
            self._env.seed(seed)
            np.random.seed(seed)
        return np.asarray(self._env.reset(), np.float32), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        """Takes one step and returns observation [O], reward, terminated, truncated and info.

        gym says `done` at a time limit too. Then, and only then, info has "TimeLimit.truncated"; it
        is False where the task also ended in that step.
        """
        observation, reward, done, info = self._env.step(action)
        truncated = bool(info.get("TimeLimit.truncated", False))
        terminated = bool(done) and not truncated
        return np.asarray(observation, np.float32), float(reward), terminated, truncated, info


def load(name: str) -> dict[str, np.ndarray]:
    """Reads a dataset by `env.get_dataset()` of D4RL.

    Args:
      name: D4RL's name of it, such as "hopper-medium-v2".

    Returns:
      The arrays under D4RL's names (observations, actions, rewards, terminals, timeouts, ...), and,
      where the environment has them, `reference_scores` [2] and `max_episode_steps` [].

    Raises:
      InputError: a package is missing, gym knows no such name, or there is no dataset of it.
    """
    env = _make(name)
    try:
        dataset = env.get_dataset()
    except (AttributeError, OSError, ValueError) as error:  # not D4RL's; no network; unknown file
        remedy = "use a name of D4RL with one"
        if url := getattr(env, "dataset_url", None):
            remedy = f"put the file of {url} at {env.dataset_filepath!r}"
        raise InputError(f"legacy:{name}: no dataset ({one_line(error)}); {remedy}") from error
    declared = {}
    scores = [getattr(env, key, None) for key in ("ref_min_score", "ref_max_score")]
    if None not in scores:
        declared["reference_scores"] = scores
    if limit := getattr(getattr(env, "spec", None), "max_episode_steps", None):
        declared["max_episode_steps"] = limit
    return {key: np.asarray(value) for key, value in (dataset | declared).items()}


def make_env(name: str) -> LegacyEnv:
    """Makes an environment of D4RL, such as "hopper-medium-v2".

    Raises:
      InputError: a package is missing, or gym knows no such name.
    """
    return LegacyEnv(_make(name))


def _make(name: str) -> Any:
    gym = packages(name)["gym"]
    try:
        return gym.make(name)
    except gym.error.Error as error:
        remedy = "use a name of D4RL, such as hopper-medium-v2"
        raise InputError(f"legacy:{name}: {one_line(error)}; {remedy}") from error


def packages(name: str) -> dict[str, Any]:
    """The packages by name.

    Args:
      name: what needs them, D4RL's name of it.

    Raises:
      InputError: one cannot be imported.
    """
    modules, missing = {}, []
    for part in _PARTS:
        try:
            modules[part] = importlib.import_module(part)
        except Exception as error:  # mujoco_py raises a bare Exception where MuJoCo is missing
            missing.append(f"{part} ({one_line(error)})")
    if missing:
        raise InputError(
            f"legacy:{name} needs what cannot be imported: {', '.join(missing)}; "
            f"{install('d4rl')} and put MuJoCo 2.1 in ~/.mujoco, or leave out 'legacy:'"
        )
    return modules
