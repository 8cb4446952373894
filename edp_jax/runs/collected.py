"""The steps that the members of an online run have collected, as files of D4RL's layout."""

import json
import os

import numpy as np

from edp_jax.data import Dataset
from edp_jax.data.hdf5 import write_hdf5
from edp_jax.data.raw import RawDataset
from edp_jax.errors import one_line
from edp_jax.training.online import Online
from edp_jax.training.trainer import Trainer
from edp_jax.types import InputError, unpack

_FOLDER = "collected"


def is_there(workdir: str) -> bool:
    """Whether a run has written what it collected."""
    return os.path.isdir(os.path.join(workdir, _FOLDER))


def write(workdir: str, trainer: Trainer, dataset: Dataset, online: Online) -> list[str]:
    """Writes DIR/collected/MEMBER.hdf5 of every member that has collected at least two steps.

    Args:
      workdir: DIR.
      trainer: of the run.
      dataset: of the run, whose units, box and reference scores the steps have.
      online: has the steps, the newest ones that it can draw.

    Returns:
      The files, which `edp_jax.load_dataset` reads.

    Raises:
      InputError: one cannot be written.
    """
    written = []
    for index, member in enumerate(trainer.members):
        rows = online.steps_of(index)
        if len(rows) < 2:
            continue
        path = os.path.join(workdir, _FOLDER, f"{member.name}.hdf5")
        recipe = {"data": dataset.info["name"]} | member.columns
        try:
            write_hdf5(path, as_raw(rows, dataset), attributes={"recipe": json.dumps(recipe)})
        except OSError as error:
            raise InputError(
                f"{path}: cannot be written ({one_line(error)[:80]}); see to it that there is room"
            ) from error
        written.append(path)
    return written


def as_raw(rows: np.ndarray, dataset: Dataset) -> RawDataset:
    """Packed rows [n, D] in the units of the data, in the order in which they were collected.

    An episode was cut where a row does not begin where the one before it led.
    """
    steps = unpack(rows, dataset.spec)
    observations, following = np.asarray(steps.observation), np.asarray(steps.next_observation)
    terminals = np.asarray(steps.discount) == 0
    follows = (observations[1:] == following[:-1]).all(axis=1)
    scores = dataset.reference_scores
    return RawDataset(
        observations=observations,
        actions=np.asarray(steps.action),
        rewards=np.asarray(steps.reward),
        terminals=terminals,
        timeouts=~np.append(follows, False) & ~terminals,
        next_observations=following,
        action_low=np.asarray(dataset.units.action_low),
        action_high=np.asarray(dataset.units.action_high),
        reference_scores=None if scores is None else np.array(scores),
    )
