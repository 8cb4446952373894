"""Measures whether critics that disagree are wrong: draws their error against their disagreement.

python -m experiments.calibration --workdir=runs/first --out=calibration.png

Plays episodes with a run's policy, and compares the critics' mean value of each action with the
discounted return that followed. Steps are sorted by disagreement into bins of equal size. Steps so
soon before a time limit that much of their return is not known are left out.
"""

import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import flags

from edp_jax import InputError, configuration, data, stepping
from edp_jax.algorithms.base import evaluation_key
from edp_jax.confidence import Judged, find_critics, judged_in_dataset_units
from edp_jax.configuration import build
from edp_jax.devices import check_devices_exist
from edp_jax.evaluation import envs
from edp_jax.files import check_writable
from edp_jax.runs import Run, plots
from edp_jax.selection import judge
from edp_jax.training import process
from edp_jax.training.evaluator import episode_seeds

from . import launch

NUM_BINS = 10
_LEFT = 0.05  # of a reward at the time limit, discounted: what comes later counts as known


class Steps(NamedTuple):
    """Steps of episodes, N of them."""

    value: np.ndarray  # [N] mean of the critics
    disagreement: np.ndarray  # [N] their standard deviation
    followed: np.ndarray  # [N] discounted return from this step on


class Bin(NamedTuple):
    """Steps with similar disagreement."""

    disagreement: float  # mean
    error: float  # mean of |value - return|
    low: float  # a quarter of the errors are below
    high: float  # a quarter are above


def define_flags() -> None:
    flags.DEFINE_string("workdir", None, "Folder of the run.")
    flags.DEFINE_string("step", "last", "Checkpoint: last, best, or a number of updates.")
    flags.DEFINE_integer("eval_episodes", 20, "Episodes.", lower_bound=1)
    flags.DEFINE_string("out", "", "Path of the picture; by default WORKDIR/calibration.png.")


def main(_: Sequence[str]) -> None:
    values = flags.FLAGS
    check_devices_exist()
    workdir = os.path.abspath(os.path.expanduser(values.workdir))
    out = os.path.expanduser(values.out) or os.path.join(workdir, "calibration.png")
    run = Run(workdir)
    step = run.find_checkpoint(values.step)
    check_writable(out)
    steps = measure(run, step, values.eval_episodes)
    bins = make_bins(steps)
    print("disagreement  error of Q, mean (quarter to three quarters)")
    for each in bins:
        print(f"{each.disagreement:12.3g}  {each.error:.3g} ({each.low:.3g} to {each.high:.3g})")
    print(f"{len(steps.value):,} steps, rank correlation {rank_correlation(steps):.2f}")
    plots.write(draw(run.title, bins), out)
    print(f"picture: {out}", flush=True)


def measure(run: Run, step: int, num_episodes: int) -> Steps:
    """Plays episodes with the policy of a run's first member that has not diverged.

    Raises:
      InputError: it has no environment, or its policy no critics.
    """
    settings = configuration.resolve(run.config)
    if settings.environment is None:
        raise InputError(f"--workdir={run.workdir}: this run has no environment to act in")
    process.set_precision(settings.run.matmul_precision)
    dataset = build.load_dataset(settings, str(run.workdir), lambda line: None, run.dataset)
    algorithm = build.make_algorithm(settings, dataset)
    state = run.state(algorithm, step)
    living = np.flatnonzero(np.asarray(state.diverged) < 0)
    if not living.size:
        raise InputError(f"--workdir={run.workdir}: all its members have diverged; train anew")
    own = jax.tree.map(lambda leaf: leaf[living[0]], state)
    params, key = algorithm.policy_params(own), evaluation_key(own)
    critics = find_critics(algorithm.settings, dataset.spec, params)
    judge = jax.jit(
        judged_in_dataset_units(algorithm.act, critics, dataset.units, settings.execute)
    )
    seeds = episode_seeds((run.members[living[0]].seed,), step, num_episodes)[0]
    environments = envs.make(settings.environment, num_episodes)
    discount = dict(run.members[living[0]].point).get("discount", settings.learner.discount)
    return play(
        lambda observation, call: judge(params, observation, jax.random.fold_in(key, call)),
        environments,
        seeds.tolist(),
        dataset,
        discount,
        adds_up=settings.task.stored_rewards_add_up,
    )


def play(
    judge: Callable[[np.ndarray, int], Judged],
    environments: Sequence[Any],
    seeds: Sequence[int],
    dataset: data.Dataset,
    discount: float,
    *,
    adds_up: bool,
) -> Steps:
    """Plays one episode per environment.

    Args:
      judge: (observations [E, O], number of the call) -> actions [E, A] and what critics say.
      environments: E of them.
      seeds: of their episodes.
      dataset: whose rewards the critics learned.
      discount: their gamma.
      adds_up: `Task.stored_rewards_add_up`.
    """
    judged: list[Judged] = []
    taken: list[stepping.Step] = []
    chosen_at: list[int] = []  # a chunk is chosen, and judged, once for all its steps

    def act(observation: np.ndarray) -> np.ndarray:
        judged.append(jax.device_get(judge(observation, len(judged))))
        chosen_at.append(len(taken))
        return np.asarray(judged[-1].action)

    for step in stepping.run(environments, act, seeds, restart=False):
        taken.append(step)
    value, disagreement = (
        np.stack([getattr(each, name) for each in judged]) for name in Judged._fields[1:]
    )
    stepped, ended = (
        np.stack([getattr(each, name) for each in taken]) for name in ("stepped", "terminated")
    )
    reward = np.stack([each.reward for each in taken])
    if adds_up:
        reward = np.cumsum(reward, axis=0)
    reward = np.where(stepped, dataset.reward_transform.apply(reward), 0.0)
    followed = discounted(reward, discount)[chosen_at]
    known = stepped & (ended.any(axis=0) | (steps_left(stepped) >= tail(discount)))
    known = known[chosen_at]
    return Steps(value[known], disagreement[known], followed[known])


def discounted(reward: np.ndarray, discount: float) -> np.ndarray:
    """Discounted returns [T, E] from every step of rewards [T, E]."""
    total, totals = np.zeros(reward.shape[1]), np.zeros(reward.shape)
    for t in reversed(range(len(reward))):
        totals[t] = total = reward[t] + discount * total
    return totals


def steps_left(stepped: np.ndarray) -> np.ndarray:
    """How many steps [T, E] of an episode follow, itself included, of `stepped` [T, E]."""
    return np.cumsum(stepped[::-1], axis=0)[::-1]


def tail(discount: float) -> float:
    """After how many steps a reward is discounted to 5 %."""
    return float(np.log(_LEFT) / np.log(discount)) if 0 < discount < 1 else float("inf")


def make_bins(steps: Steps, num_bins: int = NUM_BINS) -> list[Bin]:
    """Sorts steps by disagreement into bins of equal size."""
    if len(steps.value) < num_bins:
        raise InputError(
            f"only {len(steps.value)} steps have a known return; give more --eval_episodes"
        )
    order = np.argsort(steps.disagreement)
    error = np.abs(steps.value - steps.followed)
    return [
        Bin(
            float(steps.disagreement[part].mean()),
            float(error[part].mean()),
            *np.quantile(error[part], (0.25, 0.75)).tolist(),
        )
        for part in np.array_split(order, num_bins)
    ]


def rank_correlation(steps: Steps) -> float:
    """Spearman's correlation of disagreement and error."""
    return judge.rank_correlation(steps.disagreement, np.abs(steps.value - steps.followed))


def draw(title: str, bins: Sequence[Bin]) -> Any:
    """A figure of the bins: mean error against mean disagreement, with half of all errors."""
    figure = plots.figure_class("calibration.png")(
        figsize=(4.8, 3.2), dpi=110, layout="constrained"
    )
    axes = figure.subplots()
    disagreement, error, low, high = np.array(bins).T
    axes.fill_between(disagreement, low, high, alpha=0.2, linewidth=0, label="half of the steps")
    axes.plot(disagreement, error, marker="o", markersize=3.5, label="mean")
    axes.set_xlabel("Disagreement of the critics")
    axes.set_ylabel("|Q - return that followed|")
    axes.set_title(title, loc="left", fontsize=10, fontweight="bold")
    axes.legend(frameon=False, fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


if __name__ == "__main__":
    define_flags()
    launch.run(main, required=("workdir",))
