"""Learners. `make(name, config, spec)` builds one; adding one is a file here and a line in `REGISTRY`."""

from edp_jax.algorithms import bc, bcq, cql, crr, diffusion_ql, iql, td3, td3_bc
from edp_jax.algorithms.base import AgentState as AgentState
from edp_jax.algorithms.base import Algorithm as Algorithm
from edp_jax.algorithms.base import AlgorithmConfig, Hypers
from edp_jax.algorithms.base import hypers_read as hypers_read
from edp_jax.algorithms.base import policy_params as policy_params
from edp_jax.types import InputError, TaskSpec

REGISTRY = {
    "td3": td3.make,
    "crr": crr.make,
    "iql": iql.make,
    "cql": cql.make,
    "bcq": bcq.make,
    "diffusion_ql": diffusion_ql.make,
    "bc": bc.make,
    "td3_bc": td3_bc.make,
}


def make(name: str, config: AlgorithmConfig, spec: TaskSpec) -> Algorithm:
    """Builds the learner `name` (a key of `REGISTRY`) for a task of the given sizes."""
    if name not in REGISTRY:
        raise InputError(f"algorithm {name!r} is unknown: use one of {', '.join(REGISTRY)}")
    return REGISTRY[name](config, spec)


__all__ = [
    "REGISTRY",
    "Algorithm",
    "AgentState",
    "AlgorithmConfig",
    "Hypers",
    "hypers_read",
    "make",
    "policy_params",
]
