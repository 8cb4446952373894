"""A dataset as a learner sees it: packed transitions, and how their numbers came about."""

import dataclasses
from typing import Any

import chex
import numpy as np

from edp_jax.data import boxes, preprocess, returns, rewards
from edp_jax.data.raw import RawDataset
from edp_jax.data.reader import Progress
from edp_jax.data.rewards import REWARD_KINDS, RewardTransform
from edp_jax.data.storage import MEMORY, Storage, map_rows
from edp_jax.settings import setting
from edp_jax.tasks import Task
from edp_jax.types import InputError, TaskSpec, Transition, Units, unpack


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """What is done to the stored numbers before training."""

    reward_transform: str = setting(
        "none", "how stored rewards become those to learn from", one_of=REWARD_KINDS
    )
    reward_scale: float = setting(1.0, "factor of the transformed rewards")
    reward_shift: float = setting(0.0, "added to the scaled rewards")
    n_step: int = setting(1, "steps that the reward of a transition sums up", at_least=1)
    horizon: int = setting(
        1, "actions of a chunk, which the policy chooses together (docs/chunks.md)", at_least=1
    )
    return_weighting: float = setting(
        0.0,
        "temperature of drawing transitions by the return of their episode, 0: all are drawn alike",
        at_least=0,
    )
    normalize_observations: bool = setting(
        False, "whether observations get mean 0 and standard deviation 1 in each column"
    )
    keep_small: bool = setting(
        False,
        "whether normalising leaves small columns small: none is divided by less than the median "
        "deviation of the columns that last from step to step",
        read_with={"normalize_observations": (True,)},
    )
    discount: float = 0.99  # the learner's, per step; for sums of rewards and for unit_return
    holdout: float = 0.0  # the learner's share of the episodes that values are not learned from

    def __post_init__(self) -> None:
        if self.n_step > 1 and self.horizon > 1:
            raise InputError(
                f"n_step={self.n_step}: with horizon={self.horizon} the rewards of a chunk are "
                "summed up already; leave n_step at 1"
            )

    @property
    def window(self) -> int:
        """Steps whose rewards a transition sums up."""
        return max(self.n_step, self.horizon)


@dataclasses.dataclass(frozen=True)
class Dataset:
    """N transitions ready for training, and how their numbers came from the stored ones."""

    rows: np.ndarray  # [N, D] float32, packed transitions: see `edp_jax.types.pack`
    spec: TaskSpec
    weights: np.ndarray | None  # [N] probability of drawing each transition; None: all alike
    units: Units
    reward_transform: RewardTransform
    info: dict  # where it came from, for config.json
    reference_scores: tuple[float, float] | None  # returns that count as 0 and 100
    behaviour_return: float | None  # mean of the stored episodes, where evaluation pays the same

    def __post_init__(self) -> None:
        chex.assert_shape(self.rows, (None, self.spec.row_width))
        if self.weights is not None:
            chex.assert_shape(self.weights, (self.size,))

    @property
    def transitions(self) -> Transition:
        """The parts of all transitions, leaves [N, ...]: views of `rows`."""
        return unpack(self.rows, self.spec)

    @property
    def size(self) -> int:
        return len(self.rows)

    @property
    def observation_dim(self) -> int:
        return self.spec.observation_dim

    @property
    def action_dim(self) -> int:
        return self.spec.action_dim


def prepare(
    task: Task,
    raw: RawDataset,
    info: dict,
    options: Preprocessing,
    *,
    action_box: tuple | None = None,
    recorded_box: tuple | None = None,
    environment_box: tuple | None = None,
    progress: Progress = print,
    storage: Storage = MEMORY,
) -> Dataset:
    """Makes what `load` read ready for training, block by block.

    Args:
      task: where the dataset is from.
      raw: its steps.
      info: what `load` says of it.
      options: what is done to the numbers.
      action_box: low and high of the stored actions, each a number or one per column. None: the box
        that the dataset declares, else the recorded one, else that of the environment, else
        [-1, 1].
      recorded_box: low and high that the run began with, where it goes on or is evaluated: the
        environment may be another one now.
      environment_box: low and high of the environment's actions, where there is one.
      progress: takes the lines that say which box was taken, and what looks wrong with it.
      storage: where the rows lie.

    Raises:
      InputError: actions lie outside their box, the rewards cannot be transformed so, the reference
        scores give no scale, or no episode is as long as `horizon`.
    """
    episode = preprocess.episodes_of_rows(raw)
    longest = int(np.bincount(episode).max(initial=0))
    _check_episodes(raw, options, longest)
    declared = None if raw.action_low is None else (raw.action_low, raw.action_high)
    box = boxes.find(
        raw,
        given=action_box,
        declared=declared,
        recorded=recorded_box,
        environment=environment_box,
    )
    low, high = box.low, box.high
    for line in box.lines:
        progress(f"  {line}")
    held_out = preprocess.held_out(episode, options.holdout) if raw.whole_episodes else None
    if options.holdout and held_out is None:
        progress(
            f"  holdout={options.holdout:g}: too few whole episodes to hold any out, the policy "
            "only imitates, and acts by one sample"
        )
    elif held_out is not None:
        progress(f"  holdout: the critics do not learn from {held_out.mean():.1%} of the rows")
    spec = TaskSpec(
        raw.observation_dim, raw.action_dim, options.horizon, marks_held_out=held_out is not None
    )
    rows = preprocess.to_rows(raw, spec, storage)
    parts: Any = unpack(rows, spec)
    if held_out is not None:
        parts.held_out[:] = held_out
    columns = spec.observation_dim
    units = Units(np.zeros(columns, np.float32), np.ones(columns, np.float32), low, high)
    if options.normalize_observations:
        mean, std = preprocess.normalization(parts.observation)
        if options.keep_small:
            lasting = preprocess.lasting_columns(
                parts.observation, parts.next_observation, parts.discount > 0
            )
            std = preprocess.at_least_typical(std, lasting)
        units = Units(mean, std, low, high)
        for observations in (parts.observation, parts.next_observation):
            map_rows(units.normalize, observations, out=observations)
    single_action = parts.action[:, : spec.action_dim]
    map_rows(units.scale, single_action, out=single_action)

    episode_returns = preprocess.episode_returns(raw)
    transform = rewards.fit(
        options.reward_transform, parts.reward, episode_returns, episode, options.discount
    )
    transform = transform.then(options.reward_scale, options.reward_shift)
    with np.errstate(over="ignore", invalid="ignore"):  # what is too large is refused below
        parts.reward[:] = transform.apply(parts.reward)
        parts.reward[:], parts.discount[:], last = returns.n_step_returns(
            parts.reward, parts.discount, episode, min(options.window, longest), options.discount
        )
    if not np.isfinite(parts.reward).all():
        raise InputError(
            f"rewards, {transform.scale:.6g} times those stored plus {transform.shift:.6g}, are "
            "too large for float32; choose a smaller reward_scale or another reward_transform"
        )
    # A window ends at its own row or at a later one, so no row is read after it was written.
    following = parts.next_observation
    map_rows(lambda index: following[index], last, out=following)
    if spec.horizon > 1:
        returns.fill_chunks(parts.action, parts.valid, last)
        progress(f"  {_describe_chunks(parts.valid, parts.discount)}")

    comparable = task.stored_returns_compare and raw.whole_episodes and raw.has_rewards
    weights = None
    if options.return_weighting:
        weights = returns.return_weights(episode_returns, episode, options.return_weighting)
    scores = _reference_scores(task, raw)
    found: dict[str, Any] = {
        "action_box": list(box.lines),
        "action_low": low.tolist(),
        "action_high": high.tolist(),
        "reference_scores": scores,
    }
    return Dataset(
        rows=rows,
        spec=spec,
        weights=weights,
        units=units,
        reward_transform=transform,
        info=info | found,
        reference_scores=scores,
        behaviour_return=float(episode_returns.mean()) if comparable else None,
    )


def _check_episodes(raw: RawDataset, options: Preprocessing, longest: int) -> None:
    """Refuses what needs episodes that the dataset does not have.

    Raises:
      InputError: returns of episodes are asked for and none is whole, or more steps together
        than follow each other: `longest` transitions at most.
    """
    asked = ""
    if not raw.whole_episodes and options.return_weighting:
        asked = f"return_weighting={options.return_weighting}"
    elif not raw.whole_episodes and options.reward_transform == "iql_locomotion":
        asked = "reward_transform='iql_locomotion'"
    if asked:
        raise InputError(
            f"{asked}: needs returns of whole episodes, and the rows of this dataset are shuffled, "
            "or its episodes divided; leave it out, or store whole episodes in order"
        )
    if options.n_step > 1 and preprocess.episode_ends(raw).all():
        raise InputError(
            f"n_step={options.n_step}: no step of this dataset follows another; leave it out, or "
            "store whole episodes in order"
        )
    if 0 < longest < options.horizon:
        raise InputError(
            f"horizon={options.horizon}: the longest run of transitions that follow each other in "
            f"this dataset is {longest}; set horizon to at most that"
        )


def _describe_chunks(valid: np.ndarray, discount: np.ndarray) -> str:
    cut = valid[:, -1] == 0
    return (
        f"chunks of {valid.shape[1]} actions: {cut.sum():,} of {len(cut):,} reach behind the end "
        f"of their episode, {(cut & (discount > 0)).sum():,} of these behind a cut (docs/chunks.md)"
    )


def _reference_scores(task: Task, raw: RawDataset) -> tuple[float, float] | None:
    scores = raw.reference_scores if task.reference_scores is None else task.reference_scores
    if scores is None:
        return None
    low, high = map(float, scores)
    if not (np.isfinite([low, high]).all() and low < high):
        raise InputError(
            f"reference scores ({low}, {high}): not a scale; "
            "store two numbers, or set --config.reference_scores='(min,max)' of a run"
        )
    return low, high
