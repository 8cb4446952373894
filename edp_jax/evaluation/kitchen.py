"""D4RL's kitchen tasks (Gupta et al. 2019, arXiv 1910.11956), on gymnasium-robotics."""

# pyright: reportAttributeAccessIssue=false
# (the names of mujoco are in a compiled module, which type checkers cannot see)

import gymnasium
import mujoco
import numpy as np
from gymnasium_robotics.envs.franka_kitchen.kitchen_env import (
    OBS_ELEMENT_GOALS,
    OBS_ELEMENT_INDICES,
    KitchenEnv,
)

from edp_jax.evaluation import adapters
from edp_jax.tasks import Environment

_NOISE_RATIO = 0.1  # D4RL's; of the noise amplitudes in the robot's configuration file


def kitchen_goal(elements: tuple[str, ...]) -> np.ndarray:
    """The last 30 columns of D4RL's kitchen observations, which never change: the goal positions.

    Columns 0-8 are the joints of the robot, 9-29 those of the objects; only those of the elements
    that have to be moved are not 0. Source: D4RL's `_get_task_goal`.

    Args:
      elements: what has to be moved, as `edp_jax.tasks` names it.

    Returns:
      [30] float64.
    """
    goal = np.zeros(30)
    for element in elements:
        goal[OBS_ELEMENT_INDICES[element]] = OBS_ELEMENT_GOALS[element]
    return goal


def make_kitchens(environment: Environment, num_envs: int) -> tuple[gymnasium.Env, ...]:
    """Makes FrankaKitchen-v1 with the observations and rewards of D4RL.

    Observations [60] are 9 joints of the robot, 21 of the objects and 30 goal positions. An element
    pays 1 when it is first completed. The episode ends with the last of them, or at its time limit.
    """
    elements = environment.variant
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

    def d4rl_observation(observation: dict[str, np.ndarray]) -> np.ndarray:
        values = observation["observation"]
        return np.concatenate([values[:9], values[18:39], goal], dtype=np.float32)

    def wrap(kitchen: KitchenEnv) -> gymnasium.Env:
        timed = gymnasium.wrappers.TimeLimit(kitchen, environment.max_episode_steps)
        return gymnasium.wrappers.TransformObservation(timed, d4rl_observation, space)

    twins = [_share_model(first) for _ in range(num_envs - 1)]
    return tuple(wrap(kitchen) for kitchen in (first, *twins))


def _share_model(kitchen: KitchenEnv) -> KitchenEnv:
    """A second kitchen around the same compiled model, with a state of its own.

    A model takes about 100 MB, and seconds to make.
    """
    robot = object.__new__(type(kitchen.robot_env))
    robot.__dict__.update(kitchen.robot_env.__dict__)
    robot.data = mujoco.MjData(kitchen.model)
    robot.init_qvel = np.zeros(kitchen.model.nv)
    twin = object.__new__(type(kitchen))
    twin.__dict__.update(kitchen.__dict__)
    twin.robot_env, twin.data = robot, robot.data
    twin.step_task_completions, twin.episode_task_completions = [], []
    return twin
