"""The simulators policies are evaluated in, by the `environment` key of a task (gymnasium and gymnasium-robotics).

The simulators are imported inside the functions: whoever only trains does not wait for them.
"""

import contextlib
import difflib
import functools
import importlib.metadata
import io
import warnings
from typing import Any

import numpy as np

from edp_jax.types import InputError

TESTED_MUJOCO = ((3, 1), (3, 4))  # first and last tested release, both included

_LOCOMOTION = {"hopper": "Hopper-v4", "halfcheetah": "HalfCheetah-v4", "walker2d": "Walker2d-v4"}
_KITCHEN = {
    "kitchen-complete": ("microwave", "kettle", "light switch", "slide cabinet"),
    "kitchen-partial": ("microwave", "kettle", "light switch", "slide cabinet"),
    "kitchen-mixed": ("microwave", "kettle", "bottom burner", "light switch"),
}
_KITCHEN_STEPS = 280
_KITCHEN_NOISE_RATIO = 0.1  # D4RL's; of the noise amplitudes in the robot's configuration file


def list_environments() -> list[str]:
    return [*_LOCOMOTION, *_KITCHEN]


@functools.lru_cache(maxsize=4)
def make(environment: str, num_envs: int) -> tuple[Any, ...]:
    """`num_envs` gymnasium environments with observations [O] float32 and actions [A] in [-1, 1].

    They are made once and kept, since making a kitchen takes seconds: reset them with a seed before use.

    Raises:
        InputError: the environment is unknown.
    """
    if environment not in list_environments():
        near = difflib.get_close_matches(environment, list_environments()) or list_environments()
        raise InputError(f"environment {environment!r} is unknown; use one of: {', '.join(near)}")
    warn_about_mujoco(importlib.metadata.version("mujoco"))
    if environment in _KITCHEN:
        return _make_kitchens(_KITCHEN[environment], num_envs)
    return _make_locomotion(_LOCOMOTION[environment], num_envs)


def check_sizes(environment: str, observation_dim: int, action_dim: int) -> None:
    """Makes one environment and compares it with the data a policy was trained on.

    Raises:
        InputError: a simulator package is missing, or the sizes differ.
    """
    try:
        env = make(environment, 1)[0]
    except ImportError as error:
        raise InputError(f"environment {environment!r}: {error}; install the simulators with pip install -e .") from error
    sizes = env.observation_space.shape[0], env.action_space.shape[0]
    if sizes != (observation_dim, action_dim):
        raise InputError(
            f"dataset: {observation_dim} observation and {action_dim} action columns, but environment {environment!r} has "
            f"{sizes[0]} and {sizes[1]}; use the data file of that task"
        )


def warn_about_mujoco(version: str) -> None:
    """Warns where a MuJoCo release was not tested: its contacts may differ, and with them returns and built-in datasets."""
    release = tuple(int(part) for part in version.split(".")[:2])
    first, last = TESTED_MUJOCO
    if not first <= release <= last:
        tested = f"{first[0]}.{first[1]} to {last[0]}.{last[1]}"
        warnings.warn(
            f"mujoco {version} is outside the tested range {tested}: contacts are solved differently, so returns and built-in "
            f"datasets may differ from the published ones; install 'mujoco>={first[0]}.{first[1]},<{last[0]}.{last[1] + 1}'",
            stacklevel=3,
        )


def kitchen_goal(elements: tuple[str, ...]) -> np.ndarray:
    """The constant last 30 columns of D4RL's kitchen observations: goal positions of the task's elements, 0 elsewhere.

    Positions 0-8 are the robot's joints, 9-29 those of the objects (D4RL's `_get_task_goal`).
    """
    with contextlib.redirect_stderr(io.StringIO()):  # on import the package announces changes to other environments
        from gymnasium_robotics.envs.franka_kitchen.kitchen_env import OBS_ELEMENT_GOALS, OBS_ELEMENT_INDICES

    goal = np.zeros(30)
    for element in elements:
        goal[OBS_ELEMENT_INDICES[element]] = OBS_ELEMENT_GOALS[element]
    return goal


def _make_locomotion(env_id: str, num_envs: int) -> tuple[Any, ...]:
    import gymnasium

    def make_one():
        env = gymnasium.make(env_id, disable_env_checker=True)
        space = gymnasium.spaces.Box(-np.inf, np.inf, env.observation_space.shape, np.float32)
        return gymnasium.wrappers.TransformObservation(env, lambda observation: observation.astype(np.float32), space)

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*out of date", category=DeprecationWarning)  # -v4 is what D4RL compares with
        return tuple(make_one() for _ in range(num_envs))


def _make_kitchens(elements: tuple[str, ...], num_envs: int) -> tuple[Any, ...]:
    """FrankaKitchen-v1 with D4RL's observation [60]: 9 robot joints, 21 object joints, 30 goal positions.

    As in D4RL an element pays 1 when it is first completed, and the episode ends with the last of them or after 280 steps.
    """
    goal = kitchen_goal(elements).astype(np.float32)

    import gymnasium
    import gymnasium_robotics

    gymnasium.register_envs(gymnasium_robotics)
    first = gymnasium.make(
        "FrankaKitchen-v1",
        disable_env_checker=True,
        tasks_to_complete=list(elements),
        terminate_on_tasks_completed=True,
        remove_task_when_completed=True,
        robot_noise_ratio=_KITCHEN_NOISE_RATIO,
        object_noise_ratio=_KITCHEN_NOISE_RATIO,
    ).unwrapped
    space = gymnasium.spaces.Box(-np.inf, np.inf, (60,), np.float32)

    def d4rl_observation(observation):
        values = observation["observation"]
        return np.concatenate([values[:9], values[18:39], goal], dtype=np.float32)

    def wrap(kitchen):
        timed = gymnasium.wrappers.TimeLimit(kitchen, _KITCHEN_STEPS)
        return gymnasium.wrappers.TransformObservation(timed, d4rl_observation, space)

    return tuple(wrap(kitchen) for kitchen in (first, *(_share_model(first) for _ in range(num_envs - 1))))


def _share_model(kitchen):
    """A second kitchen around the same compiled model (about 100 MB and seconds to make) with simulator state of its own."""
    import mujoco

    robot = object.__new__(type(kitchen.robot_env))
    robot.__dict__.update(kitchen.robot_env.__dict__)
    robot.data = mujoco.MjData(kitchen.model)
    robot.init_qvel = np.zeros(kitchen.model.nv)
    twin = object.__new__(type(kitchen))
    twin.__dict__.update(kitchen.__dict__)
    twin.robot_env, twin.data = robot, robot.data
    twin.step_task_completions, twin.episode_task_completions = [], []
    return twin
