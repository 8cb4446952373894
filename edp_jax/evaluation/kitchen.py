"""D4RL's kitchen tasks (Gupta et al. 2019, arXiv 1910.11956) on FrankaKitchen-v1 of gymnasium-robotics."""

import gymnasium
import mujoco
import numpy as np
from gymnasium_robotics.envs.franka_kitchen.kitchen_env import (
    OBS_ELEMENT_GOALS,
    OBS_ELEMENT_INDICES,
    KitchenEnv,
)

from edp_jax.evaluation import adapters

_STEPS = 280
_NOISE_RATIO = 0.1  # D4RL's; of the noise amplitudes in the robot's configuration file


def kitchen_goal(elements: tuple[str, ...]) -> np.ndarray:
    """The constant last 30 columns of D4RL's kitchen observations: goal positions of the task's elements, 0 elsewhere.

    Positions 0-8 are the robot's joints, 9-29 those of the objects (D4RL's `_get_task_goal`).
    """
    goal = np.zeros(30)
    for element in elements:
        goal[OBS_ELEMENT_INDICES[element]] = OBS_ELEMENT_GOALS[element]
    return goal


def make_kitchens(elements: tuple[str, ...], num_envs: int) -> tuple[gymnasium.Env, ...]:
    """FrankaKitchen-v1 with D4RL's observation [60]: 9 robot joints, 21 object joints, 30 goal positions.

    As in D4RL an element pays 1 when it is first completed, and the episode ends with the last of them or after 280 steps.
    """
    goal = kitchen_goal(elements).astype(np.float32)
    first = KitchenEnv(
        tasks_to_complete=list(elements),
        terminate_on_tasks_completed=True,
        remove_task_when_completed=True,
        robot_noise_ratio=_NOISE_RATIO,
        object_noise_ratio=_NOISE_RATIO,
    )
    adapters.use_old_collisions(first.model)
    space = gymnasium.spaces.Box(-np.inf, np.inf, (60,), np.float32)

    def d4rl_observation(observation):
        values = observation["observation"]
        return np.concatenate([values[:9], values[18:39], goal], dtype=np.float32)

    def wrap(kitchen):
        timed = gymnasium.wrappers.TimeLimit(kitchen, _STEPS)
        return gymnasium.wrappers.TransformObservation(timed, d4rl_observation, space)

    return tuple(
        wrap(kitchen) for kitchen in (first, *(_share_model(first) for _ in range(num_envs - 1)))
    )


def _share_model(kitchen: KitchenEnv) -> KitchenEnv:
    """A second kitchen around the same compiled model (about 100 MB and seconds to make) with simulator state of its own."""
    robot = object.__new__(type(kitchen.robot_env))
    robot.__dict__.update(kitchen.robot_env.__dict__)
    robot.data = mujoco.MjData(kitchen.model)
    robot.init_qvel = np.zeros(kitchen.model.nv)
    twin = object.__new__(type(kitchen))
    twin.__dict__.update(kitchen.__dict__)
    twin.robot_env, twin.data = robot, robot.data
    twin.step_task_completions, twin.episode_task_completions = [], []
    return twin
