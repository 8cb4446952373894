"""Beginning a run where another one has come to."""

import dataclasses
from collections.abc import Callable

import jax
import numpy as np

from edp_jax import configuration
from edp_jax.algorithms import AgentState
from edp_jax.configuration import Settings, build, groups
from edp_jax.data import Dataset
from edp_jax.runs.reader import Run
from edp_jax.settings import describe
from edp_jax.training import hosts, sharding
from edp_jax.training.members import Member
from edp_jax.types import InputError

_OF_THE_NEW_RUN = {"lr_decay_steps", "action_low", "action_high"} | {
    entry.name
    for group in (groups.Run, groups.Online, groups.Processes)
    for entry in describe(group)
}


def begin_from(
    settings: Settings, dataset: Dataset
) -> tuple[Callable[[AgentState], AgentState], int]:
    """Reads the newest checkpoint of the run that `init_from` names. Collective.

    Each member takes over networks, averages and optimisers of the member with its seed. Updates
    are counted on from there.

    Args:
      settings: of the new run.
      dataset: of the new run.

    Returns:
      A function that puts them into untrained states [R], and the number of updates done.

    Raises:
      InputError: there is no such run or checkpoint, or it does not fit.
    """
    folder = settings.online.init_from
    asked, run = f"config.init_from={folder}", Run(folder)
    _compare(asked, run, settings, dataset)
    members = build.make_members(settings)
    chosen = [_find(asked, run, member) for member in members]
    step = run.find_checkpoint()
    if step > settings.run.num_steps:
        raise InputError(
            f"{asked}: {step} updates are done there, more than num_steps="
            f"{settings.run.num_steps}; set --config.num_steps={step} to go online at once"
        )
    state = run.state(build.make_algorithm(configuration.resolve(run.config), dataset), step)
    networks, diverged = hosts.fetch(state.networks), hosts.fetch(state.diverged)
    if (diverged[chosen] >= 0).all():
        raise InputError(f"{asked}: the members of that run have diverged; name another one")
    print(f"begins where {run.title} is after {step:,} updates, in {folder}", flush=True)
    if run.config.get("online_steps"):
        print("without the steps that it has collected; they can be data: online_data", flush=True)

    def begin(untrained: AgentState) -> AgentState:
        taken = jax.tree.map(lambda leaf: leaf[chosen], (networks, diverged))
        steps = np.full(len(chosen), step, np.int32)
        layout = sharding.over_members(sharding.member_mesh(len(chosen)))
        put = sharding.put((steps, *taken), layout)
        return dataclasses.replace(untrained, step=put[0], networks=put[1], diverged=put[2])

    return begin, step


def _compare(asked: str, run: Run, settings: Settings, dataset: Dataset) -> None:
    """Refuses another learner, other data, and settings of which networks or numbers are others."""
    before, now = configuration.resolve(run.config).config, settings.config
    known = configuration.all_settings(settings.algorithm)
    free = {name for name, entry in known.items() if entry.traced or entry.may_change}
    if now.get("reward_transform") == "unit_return":
        free -= {"discount"}  # it decides by what the rewards are divided
    for key in ["algorithm", *sorted(known.keys() - free - _OF_THE_NEW_RUN)]:
        if before.get(key) != now[key]:
            raise InputError(
                f"{asked}: that run has {key}={before.get(key)!r:.60}, not {now[key]!r:.60}; "
                "use that here, or name another run"
            )
    if run.dataset["sha256"] != dataset.info["sha256"]:
        raise InputError(
            f"{asked}: its dataset was another file than {settings.task.name} is now; name a run "
            "on the same data, whose units the networks know"
        )
    for side in ("action_low", "action_high"):  # an environment may have brought another box
        there, here = run.dataset.get(side, dataset.info[side]), dataset.info[side]
        if there != here:
            raise InputError(
                f"{asked}: its actions lay in another box, {side}={there!r:.60}, not {here!r:.60}; "
                "set --config.action_low and --config.action_high as in its config.json"
            )


def _find(asked: str, run: Run, member: Member) -> int:
    """Which member of a run has the same seed, and the same point if the run has a sweep."""
    for index, other in enumerate(run.members):
        if other.seed == member.seed and other.point in ((), member.point):
            return index
    there = "; ".join(map(str, run.members))
    raise InputError(f"{asked}: has no member {member}, only {there:.100}; choose among these")
