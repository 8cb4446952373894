"""Evaluates the actors of an online learner and keeps them as files of behaviour policies."""

import os
import shutil
from collections.abc import Sequence
from typing import Any

import numpy as np

from edp_jax.data.behaviour import Behaviour, save_behaviour
from edp_jax.data.recording import Act, in_box, uniform
from edp_jax.evaluation.rollout import Episodes, run_episodes

_SEED = 10_000  # of the evaluations


def evaluate(act: Act, environments: Sequence[Any], *, sampled: bool = True) -> Episodes:
    """One episode in each of `environments`, with actions [E, A] in [-1, 1] that are sampled or the mean's."""
    box, rng = environments[0].action_space, np.random.default_rng(_SEED) if sampled else None
    boxed = in_box(act, box.low, box.high)
    seeds = _SEED + np.arange(len(environments))[None]
    return run_episodes(
        lambda observation, _: boxed(observation[0], rng)[None], environments, seeds
    )


class Keeper:
    """Evaluates actors in the order of training and keeps them as files."""

    def __init__(
        self, folder: str, name: str, environments: Sequence[Any], metadata: dict[str, str | int]
    ):
        self._folder, self._name, self._environments, self._metadata = (
            folder,
            name,
            environments,
            metadata,
        )
        self._returns: dict[int, float] = {}  # of sampled actions, by step
        self._best = -np.inf
        self.random_return = evaluate(
            uniform(environments[0].action_space.shape[0]), environments
        ).returns.mean()

    def keep(self, step: int, actor: Behaviour) -> str:
        """Returns what the evaluation came to, in one line."""
        metadata, line = self._metadata | {"steps": step}, ""
        for kind in ("sampled", "deterministic"):
            episodes = evaluate(actor.act, self._environments, sampled=kind == "sampled")
            mean, std, length = (
                episodes.returns.mean(),
                episodes.returns.std(),
                episodes.lengths.mean(),
            )
            metadata |= {
                f"{kind}_return_mean": mean,
                f"{kind}_return_std": std,
                f"{kind}_length": length,
            }
            line += f"  {kind} {mean:.6g} +- {std:.3g} in {length:.0f} steps"
        self._returns[step] = metadata["sampled_return_mean"]
        save_behaviour(self._path(f"step_{step}"), actor, metadata)
        lower = min(metadata["sampled_return_mean"], metadata["deterministic_return_mean"])
        if lower > self._best:
            self._best = lower
            shutil.copyfile(self._path(f"step_{step}"), self._path("expert"))
        third = self.random_return + (self._best - self.random_return) / 3
        medium = min(self._returns, key=lambda kept: abs(self._returns[kept] - third))
        shutil.copyfile(self._path(f"step_{medium}"), self._path("medium"))
        return f"step {step}{line}"

    def _path(self, stage: str) -> str:
        return os.path.join(self._folder, f"{self._name}-{stage}.npz")
