"""Gymnasium environments of any id, and Minari's, with flat float32 observations."""

import contextlib
import difflib
import io
import warnings
from collections.abc import Callable
from typing import Any

import gymnasium
import mujoco
import numpy as np

from edp_jax.types import InputError

with contextlib.redirect_stderr(
    io.StringIO()
):  # on import the package announces changes to other environments
    import gymnasium_robotics

gymnasium.register_envs(gymnasium_robotics)


def make_gymnasium(env_id: str, num_envs: int, **kwargs) -> tuple[gymnasium.Env, ...]:
    """`num_envs` times `gymnasium.make(env_id, **kwargs)`, observations flattened.

    Raises:
        InputError: the id is unknown, a keyword argument does not fit, or `flatten` refuses the environment.
    """
    label = f"gymnasium:{env_id}"

    def make_one() -> gymnasium.Env:
        try:
            return gymnasium.make(env_id, disable_env_checker=True, **kwargs)
        except gymnasium.error.UnregisteredEnv as error:
            near = (
                ", ".join(difflib.get_close_matches(env_id, gymnasium.registry, n=3, cutoff=0.4))
                or "an id of gymnasium"
            )
            raise InputError(
                f"environment {label!r}: no such id; use {near}, or 'module:id' to import yours first"
            ) from error
        except Exception as error:  # constructors raise what they like
            raise InputError(
                f"environment {label!r} cannot be made with keyword arguments {kwargs}: {_one_line(error)}; correct them"
            ) from error

    return _make_flat(make_one, num_envs, label)


def make_minari(dataset_id: str, num_envs: int) -> tuple[gymnasium.Env, ...]:
    """The evaluation environment a Minari dataset names, observations flattened.

    Raises:
        InputError: the package or the dataset is missing, the dataset names no environment, or `flatten` refuses it.
    """
    label = f"minari:{dataset_id}"
    try:
        import minari
    except ImportError as error:
        raise InputError(
            f"environment {label!r} needs the package minari ({error}); pip install 'minari[hdf5]'"
        ) from error
    try:
        dataset = minari.load_dataset(dataset_id)
    except FileNotFoundError as error:
        raise InputError(
            f"environment {label!r}: {_one_line(error)}; minari download {dataset_id}"
        ) from error

    def make_one() -> gymnasium.Env:
        try:
            return dataset.recover_environment(eval_env=True, disable_env_checker=True)
        except Exception as error:  # constructors raise what they like
            raise InputError(
                f"environment {label!r} cannot be recovered: {_one_line(error)}; install what it needs, or give another as "
                "--config.env_id (none: only train)"
            ) from error

    return _make_flat(make_one, num_envs, label)


def flatten(env: gymnasium.Env, label: str) -> gymnasium.Env:
    """`env` with observations [O] float32 as `gymnasium.spaces.flatten` makes them, a Dict always by its sorted keys.

    Raises:
        InputError: actions are not a box of one axis, observations cannot be flattened, or an episode may never end.
    """
    actions, observations = env.action_space, key_sorted(env.observation_space)
    if not (isinstance(actions, gymnasium.spaces.Box) and len(actions.shape) == 1):
        raise InputError(
            f"environment {label!r}: actions are {actions}, and only a Box of one axis is supported; use another"
        )
    if not observations.is_np_flattenable:
        raise InputError(
            f"environment {label!r}: observations {observations} cannot be flattened into numbers; use another"
        )
    if env.spec is None or env.spec.max_episode_steps is None:
        raise InputError(
            f"environment {label!r} has no time limit, so an episode may never end; give --config.env_id with "
            """--config.env_kwargs='{"max_episode_steps": 1000}'"""
        )
    space = gymnasium.spaces.Box(
        -np.inf, np.inf, (gymnasium.spaces.flatdim(observations),), np.float32
    )
    return gymnasium.wrappers.TransformObservation(
        env,
        lambda observation: gymnasium.spaces.flatten(observations, observation).astype(np.float32),
        space,
    )


def key_sorted(space: gymnasium.Space) -> gymnasium.Space:
    """`space` with each Dict in the order of its sorted keys; gymnasium leaves an OrderedDict as it is."""
    if isinstance(space, gymnasium.spaces.Dict):
        return gymnasium.spaces.Dict({key: key_sorted(space[key]) for key in sorted(space.keys())})
    if isinstance(space, gymnasium.spaces.Tuple):
        return gymnasium.spaces.Tuple([key_sorted(part) for part in space])
    return space


def use_old_collisions(model: mujoco.MjModel) -> None:
    """Has MuJoCo find contacts of meshes, cylinders and ellipsoids as up to 3.2 (libccd); 3.3 and later do it another way."""
    model.opt.disableflags |= int(getattr(mujoco.mjtDisableBit, "mjDSBL_NATIVECCD", 0))


def _make_flat(make_one: Callable[[], Any], num_envs: int, label: str) -> tuple[gymnasium.Env, ...]:
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message=".*out of date", category=DeprecationWarning
        )  # -v4 is what D4RL compares with
        return tuple(flatten(make_one(), label) for _ in range(num_envs))


def _one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())
