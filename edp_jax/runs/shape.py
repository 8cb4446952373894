"""What the files of a run must look like before anything is read from them."""

from collections.abc import Collection, Mapping
from typing import Any, TypeGuard


def is_record(record: dict[str, Any]) -> bool:
    """Whether the parts of a config.json are those of a run; settings are checked elsewhere."""
    config, dataset, members, starts = map(record.get, ("config", "dataset", "members", "starts"))
    texts = [config.get(key) for key in ("task", "algorithm")] if isinstance(config, dict) else [0]
    texts += [dataset.get("sha256")] if isinstance(dataset, dict) else [0]
    if not (isinstance(members, list) and members and isinstance(starts, list)):
        return False
    for start in starts:
        if not isinstance(start, dict):
            return False
        environment, devices = start.get("environment", {}), start.get("devices", [])
        parts = environment, start.get("scores_of", {})
        if not all(isinstance(part, dict) for part in parts) or not isinstance(devices, list):
            return False
        texts += [*environment.values(), *devices]
    return all(isinstance(text, str) for text in texts) and all(
        isinstance(member, dict)
        and "seed" in member
        and member.keys() == members[0].keys()
        and all(type(value) in (int, float) for value in member.values())
        for member in members
    )


def judged(summary: Mapping[str, Any], saved_steps: Collection[int]) -> list[dict[str, Any]] | None:
    """The estimates of checkpoints in a summary.

    The last checkpoint is one of those that are judged. A newer one tells that the run has been
    made longer since, and has not stopped yet to write another summary, or was killed before.

    Args:
      summary: what summary.json holds.
      saved_steps: updates until each checkpoint that is there.

    Returns:
      Those of all checkpoints, the best first; None where there are none, or they are out of date.
    """
    found = summary.get("judged")
    if not _is_judged(found) or max(saved_steps, default=0) > max(each["step"] for each in found):
        return None
    return found


def _is_judged(found: Any) -> TypeGuard[list[dict[str, Any]]]:
    names = ("step", "value", "low", "high", "pessimistic", "drift", "as_good")
    numbers = (int, float, bool)
    return (
        isinstance(found, list)
        and bool(found)
        and all(isinstance(each, dict) and each.keys() == set(names) for each in found)
        and all(type(value) in numbers for each in found for value in each.values())
    )
