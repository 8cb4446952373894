"""D4RL's hand tasks (Rajeswaran et al. 2018, arXiv 1709.10087), on gymnasium-robotics.

Models, observations and starts are D4RL's (`d4rl/hand_manipulation_suite`). Two rules are not.
Since release 1.2.1 the package pays +0.1 times the distance from the palm to what it should reach,
where D4RL pays -0.1 times; release 1.4.2 announces new versions of the environments for 1.4.3, so
that later ones are not supported. And the package goes on with a pen that was dropped.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import gymnasium
import numpy as np

from edp_jax.evaluation import adapters
from edp_jax.tasks import Environment

_REACH_WEIGHT = 0.1


class _Rules(NamedTuple):
    """What D4RL does in another way, in terms of an observation [O]."""

    reach: Callable[[np.ndarray], np.ndarray] | None  # palm minus object [3]; None: no such reward
    ended: Callable[[np.ndarray], bool]


def _never(observation: np.ndarray) -> bool:
    return False


_RULES = {
    "pen": _Rules(None, lambda o: bool(o[26] < 0.075)),  # the height of the pen
    "hammer": _Rules(lambda o: o[33:36] - o[36:39], _never),
    "door": _Rules(lambda o: o[35:38], _never),
    "relocate": _Rules(lambda o: o[30:33], _never),
}


class _D4RLRules(gymnasium.Wrapper):
    def __init__(self, env: gymnasium.Env, rules: _Rules):
        super().__init__(env)
        self._rules = rules

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        observation, reward, _, truncated, info = self.env.step(action)
        paid = float(reward)
        if self._rules.reach:
            paid -= float(2 * _REACH_WEIGHT * np.linalg.norm(self._rules.reach(observation)))
        return observation, paid, self._rules.ended(observation), truncated, info


def make_adroit(environment: Environment, num_envs: int) -> tuple[gymnasium.Env, ...]:
    """Makes hands, whose actions are all in [-1, 1].

    Sizes: pen O 45, A 24; hammer O 46, A 26; door O 39, A 28; relocate O 39, A 30.
    """
    rules, steps = _RULES[environment.name], environment.max_episode_steps

    def make_one() -> gymnasium.Env:
        env = gymnasium.make(
            environment.variant[0], disable_env_checker=True, max_episode_steps=steps
        )
        simulator: Any = env.unwrapped
        adapters.use_old_collisions(simulator.model)
        return adapters.flatten(_D4RLRules(env, rules), environment.name)

    return tuple(make_one() for _ in range(num_envs))
