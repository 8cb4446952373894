"""Trajectories as imitation (imitation.readthedocs.io) saved them in .npz files.

Observations `obs` are one more than actions `acts` in each trajectory, `indices` are the steps at
which all but the first trajectory begin, `terminal` says of each whether it is whole. `infos` are
Python objects and are never looked at. Newer versions save folders of HuggingFace's datasets.
"""

import dataclasses

import numpy as np

from edp_jax.data.ends import as_flags, last_by_cuts
from edp_jax.data.format import Content, Format, Reading
from edp_jax.data.layout import rewards_by_rule
from edp_jax.data.raw import RawDataset, from_arrays
from edp_jax.types import InputError


def read(content: Content, reading: Reading) -> RawDataset:
    """Reads a file of trajectories. Rewards may be missing, or follow from a rule."""
    source, rule = content.source, reading.layout.reward_rule
    observations, actions = (np.atleast_1d(content.array(key)) for key in ("obs", "acts"))
    if actions.dtype.kind in "iu":
        raise InputError(
            f"{source}: 'acts' are discrete ({actions.dtype}), and learners here need continuous "
            "ones; use a dataset of a task with a box of actions"
        )
    steps = len(actions)
    last = last_by_cuts(source, "indices", np.asarray(content.array("indices")), steps)
    whole = as_flags(source, "terminal", np.asarray(content.array("terminal")).reshape(-1))
    count = int(last.sum())
    if len(whole) != count or len(observations) != steps + count:
        raise InputError(
            f"{source}: {count} trajectories of {steps} steps need {count} 'terminal' and "
            f"{steps + count} 'obs', not {len(whole)} and {len(observations)}; save the file again"
        )
    terminals = np.zeros(steps, bool)
    terminals[last] = whole
    told = "'terminal' ones end the task (imitation marks those that reach a time limit so, too)"
    notes = ()
    has_rewards = rule != "stored" or "rews" in content.names()
    rewards = content.array("rews") if "rews" in content.names() else np.zeros(steps)
    if rule != "stored":
        rewards, terminals = rewards_by_rule(rule, last)
        told = f"rewards and ends by the rule {rule}"
        if not whole.all():
            cuts = f"{(~whole).sum():,} of {count:,} trajectories are not 'terminal'"
            notes = (f"{cuts}: by the rule {rule} they end the task all the same",)
    first = np.arange(steps) + np.append(0, np.cumsum(last)[:-1])  # the row of each step in `obs`
    raw = from_arrays(
        source,
        {
            "observations": observations[first],
            "next_observations": observations[first + 1],
            "actions": actions,
            "rewards": rewards,
            "terminals": terminals,
        },
        last=last,
        notes=notes,
        storage=reading.storage,
    )
    return dataclasses.replace(
        raw,
        understood=(f"format: imitation, {count:,} trajectories; {told}",),
        has_rewards=has_rewards,
    )


FORMAT = Format(
    "imitation",
    lambda names: {"obs", "acts", "indices", "terminal"} <= set(names),
    read,
    layout=("reward_rule",),
)
