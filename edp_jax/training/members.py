"""The agents that one compiled program trains: every seed at every point of a sweep."""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from edp_jax.algorithms import Hypers


@dataclasses.dataclass(frozen=True)
class Member:
    """One agent: its seed and, in a sweep, its values of the swept settings."""

    seed: int
    point: tuple[tuple[str, float], ...] = ()

    @property
    def columns(self) -> dict[str, float]:
        """What tells it from the others in a table."""
        return {"seed": self.seed, **dict(self.point)}

    def __str__(self) -> str:
        return ", ".join(f"{name} {value}" for name, value in self.columns.items())

    @property
    def name(self) -> str:
        """For folders and charts."""
        return "_".join(f"{name}_{value}" for name, value in self.columns.items())


def grid(seeds: Sequence[int], sweep: Mapping[str, Sequence[float]]) -> tuple[Member, ...]:
    """All seeds at the first point of the sweep's grid, then all at the second, ...; settings without values do not count."""
    swept = {name: values for name, values in sweep.items() if values}
    points = [
        tuple(zip(swept, values, strict=True)) for values in itertools.product(*swept.values())
    ]
    return tuple(Member(seed, point) for point in points for seed in seeds)


def member_hypers(hypers: Hypers, members: Sequence[Member]) -> Hypers:
    """The settings of every member: leaves [R], R members; those a member sweeps replace those of `hypers`."""

    def of(name: str) -> np.ndarray:
        return np.array(
            [dict(member.point).get(name, getattr(hypers, name)) for member in members], np.float32
        )

    return Hypers(**{field.name: of(field.name) for field in dataclasses.fields(Hypers)})
