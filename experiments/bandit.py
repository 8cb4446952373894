"""Draws what each policy class makes of four equally common ways to act, of which one pays.

python -m experiments.bandit --output=docs/bandit.png
python -m experiments.bandit --num_seeds=3

It is the 2-D bandit of Diffusion-QL (2208.06193, section 4). Takes some minutes. It prints which
share of a policy's samples lies in the rewarded mode, and which lies outside of all modes.
"""

import dataclasses
import io
import os
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from absl import flags

from edp_jax import InputError, TaskSpec, Trainer, Transition, algorithms
from edp_jax.algorithms import edp
from edp_jax.data.folder import folder_made
from edp_jax.devices import check_devices_exist
from edp_jax.files import write_bytes
from edp_jax.runs.plots import figure_class
from edp_jax.training.batches import Rows
from edp_jax.types import pack

from . import launch

SPEC = TaskSpec(1, 2)
MODES = np.array([(-0.8, -0.8), (-0.8, 0.8), (0.8, -0.8), (0.8, 0.8)], np.float32)
STD = 0.05
REWARDED = 3
COMMON = {"hidden_dims": (64, 64), "learning_rate": 2e-3, "tau": 0.01}
COMMON |= {"ema_start": 100, "ema_period": 1}
ONE = {"num_timesteps": 100, "num_candidates": 1}  # the policy itself, without a choice by critics
# A step ends the task, so nothing depends on the next actions in targets: one call makes each
GUIDED = ONE | {"eta": 3.0, "target_calls": 1}
# DAC's 5 published timesteps are too few for four modes: mere cloning leaves half of them outside
DAC = ONE | {"sampler": "dpm_solver_3", "sampler_calls": 15}
DAC |= {"target_calls": 1, "num_backup_actions": 1}
NOISE = {"likelihood": "noise"}  # in place of the published one


@dataclasses.dataclass(frozen=True)
class Learner:
    """One panel of the picture."""

    title: str
    name: str  # a key of `algorithms.REGISTRY`
    changes: Mapping[str, Any]  # of its settings, besides `COMMON`


LEARNERS = (
    Learner("Gaussian BC", "bc", {}),
    Learner("diffusion BC", "bc_diffusion", {"num_timesteps": 100}),
    Learner("EDP-TD3, eta 3, as published", "edp_td3", GUIDED),
    Learner("EDP-TD3, eta 3, guidance_power 1", "edp_td3", GUIDED | {"guidance_power": 1.0}),
    Learner("EDP-CRR, as published", "edp_crr", ONE | {"crr_beta": 0.1}),
    Learner("EDP-CRR, likelihood noise", "edp_crr", ONE | {"crr_beta": 0.1} | NOISE),
    Learner("EDP-IQL, as published", "edp_iql", ONE | {"inverse_temperature": 10.0}),
    Learner("EDP-IQL, likelihood noise", "edp_iql", ONE | {"inverse_temperature": 10.0} | NOISE),
    Learner(
        "Diffusion-QL, eta 3",
        "diffusion_ql",
        GUIDED | {"num_timesteps": 5, "sampler": "ddpm", "sampler_calls": 5},
    ),
    Learner("DAC, denoising_threshold 0.3", "dac", DAC | {"denoising_threshold": 0.3}),
    Learner("DAC with QSM's loss, qsm_alpha 1", "dac", DAC | {"qsm_alpha": 1.0}),
    Learner("recommended: edp", "edp", ONE),
)


def define_flags() -> None:
    """Defines the flags of this program."""
    flags.DEFINE_string("output", "docs/bandit.png", "The picture to write.")
    flags.DEFINE_integer("num_steps", 3000, "Updates of each policy.", lower_bound=1)
    flags.DEFINE_integer(
        "num_seeds",
        1,
        "Policies of each learner, of seeds 0, 1, ...; the first is drawn.",
        lower_bound=1,
    )


def make_bandit(size: int = 8000) -> Transition:
    """Makes a dataset of one state and one step: reward 1 in the rewarded mode, 0 elsewhere."""
    rng = np.random.default_rng(0)
    mode = rng.integers(len(MODES), size=size)
    observation = np.zeros((size, 1), np.float32)
    action = np.clip(MODES[mode] + STD * rng.normal(size=(size, 2)), -1, 1).astype(np.float32)
    reward = (mode == REWARDED).astype(np.float32)
    return Transition(observation, action, reward, np.zeros(size, np.float32), observation)


def learn(
    learner: Learner, num_steps: int, num_seeds: int = 1, num_actions: int = 1000
) -> np.ndarray:
    """Trains a policy per seed 0, 1, ...

    Args:
      learner: which one.
      num_steps: updates.
      num_seeds: S.
      num_actions: how many actions to sample from each policy afterwards.

    Returns:
      The samples [S, num_actions, 2].
    """
    settings = algorithms.settings(learner.name, **COMMON, **learner.changes)
    algorithm = algorithms.make(learner.name, settings, SPEC)
    rows, seeds = Rows(pack(make_bandit()), SPEC), tuple(range(num_seeds))
    trainer = Trainer(algorithm, rows, seeds=seeds, batch_size=128)
    state, _ = trainer.train(trainer.init(), num_steps)
    observations, key = np.zeros((num_actions, SPEC.observation_dim), np.float32), jax.random.key(1)

    def sample(params: Any) -> jax.Array:
        if learner.name != "bc":
            return algorithm.act(params, observations, key)
        # Gaussian cloning acts with the mean; the samples show its whole distribution
        x_T = jax.random.normal(key, (num_actions, SPEC.action_dim))
        return edp.gaussian_policy(settings, SPEC).sample(params, observations, x_T, key)

    return np.asarray(jax.jit(jax.vmap(sample))(trainer.policy_params(state)))


def distance_to_modes(actions: np.ndarray) -> np.ndarray:
    """Largest difference in a coordinate between each action [B, 2] and each mode: [B, 4]."""
    return np.abs(actions[:, None] - MODES).max(axis=-1)


def share_in_modes(actions: np.ndarray) -> np.ndarray:
    """Share of the actions [B, 2] within 4 standard deviations of each mode [4]."""
    return np.mean(distance_to_modes(actions) < 4 * STD, axis=0)


def described(samples: np.ndarray) -> str:
    """The line about the samples [S, num_actions, 2] of S seeds: mean shares, then each seed's."""
    shares = np.array([share_in_modes(actions) for actions in samples])
    parts = {"in the rewarded mode": shares[:, REWARDED], "outside": 1 - shares.sum(axis=1)}
    return ", ".join(
        f"{name} {found.mean():.2f} ({' '.join(f'{share:.2f}' for share in found)})"
        for name, found in parts.items()
    )


def draw(samples: Mapping[str, np.ndarray]) -> bytes:
    """Draws a PNG with one panel per policy over the dataset, from samples [num_actions, 2]."""
    figure = figure_class("bandit.png")(figsize=(12, 9.6), dpi=100, layout="constrained")
    grid = figure.subplots(3, 4, sharex=True, sharey=True).flat
    data = make_bandit(2000)
    for axes, (title, actions) in zip(grid, samples.items(), strict=True):
        share = 100 * share_in_modes(actions)[REWARDED]
        axes.scatter(*data.action.T, s=2, color="#cccccc", linewidths=0)
        axes.scatter(*actions.T, s=3, color="#1f5fa8", alpha=0.5, linewidths=0)
        circle = {"facecolors": "none", "edgecolors": "#c0392b", "linewidths": 1.2}
        axes.scatter(*MODES[REWARDED], s=900, **circle)
        axes.set_title(f"{title}\n{share:.0f} % in the rewarded mode", fontsize=10)
        axes.set(xlim=(-1.08, 1.08), ylim=(-1.08, 1.08), aspect="equal")
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    return picture.getvalue()


def main(_: Sequence[str]) -> None:
    figure_class("bandit.png")  # or says what is missing
    check_devices_exist()
    given = flags.FLAGS
    path = os.path.abspath(os.path.expanduser(given.output))
    if os.path.isdir(path):
        raise InputError(f"--output={given.output}: is a folder; name a file in it")
    with folder_made(os.path.dirname(path), "give another file as --output"):
        samples = {}
        for learner in LEARNERS:
            found = learn(learner, given.num_steps, given.num_seeds)
            print(f"{learner.title}: {described(found)}", flush=True)
            samples[learner.title] = found[0]
        write_bytes(path, draw(samples))
    print(f"written: {given.output}")


if __name__ == "__main__":
    define_flags()
    launch.run(main)
