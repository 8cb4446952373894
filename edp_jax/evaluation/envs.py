"""The simulators that policies are evaluated in, by the name of an `EnvSpec`.

What makes them imports simulators, which takes seconds. It is imported when the first one is made.
"""

import contextlib
import difflib
import functools
import importlib
import importlib.metadata
import json
import pkgutil
import re
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from edp_jax.errors import not_installed
from edp_jax.tasks import ENVIRONMENTS
from edp_jax.types import EnvSpec, InputError

TESTED_MUJOCO = ((3, 1, 6), (3, 5))  # the first tested release, and the first that is not
_ADAPTERS = "edp_jax.evaluation.adapters"
# (an `Environment` of the table, number) -> environments; by domain
_MAKERS = {
    "locomotion": "edp_jax.evaluation.adapters:make_locomotion",
    "kitchen": "edp_jax.evaluation.kitchen:make_kitchens",
    "adroit": "edp_jax.evaluation.adroit:make_adroit",
    "antmaze": "edp_jax.evaluation.mazes:make_antmazes",
    "maze2d": "edp_jax.evaluation.mazes:make_maze2ds",
}
# (what follows the prefix and a colon, number, **keyword arguments) -> environments
_PREFIXES = {
    "gymnasium": "edp_jax.evaluation.adapters:make_gymnasium",
    "minari": "edp_jax.evaluation.adapters:make_minari",
    "ogbench": "edp_jax.evaluation.ogbench:make_ogbench",
    "legacy": "edp_jax.evaluation.envs:make_legacy",
}
# (what follows the prefix and a colon) -> nothing, or refuses what is not there
_CHECKS = {
    "gymnasium": "edp_jax.evaluation.adapters:check_registered",
    "minari": "edp_jax.minari_package:package",
    "ogbench": "edp_jax.ogbench_package:package",
    "legacy": "edp_jax.legacy:packages",
}


@functools.lru_cache(maxsize=4)
def make(environment: EnvSpec, num_envs: int) -> tuple[Any, ...]:
    """Does what `make_new` does, and returns the same environments when it is called again.

    Making a kitchen takes seconds, so environments are kept. Reset them with a seed before use.
    """
    return make_new(environment, num_envs)


def make_new(environment: EnvSpec, num_envs: int) -> tuple[Any, ...]:
    """Makes gymnasium environments that nothing else uses.

    Each gives observations [O] float32 and takes actions [A] from a box.

    Args:
      environment: what to make.
      num_envs: how many.

    Raises:
      InputError: the environment is unknown or cannot be made, or its observations or actions do
        not fit.
    """
    with _packages_of(environment):
        return _maker(environment)(num_envs)


def check_there(environment: EnvSpec) -> None:
    """Refuses an environment that `make_new` would, as far as that is known without making it.

    Raises:
      InputError: its name is unknown, or a package is not installed.
    """
    with _packages_of(environment):
        _maker(environment)
        prefix, _, rest = environment.name.partition(":")
        if prefix in _CHECKS:
            pkgutil.resolve_name(_CHECKS[prefix])(rest)


@contextlib.contextmanager
def _packages_of(environment: EnvSpec) -> Iterator[None]:
    """Tells in one line which package of an environment is missing."""
    try:
        yield
    except ImportError as error:
        raise not_installed(f"environment {environment.name!r}", error, "simulators") from error


def _maker(environment: EnvSpec) -> Callable[[int], tuple[Any, ...]]:
    """What makes a number of environments of a name; the packages that it needs are imported."""
    name, kwargs = environment.name, _parse_kwargs(environment)
    prefix, _, rest = name.partition(":")
    if name in ENVIRONMENTS:
        maker, which = _MAKERS[ENVIRONMENTS[name].domain], ENVIRONMENTS[name]
    elif prefix in _PREFIXES and rest:
        maker, which = _PREFIXES[prefix], rest
    else:
        near = ", ".join(difflib.get_close_matches(name, ENVIRONMENTS) or list(ENVIRONMENTS)[:3])
        others = ", ".join(f"'{prefix}:...'" for prefix in _PREFIXES)
        raise InputError(f"environment {name!r} is unknown; use one of: {near}; or {others}")
    if prefix != "legacy":
        warn_about_mujoco(importlib.metadata.version("mujoco"))
        importlib.import_module(_ADAPTERS)  # loads the packages quietly
    make = pkgutil.resolve_name(maker)
    return lambda num_envs: make(which, num_envs, **kwargs)


def make_legacy(name: str, num_envs: int) -> tuple[Any, ...]:
    """Makes environments of D4RL's own packages."""
    from edp_jax import legacy

    return tuple(legacy.make_env(name) for _ in range(num_envs))


def check_sizes(environment: EnvSpec, observation_dim: int, action_dim: int) -> None:
    """Makes one environment and compares it with the data a policy was trained on.

    Args:
      environment: what to make.
      observation_dim: O of the data.
      action_dim: A of the data.

    Raises:
      InputError: the environment cannot be made, or the sizes differ.
    """
    env = make(environment, 1)[0]
    sizes = env.observation_space.shape[0], env.action_space.shape[0]
    if sizes != (observation_dim, action_dim):
        raise InputError(
            f"dataset: {observation_dim} observation and {action_dim} action columns, but "
            f"environment {environment.name!r} has {sizes[0]} and {sizes[1]}; use the data file of "
            "that task"
        )


def warn_about_mujoco(version: str) -> None:
    """Warns of a MuJoCo release that was not tested.

    Another release may solve contacts in another way. Then returns differ from those that were
    published, and so do the built-in datasets.
    """
    release = tuple(int(part) for part in re.findall(r"\d+", version)[:3])
    first, untested = TESTED_MUJOCO
    if not first <= release < untested:
        bounds = ((">=", first), ("<", untested))
        tested = ",".join(sign + ".".join(map(str, numbers)) for sign, numbers in bounds)
        warnings.warn(
            f"mujoco {version} is outside the tested range {tested}: contacts are solved "
            "differently, so returns and built-in datasets may differ from the published ones; "
            f"install 'mujoco{tested}'",
            stacklevel=3,
        )


def _parse_kwargs(environment: EnvSpec) -> dict:
    try:
        kwargs = json.loads(environment.kwargs)
    except json.JSONDecodeError:
        kwargs = None
    if not isinstance(kwargs, dict):
        raise InputError(
            f"keyword arguments {environment.kwargs!r} of environment {environment.name!r}: not a "
            'JSON object; write one, such as {"max_episode_steps": 500}'
        )
    if kwargs and not environment.name.startswith("gymnasium:"):
        raise InputError(
            f"keyword arguments {environment.kwargs!r}: environment {environment.name!r} takes "
            "none; leave them out, or use 'gymnasium:<id>'"
        )
    return kwargs
