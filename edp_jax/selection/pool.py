"""The policies that are compared: members of runs, after some updates, acting in some way."""

import dataclasses
import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from edp_jax import configuration, data
from edp_jax.algorithms.groups import ACTING
from edp_jax.configuration.groups import Online
from edp_jax.runs import Run
from edp_jax.selection.episodes import split
from edp_jax.settings import describe
from edp_jax.training.members import Member
from edp_jax.types import InputError, Transition, Units

ALL = "all"  # checkpoints that are kept


class Recorded(NamedTuple):
    """The data that all policies are judged by: N single steps."""

    transitions: Transition  # observations and rewards as stored, actions in [-1, 1]
    episode: np.ndarray  # [N] of each step
    units: Units  # of the actions' box, and of observations of about unit size

    def normalized(self, rows: np.ndarray) -> Transition:
        """The transitions of rows [N], with observations of about unit size."""
        of = jax.tree.map(lambda leaf: leaf[rows], self.transitions)
        return dataclasses.replace(
            of,
            observation=self.units.normalize(of.observation),
            next_observation=self.units.normalize(of.next_observation),
        )


@dataclasses.dataclass(frozen=True, eq=False)
class Source:
    """A run, and the same data in the units of its learner."""

    run: Run
    settings: configuration.Settings
    dataset: data.Dataset

    @property
    def folder(self) -> str:
        return str(self.run.workdir)


@dataclasses.dataclass(frozen=True, eq=False)
class Contender:
    """One policy."""

    source: Source
    step: int  # updates done
    index: int  # of the member
    way: Any  # the settings of its learner, which say how it acts

    @property
    def member(self) -> Member:
        return self.source.run.members[self.index]

    @property
    def acting(self) -> dict[str, Any]:
        return acting_of(self.way)

    @property
    def columns(self) -> dict[str, Any]:
        """The columns of a table that tell it from other policies."""
        settings = self.source.settings
        about = {"workdir": self.source.folder, "algorithm": settings.algorithm, "step": self.step}
        return about | self.member.columns | self.acting


def acting_of(way: Any) -> dict[str, Any]:
    """The settings of a learner that say how its policies act; "-" for those it does not have."""
    return {name: getattr(way, name, "-") for name in ACTING}


def names(contenders: Sequence[Contender]) -> list[str]:
    """What each policy is called in a line: its run, its updates, and what it alone has of them."""
    folders = sorted({contender.source.folder for contender in contenders})
    parent = os.path.commonpath([os.path.dirname(folder) for folder in folders])
    rows = [contender.member.columns | contender.acting for contender in contenders]

    def name(contender: Contender, row: dict[str, Any]) -> str:
        own = [r for c, r in zip(contenders, rows, strict=True) if c.source is contender.source]
        told = [f"{key} {value}" for key, value in row.items() if any(r[key] != value for r in own)]
        run = os.path.relpath(contender.source.folder, parent)
        return ", ".join([f"{run} at {contender.step:,}", *told])

    return [name(*pair) for pair in zip(contenders, rows, strict=True)]


def steps_of(run: Run, which: str) -> list[int]:
    """The checkpoints of a run that are compared: ALL, or one, see `Run.find_checkpoint`.

    Raises:
      InputError: it has no such checkpoint, or none at all.
    """
    newest = run.find_checkpoint("last" if which == ALL else which)
    return run.checkpoint_steps if which == ALL else [newest]


def open_runs(
    workdirs: Sequence[str], tell: Callable[[str], None], asked: str = "--runs"
) -> tuple[Recorded, list[Source]]:
    """Opens runs that were trained on one and the same dataset, and reads that.

    No environment is made: how actions and observations were scaled is in the runs.

    Args:
      workdirs: folders of runs.
      tell: takes lines about how long reading takes.
      asked: what errors begin with: what the user gave to have these runs opened.

    Raises:
      InputError: a folder holds no run; they have different datasets; or the data have changed, or
        have no rewards or no whole episodes.
    """
    runs = [Run(workdir) for workdir in workdirs]
    found = [settings_of(run) for run in runs]
    first, task, layout = runs[0], found[0].task, found[0].layout
    for run, settings in zip(runs, found, strict=True):
        if run.dataset["sha256"] != first.dataset["sha256"] or settings.layout != layout:
            raise InputError(
                f"{asked}: {_short(first.workdir)} and {_short(run.workdir)} have different data "
                f"({_short(task.name)}, {_short(settings.task.name)}), or read them in different "
                "ways; compare runs of one dataset"
            )
    storage = data.storage_near(os.fspath(first.workdir))
    raw, info = data.load(task, found[0].data_dir, tell, storage, layout)
    if info["sha256"] != first.dataset["sha256"]:
        raise InputError(
            f"{asked}: {_short(first.workdir)}: its dataset {_short(task.name)} has changed since; "
            "restore it"
        )
    check(asked, task.name, raw)

    def prepare(options: data.Preprocessing, box: tuple | None) -> data.Dataset:
        quiet = {"progress": lambda line: None, "storage": storage}
        return data.prepare(task, raw, info, options, action_box=box, **quiet)

    plain, box = data.Preprocessing(), found[0].action_box
    normalized = dataclasses.replace(plain, normalize_observations=True, keep_small=True)
    recorded = Recorded(
        prepare(plain, box).transitions,
        data.episodes_of_rows(raw),
        prepare(normalized, box).units,
    )
    kinds = {
        key: prepare(*key) for key in {(each.preprocessing, each.action_box) for each in found}
    }
    sources = [
        Source(run, settings, kinds[settings.preprocessing, settings.action_box])
        for run, settings in zip(runs, found, strict=True)
    ]
    return recorded, sources


def check(asked: str, name: str, raw: data.RawDataset) -> None:
    """Checks that policies can be judged by the steps of a dataset.

    Args:
      asked: what errors begin with.
      name: of the dataset.
      raw: its steps.

    Raises:
      InputError: they have no rewards, no whole episodes, or too few of them.
    """
    if not raw.has_rewards or not raw.rewards.any():
        raise InputError(
            f"{asked}: {_short(name)} has no rewards, so nothing tells a good policy from "
            "another; give it rewards (docs/own-data.md)"
        )
    if not raw.whole_episodes:
        raise InputError(
            f"{asked}: the rows of {_short(name)} are shuffled or its episodes divided, so "
            "that no start of an episode is known; store whole episodes in order"
        )
    split(data.episodes_of_rows(raw), np.random.default_rng(0))


def settings_of(run: Run) -> configuration.Settings:
    """The settings of a run, with the box of its actions as it is recorded.

    They name no environment, so of an online run they are those of an offline one.
    """
    box = {name: tuple(run.dataset.get(name, ())) for name in ("action_low", "action_high")}
    offline = {entry.name: entry.default for entry in describe(Online)}
    offline |= {"num_steps": max(1, run.config["num_steps"])}
    return configuration.resolve(
        run.config | box | offline | {"env_id": "none", "env_kwargs": "{}"}
    )


def _short(name: str | os.PathLike[str]) -> str:
    text = os.fspath(name)
    return text if len(text) <= 40 else f"...{text[-40:]}"
