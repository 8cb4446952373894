"""What a user says of data whose format leaves it open: which columns to take, what is rewarded."""

import dataclasses
from collections.abc import Collection

import numpy as np

from edp_jax.settings import describe, setting
from edp_jax.types import InputError

REWARD_RULES = ("stored", "success_at_end", "step_cost")


@dataclasses.dataclass(frozen=True)
class Layout:
    """How a dataset is to be understood. A format reads some of these, see `Reader.layout`."""

    observation_keys: tuple[str, ...] = setting(
        (), "names of the stored columns that make up an observation; empty: see docs/formats.md"
    )
    action_keys: tuple[str, ...] = setting(
        (), "names of the stored columns that make up an action; empty: see docs/formats.md"
    )
    reward_rule: str = setting(
        "stored",
        "rewards: those in the data, 1 at the end of each episode, or -1 per step",
        one_of=REWARD_RULES,
    )
    filter_key: str = setting(
        "", "the mask that names the episodes to read of a robomimic file; empty: all"
    )


AS_STORED = Layout()


def check_read(layout: Layout, read: Collection[str], whose: str) -> None:
    """Refuses a setting that has another value than its default and is not read, and double keys.

    Args:
      layout: the settings.
      read: names of those that the format reads.
      whose: what the error calls the format.

    Raises:
      InputError: see above.
    """
    for entry in describe(Layout):
        value = getattr(layout, entry.name)
        if value != entry.default and entry.name not in read:
            raise InputError(
                f"{entry.name}={value!r:.60} changes nothing: {whose} does not read it; leave it "
                "out"
            )
        if isinstance(value, tuple) and len(set(value)) < len(value):
            double = next(key for key in value if value.count(key) > 1)
            raise InputError(f"{entry.name}: {double!r:.60} is there twice; name each key once")


def check_keys(
    source: str, observations: Collection[str], actions: Collection[str], led_to: Collection[str]
) -> None:
    """Refuses observations that hold what a policy cannot see when it acts.

    Args:
      source: what error messages begin with.
      observations, actions: names of the columns of each.
      led_to: names of columns that tell what a step led to, such as its reward.

    Raises:
      InputError: an observation is among the others.
    """
    for name in observations:
        if name in actions or name in led_to:
            what = "the action" if name in actions else "what the action led to"
            raise InputError(
                f"{source}: {name[:60]!r} is {what}, which a policy does not see when it acts; "
                "leave it out of observation_keys"
            )


def rewards_by_rule(rule: str, last: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rewards of demonstrations that all end well: with either rule their ends end the task.

    Args:
      rule: "success_at_end" pays 1 for the last step of an episode, "step_cost" -1 for every step.
      last: [N] bool, the last step of each episode.

    Returns:
      Rewards [N] float32 and terminals [N] bool.
    """
    rewards = {"success_at_end": last, "step_cost": -np.ones(len(last))}[rule]
    return rewards.astype(np.float32), last.copy()
