"""The stack D4RL was published with: d4rl on gym 0.23 or 0.24 and mujoco-py. The one file that imports any of the three."""

import importlib
from typing import Any

import numpy as np

from edp_jax.types import InputError

_PARTS = ("mujoco_py", "gym", "d4rl")


class LegacyEnv:
    """A gym environment of four-tuple steps with gymnasium's calls, observations [O] float32."""

    def __init__(self, env: Any):
        self._env = env
        self.observation_space, self.action_space = env.observation_space, env.action_space

    def reset(self, *, seed: int | None = None) -> tuple[np.ndarray, dict]:
        """Seeds with `env.seed` (D4RL's `reset` takes no seed), and numpy's global generator, which draws AntMaze's goals."""
        if seed is not None:
            self._env.seed(seed)
            np.random.seed(seed)
        return np.asarray(self._env.reset(), np.float32), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        """gym is `done` at a time limit too; `TimeLimit.truncated` is there only then, and False where the episode also ended."""
        observation, reward, done, info = self._env.step(action)
        truncated = bool(info.get("TimeLimit.truncated", False))
        return (
            np.asarray(observation, np.float32),
            float(reward),
            bool(done) and not truncated,
            truncated,
            info,
        )


def load(name: str) -> dict[str, np.ndarray]:
    """D4RL's dataset of that name as `env.get_dataset()` gives it: observations, actions, rewards, terminals, timeouts, ...; and
    the environment's `reference_scores` [2] and `max_episode_steps` [], where it has them.

    Raises:
        InputError: a part of the stack is missing, gym knows no such name, or d4rl cannot give the dataset.
    """
    env = _make(name)
    try:
        dataset = env.get_dataset()
    except (
        AttributeError,
        OSError,
        ValueError,
    ) as error:  # not of d4rl; no network; no dataset of that name
        url = getattr(env, "dataset_url", None)
        remedy = (
            f"put the file of {url} at {env.dataset_filepath!r}"
            if url
            else "use a name of D4RL with one"
        )
        raise InputError(f"legacy:{name}: no dataset ({_one_line(error)}); {remedy}") from error
    scores = [getattr(env, key, None) for key in ("ref_min_score", "ref_max_score")]
    declared = {} if None in scores else {"reference_scores": scores}
    if limit := getattr(getattr(env, "spec", None), "max_episode_steps", None):
        declared["max_episode_steps"] = limit
    return {key: np.asarray(value) for key, value in (dataset | declared).items()}


def make_env(name: str) -> LegacyEnv:
    """D4RL's environment of that name.

    Raises:
        InputError: a part of the stack is missing, or gym knows no such name.
    """
    return LegacyEnv(_make(name))


def _make(name: str) -> Any:
    gym = _import_stack(name)["gym"]
    try:
        return gym.make(name)
    except gym.error.Error as error:
        raise InputError(
            f"legacy:{name}: {_one_line(error)}; use a name of D4RL, such as hopper-medium-v2"
        ) from error


def _import_stack(name: str) -> dict[str, Any]:
    modules, missing = {}, []
    for part in _PARTS:
        try:
            modules[part] = importlib.import_module(part)
        except (
            Exception
        ) as error:  # mujoco_py raises a bare Exception where MuJoCo itself is missing
            missing.append(f"{part} ({_one_line(error)})")
    if missing:
        raise InputError(
            f"legacy:{name} needs what cannot be imported: {', '.join(missing)}; pip install -e '.[d4rl]' and put MuJoCo 2.1 in "
            f"~/.mujoco, or use the task without 'legacy:'"
        )
    return modules


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
