"""Environments of gymnasium and of Minari, with flat float32 observations."""

# pyright: reportAttributeAccessIssue=false
# (the names of mujoco are in a compiled module, which type checkers cannot see)

import contextlib
import difflib
import importlib
import io
import warnings
from collections.abc import Callable
from typing import Any

import gymnasium
import mujoco
import numpy as np

from edp_jax import minari_package
from edp_jax.errors import one_line
from edp_jax.tasks import Environment
from edp_jax.types import InputError

with contextlib.redirect_stderr(io.StringIO()):  # the package announces changes elsewhere
    import gymnasium_robotics

gymnasium.register_envs(gymnasium_robotics)


def make_gymnasium(env_id: str, num_envs: int, **kwargs) -> tuple[gymnasium.Env, ...]:
    """Makes environments of gymnasium with flat observations.

    Args:
      env_id: of gymnasium, or "module:id" to import a module first.
      num_envs: how many.
      **kwargs: keyword arguments of the environment.

    Raises:
      InputError: the id is unknown, a keyword argument does not fit, or see `flatten`.
    """
    label = f"gymnasium:{env_id}"

    def make_one() -> gymnasium.Env:
        try:
            return gymnasium.make(env_id, disable_env_checker=True, **kwargs)
        except gymnasium.error.UnregisteredEnv as error:
            raise _unknown(env_id) from error
        except Exception as error:  # constructors raise what they like
            raise InputError(
                f"environment {label!r} cannot be made with keyword arguments {kwargs}: "
                f"{_told(error)}; correct them"
            ) from error

    return make_flat(make_one, num_envs, label)


def check_registered(env_id: str) -> None:
    """Refuses an id that gymnasium does not know, without making the environment.

    Args:
      env_id: of gymnasium, or "module:id" to import a module first.

    Raises:
      InputError: it is unknown, or the module cannot be imported.
    """
    module, _, own_id = env_id.rpartition(":")
    try:
        if module:
            importlib.import_module(module)
        gymnasium.spec(own_id)
    except gymnasium.error.UnregisteredEnv as error:
        raise _unknown(env_id) from error
    except gymnasium.error.Error:
        pass  # it may have no version, and gymnasium makes the newest
    except Exception as error:  # it is a module of the user
        raise InputError(
            f"environment 'gymnasium:{env_id}': {module} cannot be imported ({_told(error)}); "
            "correct it"
        ) from error


def _unknown(env_id: str) -> InputError:
    matches = difflib.get_close_matches(env_id, gymnasium.registry, n=3, cutoff=0.4)
    near = ", ".join(matches) or "an id of gymnasium"
    remedy = f"use {near}, or 'module:id' to import yours first"
    return InputError(f"environment 'gymnasium:{env_id}': no such id; {remedy}")


def make_locomotion(environment: Environment, num_envs: int) -> tuple[gymnasium.Env, ...]:
    """Makes D4RL's robots, which are gymnasium's."""
    return make_gymnasium(environment.variant[0], num_envs)


def make_minari(dataset_id: str, num_envs: int) -> tuple[gymnasium.Env, ...]:
    """Makes the evaluation environments that a Minari dataset names, with flat observations.

    Raises:
      InputError: see `minari_package.make_env` and `flatten`.
    """
    return make_flat(lambda: minari_package.make_env(dataset_id), num_envs, f"minari:{dataset_id}")


def make_flat(make_one: Callable[[], Any], num_envs: int, label: str) -> tuple[gymnasium.Env, ...]:
    """Makes environments that have been given flat observations.

    Args:
      make_one: makes one.
      num_envs: how many.
      label: what error messages call them.

    Raises:
      InputError: see `flatten`.
    """
    with warnings.catch_warnings():
        # D4RL's robots are those of -v4
        warnings.filterwarnings("ignore", message=".*out of date", category=DeprecationWarning)
        return tuple(flatten(make_one(), label) for _ in range(num_envs))


def flatten(env: gymnasium.Env, label: str) -> gymnasium.Env:
    """Gives an environment observations [O] float32, as `gymnasium.spaces.flatten` makes them.

    The parts of a Dict are in the order of its sorted keys.

    Args:
      env: any environment.
      label: what error messages call it.

    Raises:
      InputError: actions are not a box of one axis or whole numbers, observations cannot be
        flattened, or an episode may never end.
    """
    actions, observations = env.action_space, key_sorted(env.observation_space)
    if not (isinstance(actions, gymnasium.spaces.Box) and len(actions.shape) == 1):
        problem = f"actions are {actions}, and only a Box of one axis is supported"
        raise InputError(f"environment {label!r}: {problem}; use another")
    if not np.issubdtype(actions.dtype, np.floating):
        problem = f"actions are whole numbers, {actions}, and policies give numbers in between"
        remedy = "wrap the environment so that it takes a float32 Box and rounds"
        raise InputError(f"environment {label!r}: {problem}; {remedy}")
    if not observations.is_np_flattenable:
        problem = f"observations {observations} cannot be flattened into numbers"
        raise InputError(f"environment {label!r}: {problem}; use another")
    if env.spec is None or env.spec.max_episode_steps is None:
        raise InputError(
            f"environment {label!r} has no time limit, so an episode may never end; give "
            """--config.env_id with --config.env_kwargs='{"max_episode_steps": 1000}'"""
        )
    space = gymnasium.spaces.Box(
        -np.inf, np.inf, (gymnasium.spaces.flatdim(observations),), np.float32
    )

    def flat(observation: Any) -> np.ndarray:
        values = np.asarray(gymnasium.spaces.flatten(observations, observation), np.float32)
        if values.shape != space.shape:
            raise InputError(
                f"environment {label!r}: an observation of {values.size} numbers, and its space "
                f"has {space.shape[0]}; correct the environment"
            )
        return values

    return gymnasium.wrappers.TransformObservation(env, flat, space)


def key_sorted(space: gymnasium.Space) -> gymnasium.Space:
    """A space whose Dicts are in the order of their sorted keys.

    Of its own accord gymnasium sorts a dict, but leaves an OrderedDict as it is.
    """
    if isinstance(space, gymnasium.spaces.Dict):
        return gymnasium.spaces.Dict({key: key_sorted(space[key]) for key in sorted(space.keys())})
    if isinstance(space, gymnasium.spaces.Tuple):
        return gymnasium.spaces.Tuple([key_sorted(part) for part in space])
    return space


def use_old_collisions(model: mujoco.MjModel) -> None:
    """Has MuJoCo find contacts of meshes, cylinders and ellipsoids as up to 3.2, by libccd.

    Later releases find them by another algorithm, unless they are told otherwise.
    """
    model.opt.disableflags |= int(getattr(mujoco.mjtDisableBit, "mjDSBL_NATIVECCD", 0))


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {one_line(error)}"
