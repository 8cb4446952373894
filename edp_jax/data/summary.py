"""What is in a dataset, counted for files and told in lines for a terminal."""

import numpy as np

from edp_jax.data.columns import constant_columns
from edp_jax.data.preprocess import episode_ends, episode_returns, usable_rows
from edp_jax.data.raw import RawDataset
from edp_jax.errors import counted

_UNREWARDED = (
    "no rewards: the data can be imitated; for learners with critics, say what is rewarded by "
    "--config.reward_rule=success_at_end or step_cost"
)


def summarize(raw: RawDataset) -> dict:
    """Counts, ranges and returns of a dataset as plain numbers and lists that JSON can hold.

    `steps` are the rows that are stored; `transitions` are those whose next observation is known.
    """
    returns = episode_returns(raw)
    return {
        "understood": list(raw.understood),
        "steps": len(raw.rewards),
        "transitions": int(usable_rows(raw).sum()),
        "episodes": int(episode_ends(raw).sum()),
        "terminals": int(raw.terminals.sum()),
        "timeouts": int(raw.timeouts.sum()),
        "observation_dim": raw.observation_dim,
        "action_dim": raw.action_dim,
        "return": {
            "min": float(returns.min()),
            "mean": float(returns.mean()),
            "max": float(returns.max()),
        },
        "observation_range": [float(raw.observations.min()), float(raw.observations.max())],
        "action_range": [float(raw.actions.min()), float(raw.actions.max())],
        "constant_columns": np.flatnonzero(constant_columns(raw.observations)).tolist(),
        "notes": [*raw.notes, *_of_rewards(raw)],
    }


def _of_rewards(raw: RawDataset) -> list[str]:
    if not raw.has_rewards:
        return [_UNREWARDED]
    if not raw.rewards.any():
        return ["all rewards are 0: a learner with critics cannot tell good actions from others"]
    return []


def describe(summary: dict) -> str:
    """What `summarize` counted, in lines for a terminal."""
    steps, transitions = summary["steps"], summary["transitions"]
    found, lines = counted(transitions, "transition"), list(summary["understood"])
    if transitions < steps:
        lost = steps - transitions
        whose = counted(lost, "episode")
        lines.append(
            f"{found} of {steps:,} steps: the last step of {whose} has no next observation"
        )
        found = counted(steps, "step")
    lines.append(
        f"{found} in {counted(summary['episodes'], 'episode')}, "
        f"{counted(summary['terminals'], 'terminal')}, {counted(summary['timeouts'], 'timeout')}"
    )
    measures = (f"{name} {value:.6g}" for name, value in summary["return"].items())
    lines.append(f"return of an episode: {', '.join(measures)}")
    constant = _ranges(summary["constant_columns"]) or "none"
    lines.append(f"{_range(summary, 'observation')}, constant columns: {constant}")
    lines.append(_range(summary, "action"))
    lines += [f"note: {note}" for note in summary["notes"]]
    return "\n".join(f"  {line}" for line in lines)


def _range(summary: dict, kind: str) -> str:
    low, high = summary[f"{kind}_range"]
    return f"{kind}s [{summary[f'{kind}_dim']}] from {low:.6g} to {high:.6g}"


def _ranges(numbers: list[int]) -> str:
    """Sorted integers, those that follow each other drawn together: "0-2, 7"."""
    all_of_them = set(numbers)
    starts = [number for number in numbers if number - 1 not in all_of_them]
    ends = [number for number in numbers if number + 1 not in all_of_them]
    return ", ".join(
        str(first) if first == last else f"{first}-{last}"
        for first, last in zip(starts, ends, strict=True)
    )
