"""Ends of episodes that D4RL's AntMaze files do not mark."""

import dataclasses

import numpy as np

from edp_jax.data.raw import RawDataset

_RESET_DISTANCE = 1.0  # a quarter of a cell; an ant manages a quarter of that in a step of 0.1 s


def cut_at_resets(raw: RawDataset) -> RawDataset:
    """Adds a timeout wherever the next row finds the ant somewhere else.

    Columns 0 and 1 of an observation are the ant's position. The timeouts stored in the files of
    version v0 miss the ends of many episodes (D4RL's issue 77), so that the start of the next
    episode would be taken for a next observation. In those of version v2 nothing changes.
    """
    moved = np.linalg.norm(np.diff(raw.observations[:, :2], axis=0), axis=1)
    resets = np.append(moved > _RESET_DISTANCE, False) & ~raw.terminals
    return dataclasses.replace(raw, timeouts=raw.timeouts | resets)
