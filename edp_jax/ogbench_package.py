"""OGBench (arXiv 2410.20092), by its own package, which only this file imports.

| what | its function |
| --- | --- |
| the environment of a dataset | `ogbench.make_env_and_datasets` |
| rewards and ends of one task for states of a dataset | `ogbench.relabel_utils.relabel_dataset` |
"""

import contextlib
import importlib
import warnings
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any

import numpy as np

from edp_jax.errors import not_installed, one_line
from edp_jax.types import InputError


def package(dataset: str) -> ModuleType:
    """OGBench's package.

    Args:
      dataset: that needs it.

    Raises:
      InputError: it is not installed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # those of its renderer, where there is no screen
            return importlib.import_module("ogbench")
    except ImportError as error:
        raise not_installed(f"ogbench:{dataset}", error, "ogbench") from error


def make_env(dataset: str) -> Any:
    """Makes the environment of a single-task dataset, a gymnasium.Env, and resets it with seed 0.

    Args:
      dataset: OGBench's name, such as cube-single-play-singletask-task2-v0.

    Raises:
      InputError: the package is missing, or it has no such environment.
    """
    found = package(dataset)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # those of its renderer, where there is no screen
            env = found.make_env_and_datasets(dataset, env_only=True)
            env.reset(seed=0)  # an arm compiles its model
            return env
    except ImportError as error:
        raise not_installed(f"ogbench:{dataset}", error, "ogbench") from error
    except Exception as error:  # gymnasium and the simulator raise errors of many kinds
        told = f"{type(error).__name__}: {one_line(error)[:100]}"
        raise InputError(f"ogbench:{dataset}: {told}; use a name that OGBench lists") from error


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """A block without the warnings of the boxes that an arm makes anew at each look."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*precision lowered by casting")
        yield


def rewards(source: str, env: Any, states: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Says what states earn in the task of an environment.

    Args:
      source: what error messages begin with.
      env: as made by `make_env`.
      states: `qpos` [N, positions] of the simulator, and `button_states` where it has buttons.

    Returns:
      `rewards` [N] float32 and `masks` [N] float32: 0 where the task is done.

    Raises:
      InputError: the states are of another environment.
    """
    relabel = importlib.import_module("ogbench.relabel_utils").relabel_dataset
    columns = env.unwrapped.model.nq
    if states["qpos"].shape[1:] != (columns,):
        raise InputError(
            f"{source}: 'qpos' has shape {list(states['qpos'].shape)}, not [N, {columns}]: it is "
            f"no dataset of {env.spec.id}; put that file in its place"
        )
    labelled = dict(states)
    try:
        relabel(env.spec.id, env, labelled)
    except KeyError as error:
        raise InputError(f"{source}: no key {error}; copy or download it again") from error
    return {key: labelled[key] for key in ("rewards", "masks")}
