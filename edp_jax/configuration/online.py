"""What an online phase needs of the other settings."""

from collections.abc import Mapping
from typing import Any

from edp_jax import algorithms
from edp_jax.algorithms.base import MOST_AHEAD
from edp_jax.configuration import groups
from edp_jax.configuration.make import all_settings
from edp_jax.settings import check
from edp_jax.training.rounds import LEAST_STEPS, Rounds, plan
from edp_jax.types import EnvSpec, InputError

_NEEDED = {  # settings of the data that collected steps could not follow
    "n_step": (1, "steps are learned from one by one as they come"),
    "horizon": (1, "steps are learned from one by one as they come"),
    "return_weighting": (0, "an episode in progress has no return yet"),
    "distributed": (False, "the environments of all seeds step in one process"),
}
MOST_UPDATES = 2**31 - 1  # of a run: they are counted in int32
_EXPLORING = {"online_starting_noise": "starting_noise", "online_candidates": "num_candidates"}


def plan_online(
    config: Mapping[str, Any],
    online: groups.Online,
    environment: EnvSpec | None,
    draws_ahead: int,
) -> Rounds | None:
    """The rounds of the online phase; None where there is none.

    Args:
      config: all settings.
      online: of these, those of the phase.
      environment: where the members act; None where there is none.
      draws_ahead: of the learner.

    Raises:
      InputError: there cannot be such a phase, or the run would have no update at all.
    """
    if not online.online_steps:
        if not config["num_steps"]:
            raise InputError(
                "config.num_steps=0 must be at least 1 where nothing is learned online: set it so, "
                "or set --config.online_steps"
            )
        return None
    asked, name = f"config.online_steps={online.online_steps}", config["algorithm"]
    if environment is None:
        raise InputError(
            f"{asked}: {config['task']:.100} has no environment to act in; name one with "
            "--config.env_id"
        )
    if "discount" not in config:
        raise InputError(
            f"{asked}: {name} imitates its data and learns nothing from rewards, so it would only "
            "imitate itself; train a learner with critics, such as edp or edp_td3"
        )
    if name in algorithms.STUDENTS:
        raise InputError(
            f"{asked}: {name} imitates a teacher that stands still; train the teacher online"
        )
    for key, (value, reason) in _NEEDED.items():
        if config.get(key, value) != value:
            raise InputError(f"{asked} needs {key}={value}: {reason}; set --config.{key}={value}")
    if online.online_warmup >= online.online_steps:
        raise InputError(
            f"config.online_warmup={online.online_warmup} must be below online_steps="
            f"{online.online_steps}: else nothing is learned from them; set it so"
        )
    if online.online_share == 1 and not online.online_warmup:
        raise InputError(
            "config.online_warmup=0: with online_share=1 the first updates would have nothing to "
            "draw; set --config.online_warmup to at least 1"
        )
    least = max(online.online_warmup, LEAST_STEPS + MOST_AHEAD)
    if 0 < online.online_capacity < least:
        raise InputError(
            f"config.online_capacity={online.online_capacity} must be at least {least}, so that "
            "the warm-up and a round fit; set it so, or to 0"
        )
    explorer_settings(config, online)
    rounds = plan(
        config["num_steps"],
        online.online_steps,
        online.online_warmup,
        online.updates_per_step,
        draws_ahead,
    )
    if rounds.end > MOST_UPDATES:
        raise InputError(
            f"{asked}: with updates_per_step={online.updates_per_step} the run has {rounds.end} "
            f"updates, more than can be counted ({MOST_UPDATES}); lower one of them"
        )
    return rounds


def explorer_settings(config: Mapping[str, Any], online: groups.Online) -> dict[str, Any]:
    """The settings of the learner that are others while it collects.

    Raises:
      InputError: the learner does not have them, or not with these values.
    """
    defaults, wanted = groups.Online(), {}
    for own, name in _EXPLORING.items():
        value = getattr(online, own)
        if value != getattr(defaults, own):
            if name not in config:
                raise InputError(
                    f"config.{own}={value}: {config['algorithm']} has no {name}; leave it out, or "
                    "explore with --config.online_noise"
                )
            check(all_settings(config["algorithm"])[name], value, f"config.{own}")
            wanted[name] = value
    return wanted
