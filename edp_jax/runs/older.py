"""Runs of earlier versions: the settings that their config.json lacks."""

from collections.abc import Mapping
from typing import Any

# By learner: what a run from before a setting existed did, where that is not its default now.
_EDP = {"trust_region": 0.0, "holdout": 0.0, "ema_share": 0.0}
_BEFORE = {"edp": _EDP, "one_call_edp": _EDP}


def filled(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a run, with those that its version did not have yet."""
    return _BEFORE.get(config.get("algorithm", ""), {}) | dict(config)
