"""A dataset as a learner sees it: paired into transitions, actions and rewards scaled, observations normalised."""

import dataclasses

import numpy as np

from edp_jax.data import preprocess, returns
from edp_jax.data.raw import RawDataset
from edp_jax.data.storage import MEMORY, Storage, map_rows
from edp_jax.data.tasks import Task
from edp_jax.types import InputError, Transition


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """What is done to the stored numbers before training."""

    reward_transform: str = "none"  # one of preprocess.REWARD_KINDS
    reward_scale: float = 1.0  # after the transform: scale * reward + shift
    reward_shift: float = 0.0
    n_step: int = 1
    discount: float = 0.99  # of the n-step returns
    return_weighting: float = 0.0  # temperature of `returns.return_weights`; 0: all rows alike
    normalize_observations: bool = False


@dataclasses.dataclass(frozen=True)
class Dataset:
    transitions: Transition
    weights: np.ndarray | None  # [B] probability of drawing each transition; None: evenly
    observation_mean: (
        np.ndarray
    )  # [O] what was subtracted from the observations; 0 without normalisation
    observation_std: np.ndarray  # [O] and what they were divided by; 1 without
    action_low: np.ndarray  # [A] the box of the stored actions, which became [-1, 1]
    action_high: np.ndarray  # [A]
    info: dict  # where it came from, for config.json
    reference_scores: tuple[float, float] | None  # returns that count as 0 and 100
    behaviour_return: (
        float | None
    )  # mean over the stored episodes, where evaluation pays the same rewards

    @property
    def observation_dim(self) -> int:
        return self.transitions.observation.shape[1]

    @property
    def action_dim(self) -> int:
        return self.transitions.action.shape[1]

    @property
    def units(self) -> dict[str, np.ndarray]:
        """What `policy.in_dataset_units` takes."""
        return {
            name: getattr(self, name)
            for name in ("observation_mean", "observation_std", "action_low", "action_high")
        }


def prepare(
    task: Task,
    raw: RawDataset,
    info: dict,
    options: Preprocessing,
    *,
    action_box: tuple | None = None,
    environment_box: tuple | None = None,
    storage: Storage = MEMORY,
) -> Dataset:
    """Makes what `load` read ready for training, block by block; the transitions lie in `storage`.

    Actions are taken to be in `action_box`, else in the one the dataset declares, else in that of the environment, else in
    [-1, 1].

    Raises:
      InputError: actions lie outside their box, the rewards cannot be transformed so, or the reference scores give no scale.
    """
    declared = None if raw.action_low is None else (raw.action_low, raw.action_high)
    low, high = preprocess.action_box(raw, action_box, declared, environment_box)
    transitions = preprocess.to_transitions(raw, storage)
    size = transitions.observation.shape[1]
    mean, std = np.zeros(size, np.float32), np.ones(size, np.float32)
    if options.normalize_observations:
        mean, std = preprocess.normalization(transitions.observation)
        for leaf in (transitions.observation, transitions.next_observation):
            map_rows(lambda observations: (observations - mean) / std, leaf, out=leaf)
    map_rows(
        lambda actions: preprocess.scale_actions(actions, low, high),
        transitions.action,
        out=transitions.action,
    )
    rewards = preprocess.transform_rewards(transitions.reward, raw, options.reward_transform)
    transitions.reward[:] = options.reward_scale * rewards + options.reward_shift
    episode, episode_returns = (
        preprocess.episode_numbers(raw)[preprocess.usable_rows(raw)],
        preprocess.episode_returns(raw),
    )
    reward, discount, last = returns.n_step_returns(
        transitions, episode, options.n_step, options.discount
    )
    transitions.reward[:], transitions.discount[:] = reward, discount
    following = transitions.next_observation
    map_rows(
        lambda rows: following[rows], last, out=following
    )  # last >= its own row: none is needed that is overwritten already
    weights = None
    if options.return_weighting:
        weights = returns.return_weights(episode_returns, episode, options.return_weighting)
    behaviour_return = float(episode_returns.mean()) if task.stored_returns_compare else None
    scores = _reference_scores(task, raw)
    info = info | {
        "action_low": low.tolist(),
        "action_high": high.tolist(),
        "reference_scores": scores,
    }
    return Dataset(transitions, weights, mean, std, low, high, info, scores, behaviour_return)


def _reference_scores(task: Task, raw: RawDataset) -> tuple[float, float] | None:
    scores = raw.reference_scores if task.reference_scores is None else task.reference_scores
    if scores is None:
        return None
    low, high = map(float, scores)
    if not (np.isfinite([low, high]).all() and low < high):
        raise InputError(
            f"reference scores ({low}, {high}): not a scale; set --config.reference_scores='(min,max)', min < max"
        )
    return low, high
