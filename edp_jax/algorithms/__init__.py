"""Learners.

`make(name, settings, spec)` builds one; `settings(name, ...)` makes its settings. A learner is
added by a file here, a line in `REGISTRY` and a configuration file (docs/extending.md).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from edp_jax.algorithms import (
    bc,
    bcq,
    cql,
    crr,
    dac,
    diffusion_ql,
    fql,
    groups,
    idql,
    iql,
    one_call,
    td3,
    td3_bc,
    weighted,
)
from edp_jax.algorithms.base import AgentState, Algorithm, TrainState
from edp_jax.algorithms.chunks import on_chunks
from edp_jax.settings import describe
from edp_jax.settings import make as make_settings
from edp_jax.types import InputError, TaskSpec


class Learner(NamedTuple):
    """A learner by its settings and the function that builds it from them."""

    settings: type  # a frozen dataclass of settings
    make: Callable[[Any, TaskSpec], Algorithm]


REGISTRY = {
    "edp": Learner(weighted.EDP, weighted.make),
    "edp_td3": Learner(td3.EDPTD3, td3.make),
    "edp_crr": Learner(crr.EDPCRR, crr.make_edp),
    "edp_iql": Learner(iql.EDPIQL, iql.make_edp),
    "edp_cql": Learner(cql.EDPCQL, cql.make),
    "edp_bcq": Learner(bcq.EDPBCQ, bcq.make),
    "diffusion_ql": Learner(diffusion_ql.DiffusionQL, diffusion_ql.make),
    "bc_diffusion": Learner(bc.DiffusionBC, bc.make_diffusion),
    "dac": Learner(dac.DAC, dac.make),
    "idql": Learner(idql.IDQL, idql.make),
    "fql": Learner(fql.FQL, fql.make),
    "td3_bc": Learner(td3_bc.TD3BC, td3_bc.make),
    "crr": Learner(crr.GaussianCRR, crr.make_gaussian),
    "iql": Learner(iql.GaussianIQL, iql.make_gaussian),
    "bc": Learner(bc.GaussianBC, bc.make_gaussian),
}

# One-call students of every learner with a diffusion policy; they begin from a trained teacher.
STUDENTS = {
    one_call.PREFIX + name: Learner(
        one_call.settings_of(learner.settings), one_call.maker(learner.make)
    )
    for name, learner in REGISTRY.items()
    if issubclass(learner.settings, groups.Diffusion)
}


def find(name: str) -> Learner:
    """The learner of that name.

    Raises:
      InputError: there is none.
    """
    if name in STUDENTS:
        return STUDENTS[name]
    if name not in REGISTRY:
        known = ", ".join(REGISTRY)
        raise InputError(f"algorithm {name[:40]!r} is unknown: use one of {known}")
    return REGISTRY[name]


def settings(name: str, **changes: Any) -> Any:
    """The settings of learner `name`: its defaults with the given changes, checked.

    Raises:
      InputError: no such learner or setting, or a value that the setting cannot have.
    """
    group = find(name).settings
    for key in changes.keys() - _names(group):
        if readers := [other for other in REGISTRY if key in _names(REGISTRY[other].settings)]:
            raise InputError(f"{name} does not read {key} ({', '.join(readers)} do); leave it out")
    return make_settings(group, changes)


def _names(group: type) -> set[str]:
    return {entry.name for entry in describe(group)}


def make(name: str, settings: Any, spec: TaskSpec) -> Algorithm:
    """Builds learner `name` for a task of the given sizes.

    Args:
      name: a key of `REGISTRY` or `STUDENTS`.
      settings: made by `settings(name, ...)`.
      spec: sizes of observation and action. With a horizon the learner's actions are chunks.

    Raises:
      InputError: no such learner, settings of another one, or settings that do not fit together.
    """
    learner = find(name)
    if type(settings) is not learner.settings:
        raise InputError(
            f"algorithm {name!r}: its settings are not a {type(settings).__name__}; make them with "
            f"edp_jax.algorithms.settings({name!r}, ...)"
        )
    algorithm = learner.make(settings, spec.for_learner)
    return algorithm if spec.horizon == 1 else on_chunks(algorithm)


__all__ = [
    "REGISTRY",
    "STUDENTS",
    "AgentState",
    "Algorithm",
    "Learner",
    "TrainState",
    "find",
    "make",
    "settings",
]
