"""The simulators policies are evaluated in, by the name of an `EnvSpec`.

The modules that hold the environments import simulators, and are imported here when one of theirs is made: whoever only
trains does not wait for them.
"""

import difflib
import functools
import importlib.metadata
import json
import re
import warnings
from typing import Any

from edp_jax import legacy
from edp_jax.types import EnvSpec, InputError

TESTED_MUJOCO = (
    (3, 1, 6),
    (3, 5),
)  # the first tested release, and the first that is not: those of pyproject.toml

_LOCOMOTION = {"hopper": "Hopper-v4", "halfcheetah": "HalfCheetah-v4", "walker2d": "Walker2d-v4"}
_KITCHEN = {
    "kitchen-complete": ("microwave", "kettle", "light switch", "slide cabinet"),
    "kitchen-partial": ("microwave", "kettle", "light switch", "slide cabinet"),
    "kitchen-mixed": ("microwave", "kettle", "bottom burner", "light switch"),
}
_ADROIT = ("pen", "hammer", "door", "relocate")
_SIZES = ("umaze", "medium", "large")
_ANTMAZE = {
    f"antmaze-{size}-{version}": (size, version) for version in ("v0", "v2") for size in _SIZES
}
_MAZE2D = {f"maze2d-{size}": size for size in _SIZES}
_PREFIXES = ("gymnasium", "minari", "legacy")


def list_environments() -> list[str]:
    return [*_LOCOMOTION, *_KITCHEN, *_ADROIT, *_ANTMAZE, *_MAZE2D]


@functools.lru_cache(maxsize=4)
def make(environment: EnvSpec, num_envs: int) -> tuple[Any, ...]:
    """`num_envs` gymnasium environments with observations [O] float32 and actions [A] in their own `action_space`.

    They are made once and kept, since making a kitchen takes seconds: reset them with a seed before use.

    Raises:
        InputError: the environment is unknown or cannot be made, or its observations or actions do not fit.
    """
    kwargs = _parse_kwargs(environment)
    prefix, _, rest = environment.name.partition(":")
    if not (environment.name in list_environments() or (prefix in _PREFIXES and rest)):
        near = (
            difflib.get_close_matches(environment.name, list_environments()) or list_environments()
        )
        others = ", ".join(f"'{prefix}:...'" for prefix in _PREFIXES)
        raise InputError(
            f"environment {environment.name!r} is unknown; use one of: {', '.join(near)}; or {others}"
        )
    if prefix == "legacy":
        return tuple(legacy.make_env(rest) for _ in range(num_envs))
    try:
        warn_about_mujoco(importlib.metadata.version("mujoco"))
        return _make_modern(environment.name, kwargs, num_envs)
    except ImportError as error:
        raise InputError(
            f"environment {environment.name!r}: {error}; install the simulators: pip install 'edp_jax[simulators]'"
        ) from error


def check_sizes(environment: EnvSpec, observation_dim: int, action_dim: int) -> None:
    """Makes one environment and compares it with the data a policy was trained on.

    Raises:
        InputError: the environment cannot be made, or the sizes differ.
    """
    env = make(environment, 1)[0]
    sizes = env.observation_space.shape[0], env.action_space.shape[0]
    if sizes != (observation_dim, action_dim):
        raise InputError(
            f"dataset: {observation_dim} observation and {action_dim} action columns, but environment {environment.name!r} has "
            f"{sizes[0]} and {sizes[1]}; use the data file of that task"
        )


def warn_about_mujoco(version: str) -> None:
    """Warns where a MuJoCo release was not tested: its contacts may differ, and with them returns and built-in datasets."""
    release = tuple(int(part) for part in re.findall(r"\d+", version)[:3])
    first, untested = TESTED_MUJOCO
    if not first <= release < untested:
        tested = ",".join(
            sign + ".".join(map(str, numbers)) for sign, numbers in ((">=", first), ("<", untested))
        )
        warnings.warn(
            f"mujoco {version} is outside the tested range {tested}: contacts are solved differently, so returns and built-in "
            f"datasets may differ from the published ones; install 'mujoco{tested}'",
            stacklevel=3,
        )


def _parse_kwargs(environment: EnvSpec) -> dict:
    try:
        kwargs = json.loads(environment.kwargs)
    except json.JSONDecodeError:
        kwargs = None
    if not isinstance(kwargs, dict):
        raise InputError(
            f"keyword arguments {environment.kwargs!r} of environment {environment.name!r}: not a JSON object; write one, "
            f'such as {{"max_episode_steps": 500}}'
        )
    if kwargs and not environment.name.startswith("gymnasium:"):
        raise InputError(
            f"keyword arguments {environment.kwargs!r}: environment {environment.name!r} takes none; leave them out, or use "
            f"'gymnasium:<id>'"
        )
    return kwargs


def _make_modern(name: str, kwargs: dict, num_envs: int) -> tuple[Any, ...]:
    from edp_jax.evaluation import adapters

    if name.startswith("gymnasium:"):
        return adapters.make_gymnasium(name.removeprefix("gymnasium:"), num_envs, **kwargs)
    if name.startswith("minari:"):
        return adapters.make_minari(name.removeprefix("minari:"), num_envs)
    if name in _LOCOMOTION:
        return adapters.make_gymnasium(_LOCOMOTION[name], num_envs)
    if name in _KITCHEN:
        from edp_jax.evaluation import kitchen

        return kitchen.make_kitchens(_KITCHEN[name], num_envs)
    if name in _ADROIT:
        from edp_jax.evaluation import adroit

        return adroit.make_adroit(name, num_envs)
    from edp_jax.evaluation import mazes

    if name in _ANTMAZE:
        return mazes.make_antmazes(*_ANTMAZE[name], num_envs)
    return mazes.make_maze2ds(_MAZE2D[name], num_envs)
