"""A dataset as a learner sees it: read, checked, paired into transitions, rewards transformed, observations normalised."""

import dataclasses
from collections.abc import Callable

import numpy as np

from edp_jax.data import preprocess
from edp_jax.data.source import load
from edp_jax.data.tasks import Task
from edp_jax.types import Transition


@dataclasses.dataclass(frozen=True)
class Dataset:
    transitions: Transition
    observation_mean: np.ndarray  # [O] what was subtracted from the observations; 0 without normalisation
    observation_std: np.ndarray  # [O] and what they were divided by; 1 without
    info: dict  # where it came from, for config.json
    behaviour_return: float | None  # mean over the stored episodes, where evaluation pays the same rewards

    @property
    def observation_dim(self) -> int:
        return self.transitions.observation.shape[1]

    @property
    def action_dim(self) -> int:
        return self.transitions.action.shape[1]


def prepare(
    task: Task,
    data_dir: str,
    *,
    reward_transform: str,
    normalize_observations: bool,
    progress: Callable[[str], None] = print,
) -> Dataset:
    """Reads the dataset of `task` from the data folder and makes it ready for training.

    Raises:
      InputError: the file is missing or not usable, or the rewards cannot be transformed so.
    """
    raw, info = load(task, data_dir, progress)
    transitions = preprocess.to_transitions(raw)
    size = transitions.observation.shape[1]
    mean, std = np.zeros(size, np.float32), np.ones(size, np.float32)
    if normalize_observations:
        mean, std = preprocess.normalization(transitions.observation)
    transitions = transitions.replace(
        observation=(transitions.observation - mean) / std,
        next_observation=(transitions.next_observation - mean) / std,
        reward=preprocess.transform_rewards(transitions.reward, raw, reward_transform),
    )
    behaviour_return = float(preprocess.episode_returns(raw).mean()) if task.stored_returns_compare else None
    return Dataset(transitions, mean, std, info, behaviour_return)
