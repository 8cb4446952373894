"""Where D4RL's AntMaze files do not say that an episode ends."""

import dataclasses

import numpy as np

from edp_jax.data.raw import RawDataset

_RESET_DISTANCE = 1.0  # a quarter of a cell in a step of 0.1 s, four times what an ant manages


def cut_at_resets(raw: RawDataset) -> RawDataset:
    """`raw` with a timeout wherever the next row finds the ant somewhere else (columns 0 and 1, its position).

    In the files of "v0" the stored timeouts miss the ends of many episodes (D4RL's issue 77), so that a next observation would be
    the start of another episode; in those of "v2" nothing changes.
    """
    moved = np.linalg.norm(np.diff(raw.observations[:, :2], axis=0), axis=1)
    resets = np.append(moved > _RESET_DISTANCE, False) & ~raw.terminals
    return dataclasses.replace(raw, timeouts=raw.timeouts | resets)
