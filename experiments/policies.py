"""Policies by name, to act in an environment."""

import os
import pkgutil
from typing import Any

import jax
import numpy as np

from edp_jax import InputError
from edp_jax.data.behaviour import read_behaviour
from edp_jax.data.builtin import RANDOM
from edp_jax.data.recording import Act, in_box, uniform
from edp_jax.errors import one_line
from edp_jax.export import load_policy


def load_act(name: str, env: Any) -> Act:
    """Loads a policy whose actions are in the action box of an environment.

    Args:
      name: "random", the .npz of a behaviour policy, the policy/ folder of a run, or
        "module:function", see `load_function`.
      env: a gymnasium environment with observations [O] and actions [A].

    Raises:
      InputError: there is no such policy, it is for other sizes, or it needs bounds that the box
        does not have.
    """
    box = env.action_space
    if name == RANDOM:
        return in_box(uniform(box.shape[0]), box.low, box.high)
    if name.endswith(".npz"):
        behaviour = read_behaviour(name)
        _check_sizes(name, behaviour, env)
        return in_box(behaviour.act, box.low, box.high)
    if ":" in name and not os.path.exists(name):
        return load_function(name, env)
    policy = load_policy(name)
    _check_sizes(name, policy, env)

    def act(observations: np.ndarray, rng: np.random.Generator | None) -> np.ndarray:
        return policy(observations, None if rng is None else jax.random.key(rng.integers(2**31)))

    return act


def load_function(name: str, env: Any) -> Act:
    """Loads a controller that somebody wrote in Python.

    Args:
      name: "module:function", of (observations [E, O] float32, numpy generator) -> actions [E, A]
        in the units of the environment. The module is looked for as `import` does.
      env: a gymnasium environment with observations [O] and actions [A].

    Raises:
      InputError: it cannot be imported, or does not give such actions.
    """
    try:
        function = pkgutil.resolve_name(name)
        actions = np.asarray(
            function(
                np.zeros((2, *env.observation_space.shape), np.float32), np.random.default_rng(0)
            )
        )
    except Exception as error:  # of somebody else's code
        problem = f"{type(error).__name__}: {one_line(error)[:100]}"
        raise InputError(
            f"policy {name!r}: {problem}; it must be module:function, "
            "(observations [E, O], numpy generator) -> actions [E, A]"
        ) from error
    wanted = (2, *env.action_space.shape)
    if actions.shape != wanted:
        raise InputError(
            f"policy {name!r}: its actions for 2 observations have the shape {actions.shape}, "
            f"not {wanted}; give one row per observation"
        )
    return function


def _check_sizes(name: str, policy: Any, env: Any) -> None:
    sizes = policy.observation_dim, policy.action_dim
    wanted = env.observation_space.shape[0], env.action_space.shape[0]
    if sizes != wanted:
        raise InputError(
            f"policy {name!r}: for {sizes[0]} observations and {sizes[1]} actions, but the "
            f"environment has {wanted[0]} and {wanted[1]}; use a policy of that environment"
        )
