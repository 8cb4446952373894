"""Runs of earlier versions: the settings that their config.json lacks."""

from collections.abc import Mapping
from typing import Any

# By learner: what a run from before a setting existed did, where that is not its default now.
_FOLLOWS_NOTHING = {"trust_region": 0.0, "holdout": 0.0}
_BEFORE = {"edp": _FOLLOWS_NOTHING, "one_call_edp": _FOLLOWS_NOTHING}


def filled(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a run, with those that its version did not have yet."""
    return _BEFORE.get(config.get("algorithm", ""), {}) | dict(config)
