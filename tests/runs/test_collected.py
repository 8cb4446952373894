"""Collected steps as files that can be trained on."""

import dataclasses

import numpy as np

from edp_jax import data
from edp_jax.data.hdf5 import write_hdf5
from edp_jax.runs.collected import as_raw
from edp_jax.training.interaction import Episodes, Interaction
from edp_jax.types import TaskSpec, Units, unpack
from tests.training.toy import Drift


def test_what_is_read_back_is_what_was_collected(tmp_path):
    """The last step of an episode keeps its own next observation, at a time limit as well."""
    interaction = Interaction([Episodes(Drift(), 1)])
    rows, _ = interaction.collect(lambda o, step: 2 * np.sin(step + o[:, :2]), 0, 60)
    ones = np.ones(3, np.float32)
    units = Units(0 * ones, ones, -2 * ones[:2], 2 * ones[:2])
    spec = TaskSpec(3, 2)
    dataset = data.Dataset(rows[0], spec, None, units, data.RewardTransform(), {}, (0.0, 4.0), None)
    raw = as_raw(rows[0], dataset)
    assert raw.terminals.sum() > 0 and raw.timeouts.sum() > 1 and raw.timeouts[-1]
    ends = [each.env_step for each in interaction.finished]
    assert (1 + np.flatnonzero(raw.terminals | raw.timeouts)).tolist() == sorted({*ends, 60})
    write_hdf5(tmp_path / "steps.hdf5", raw, attributes={})
    again = data.load_dataset(str(tmp_path / "steps.hdf5"), progress=lambda line: None)
    assert again.reference_scores == (0.0, 4.0)
    steps = unpack(rows[0], spec)
    scaled = dataclasses.replace(steps, action=units.scale(steps.action))
    for name in ("observation", "action", "reward", "discount", "next_observation"):
        np.testing.assert_array_equal(getattr(again.transitions, name), getattr(scaled, name))
