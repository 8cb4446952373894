"""Policies by name, to act in an environment."""

from typing import Any

import jax

from edp_jax import InputError
from edp_jax.data.behaviour import read_behaviour
from edp_jax.data.builtin import RANDOM
from edp_jax.data.recording import Act, in_box, uniform
from edp_jax.export import load_policy


def load_act(name: str, env: Any) -> Act:
    """A policy with actions in the box of `env`: `random`, the .npz of a behaviour policy, or the policy/ folder of a run.

    Raises:
      InputError: there is no such policy, it is for other sizes, or it needs bounds that the box has not.
    """
    box, observation_dim = env.action_space, env.observation_space.shape[0]
    if name == RANDOM:
        return in_box(uniform(box.shape[0]), box.low, box.high)
    policy = read_behaviour(name) if name.endswith(".npz") else load_policy(name)
    sizes = policy.observation_dim, policy.action_dim
    if sizes != (observation_dim, box.shape[0]):
        raise InputError(
            f"policy {name!r}: for {sizes[0]} observations and {sizes[1]} actions, but the environment has {observation_dim} and "
            f"{box.shape[0]}; use a policy of that environment"
        )
    if name.endswith(".npz"):
        return in_box(policy.act, box.low, box.high)
    return lambda observations, rng: policy(observations, jax.random.key(rng.integers(2**31)))
