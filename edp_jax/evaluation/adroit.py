"""D4RL's hand tasks (Rajeswaran et al. 2018, arXiv 1709.10087) on the Adroit environments of gymnasium-robotics.

Models, observations and starts are D4RL's (`d4rl/hand_manipulation_suite`). Since release 1.2.1 the package pays +0.1 times
the distance from the palm to what it should reach where D4RL pays -0.1 times (1.4.2 announces other versions for 1.4.3, which
pyproject.toml keeps out); and its pen goes on after it was dropped.
"""

from collections.abc import Callable
from typing import NamedTuple

import gymnasium
import numpy as np

from edp_jax.evaluation import adapters

_REACH_WEIGHT = 0.1


class _Task(NamedTuple):
    env_id: str
    max_episode_steps: int
    reach: (
        Callable[[np.ndarray], np.ndarray] | None
    )  # observation [O] -> palm minus object [3], where the reward has this term
    ended: Callable[[np.ndarray], bool]


def _never(observation: np.ndarray) -> bool:
    return False


_TASKS = {
    "pen": _Task("AdroitHandPen-v1", 100, None, lambda o: bool(o[26] < 0.075)),  # height of the pen
    "hammer": _Task("AdroitHandHammer-v1", 200, lambda o: o[33:36] - o[36:39], _never),
    "door": _Task("AdroitHandDoor-v1", 200, lambda o: o[35:38], _never),
    "relocate": _Task("AdroitHandRelocate-v1", 200, lambda o: o[30:33], _never),
}


class _D4RLRules(gymnasium.Wrapper):
    def __init__(self, env: gymnasium.Env, task: _Task):
        super().__init__(env)
        self._task = task

    def step(self, action: np.ndarray):
        observation, reward, _, truncated, info = self.env.step(action)
        if self._task.reach:
            reward -= 2 * _REACH_WEIGHT * np.linalg.norm(self._task.reach(observation))
        return observation, float(reward), self._task.ended(observation), truncated, info


def make_adroit(name: str, num_envs: int) -> tuple[gymnasium.Env, ...]:
    """Environments of "pen" (O 45, A 24), "hammer" (46, 26), "door" (39, 28) or "relocate" (39, 30), all within [-1, 1]."""
    task = _TASKS[name]

    def make_one() -> gymnasium.Env:
        env = gymnasium.make(
            task.env_id, disable_env_checker=True, max_episode_steps=task.max_episode_steps
        )
        adapters.use_old_collisions(env.unwrapped.model)
        return adapters.flatten(_D4RLRules(env, task), name)

    return tuple(make_one() for _ in range(num_envs))
