"""Efficient Diffusion Policies for offline reinforcement learning (EDP, arXiv 2305.20081).

dataset = edp_jax.load_dataset("builtin/hopper-medium-expert", normalize_observations=True)
settings = edp_jax.algorithms.settings("edp_td3", eta=0.1)
algorithm = edp_jax.algorithms.make("edp_td3", settings, dataset.spec)
trainer = edp_jax.Trainer(algorithm, dataset, seeds=(0, 1))
state, metrics = trainer.train(trainer.init(), 10_000)
"""

import importlib
from typing import TYPE_CHECKING, Any

from edp_jax.types import InputError, TaskSpec, Transition, Units

if TYPE_CHECKING:
    from edp_jax import algorithms, configuration, data, diffusion, evaluation, runs
    from edp_jax.data import load_dataset
    from edp_jax.export import load_policy
    from edp_jax.training.trainer import Trainer

__version__ = "0.1.0"
__all__ = [
    "InputError",
    "TaskSpec",
    "Trainer",
    "Transition",
    "Units",
    "algorithms",
    "configuration",
    "data",
    "diffusion",
    "evaluation",
    "load_dataset",
    "load_policy",
    "runs",
]

# Imported where they are first used, since they take seconds: name -> the module that has it
_LATER = {
    "Trainer": "edp_jax.training.trainer",
    "load_dataset": "edp_jax.data",
    "load_policy": "edp_jax.export",
}
_MODULES = ("algorithms", "configuration", "data", "diffusion", "evaluation", "runs")


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"edp_jax.{name}")
    if name in _LATER:
        return getattr(importlib.import_module(_LATER[name]), name)
    raise AttributeError(f"module 'edp_jax' has no attribute {name!r}")
