"""The configuration of a run: one flat dictionary of settings, made, explained and checked here.

The settings themselves are declared elsewhere, each once: a learner's in its own file, those of the
data in `edp_jax.data`, those of the run in `groups`.
"""

from edp_jax.configuration.make import (
    DEFAULT_TASK,
    all_settings,
    explain_unknown,
    list_settings,
    make_config,
    may_change,
)
from edp_jax.configuration.resolve import Settings, num_members, processes, resolve

__all__ = [
    "DEFAULT_TASK",
    "Settings",
    "all_settings",
    "explain_unknown",
    "list_settings",
    "make_config",
    "may_change",
    "num_members",
    "processes",
    "resolve",
]
