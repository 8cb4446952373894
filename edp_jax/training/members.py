"""The agents that one program trains side by side: every seed at every point of a sweep."""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edp_jax import settings as settings_lib
from edp_jax.types import InputError


@dataclasses.dataclass(frozen=True)
class Member:
    """One agent: its seed and, in a sweep, its values of the swept settings."""

    seed: int
    point: tuple[tuple[str, float], ...] = ()  # (setting, value), sorted as in the sweep

    @property
    def columns(self) -> dict[str, float]:
        """The columns of a table that tell it from the other members."""
        return {"seed": self.seed, **dict(self.point)}

    @property
    def name(self) -> str:
        """A name for folders and charts, as in "seed_0_eta_0.5"."""
        return "_".join(f"{name}_{value}" for name, value in self.columns.items())

    def __str__(self) -> str:
        return ", ".join(f"{name} {value}" for name, value in self.columns.items())


def grid(
    seeds: Sequence[int] | int, sweep: Mapping[str, Sequence[float]] | None = None
) -> tuple[Member, ...]:
    """Lists the members of a run: each seed once at each point of the sweep.

    Args:
      seeds: S seeds, or a single one.
      sweep: the values that each swept setting takes. The points are all combinations of them. A
        setting with no values is not swept.

    Returns:
      R = S times the number of points members. Those of one point follow each other, in the order
      of `seeds`; the last setting's values change fastest from point to point.

    Raises:
      InputError: `seeds` are not at least one integer, each there once.
    """
    if isinstance(seeds, int | np.integer):
        seeds = (int(seeds),)
    if not len(seeds) or len(set(seeds)) < len(seeds):
        raise InputError(f"seeds={seeds}: give at least one, and each once, as in seeds=(0, 1)")
    swept = {name: values for name, values in (sweep or {}).items() if values}
    points = [
        tuple(zip(swept, values, strict=True)) for values in itertools.product(*swept.values())
    ]
    return tuple(Member(seed, point) for point in points for seed in seeds)


def check_sweep(settings: Any, sweep: Mapping[str, Sequence[float]]) -> None:
    """Refuses a sweep over what the learner does not have, or over values it cannot have.

    Args:
      settings: the learner's settings.
      sweep: as for `grid`.

    Raises:
      InputError: a swept name is no traced setting of the learner, another setting switches it off,
        or a value is out of its limits.
    """
    known = {entry.name: entry for entry in settings_lib.describe(type(settings)) if entry.traced}
    for name, values in sweep.items():
        if name not in known:
            raise InputError(
                f"sweep over {name!r}: this learner cannot sweep it; use one of {', '.join(known)}"
            )
        for other, needed in known[name].read_with.items():
            if getattr(settings, other) not in needed:
                raise InputError(
                    f"sweep over {name!r}: changes nothing with {other}={getattr(settings, other)};"
                    f" leave it out, or set {other} to another value"
                )
        for value in values:
            settings_lib.check(known[name], value, f"sweep.{name}")


def member_settings(settings: Any, members: Sequence[Member]) -> Any:
    """The traced settings of every member.

    Args:
      settings: the learner's settings, with a number for each traced one.
      members: R members.

    Returns:
      `settings` with float32 arrays [R] for the traced ones. Where a member sweeps a setting, its
      value stands there.
    """

    def values(name: str) -> np.ndarray:
        default = getattr(settings, name)
        return np.array([dict(member.point).get(name, default) for member in members], np.float32)

    names = settings_lib.traced_names(type(settings))
    return dataclasses.replace(settings, **{name: values(name) for name in names})
