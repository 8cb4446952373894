"""Evaluates the actors of an online learner and keeps them as files of behaviour policies."""

import os
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edp_jax.data.behaviour import Behaviour, save_behaviour
from edp_jax.data.recording import Act, in_box, uniform
from edp_jax.evaluation.rollout import Episodes, run_episodes

_SEED = 10_000  # of the evaluations


def evaluate(act: Act, environments: Sequence[Any], *, sampled: bool = True) -> Episodes:
    """Runs one episode in each of E environments.

    Args:
      act: a policy with actions in [-1, 1].
      environments: gymnasium's, of one kind.
      sampled: whether actions are sampled; else they are the mean's.

    Returns:
      Returns and lengths [1, E].
    """
    box, rng = environments[0].action_space, np.random.default_rng(_SEED) if sampled else None
    boxed = in_box(act, box.low, box.high)
    seeds = _SEED + np.arange(len(environments))[None]
    return run_episodes(
        lambda observation, _: boxed(observation[0], rng)[None], environments, seeds
    )


class Keeper:
    """Evaluates actors in the order of training and keeps each as <name>-step_<n>.npz.

    Of these <name>-expert.npz is a copy of the best, judged by the lower of its returns with
    sampled and with mean actions. <name>-medium.npz is a copy of the one whose return is nearest to
    a third of the way from that of random actions to the best.
    """

    def __init__(
        self,
        folder: str,
        name: str,
        environments: Sequence[Any],
        metadata: Mapping[str, str | int | float],
    ):
        """Evaluates random actions.

        Args:
          folder: where the files go; it need not be there yet.
          name: how their names begin.
          environments: gymnasium's, one per episode of an evaluation.
          metadata: kept in each file.
        """
        self._folder, self._name = folder, name
        self._environments, self._metadata = environments, metadata
        self._returns: dict[int, float] = {}  # of sampled actions, by step
        self._best = -np.inf
        random = uniform(environments[0].action_space.shape[0])
        self.random_return = float(evaluate(random, environments).returns.mean())

    def keep(self, step: int, actor: Behaviour) -> str:
        """Evaluates and keeps the actor of a training step; returns a line that tells of it."""
        measures: dict[str, float] = {}
        line = f"step {step}"
        for kind in ("sampled", "deterministic"):
            episodes = evaluate(actor.act, self._environments, sampled=kind == "sampled")
            mean, std = float(episodes.returns.mean()), float(episodes.returns.std())
            length = float(episodes.lengths.mean())
            measures[f"{kind}_return_mean"], measures[f"{kind}_return_std"] = mean, std
            measures[f"{kind}_length"] = length
            line += f"  {kind} {mean:.6g} +- {std:.3g} in {length:.0f} steps"
        path = self._path(f"step_{step}")
        save_behaviour(path, actor, {**self._metadata, "steps": step, **measures})
        self._returns[step] = measures["sampled_return_mean"]
        lower = min(measures["sampled_return_mean"], measures["deterministic_return_mean"])
        if lower > self._best:
            self._best = lower
            shutil.copyfile(path, self._path("expert"))
        third = self.random_return + (self._best - self.random_return) / 3
        medium = min(self._returns, key=lambda kept: abs(self._returns[kept] - third))
        shutil.copyfile(self._path(f"step_{medium}"), self._path("medium"))
        return line

    def _path(self, stage: str) -> str:
        return os.path.join(self._folder, f"{self._name}-{stage}.npz")
