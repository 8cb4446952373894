"""Draws what each policy class makes of the 2-D bandit of Diffusion-QL (2208.06193, section 4): four modes, one rewarded.

python -m experiments.bandit --output=docs/bandit.png
"""

import dataclasses
import io

import jax
import numpy as np
from absl import flags

from edp_jax import TaskSpec, Transition, algorithms
from edp_jax.algorithms import AlgorithmConfig, Hypers
from edp_jax.files import write_bytes
from edp_jax.training import loop

from . import launch

FLAGS = flags.FLAGS
flags.DEFINE_string("output", "docs/bandit.png", "The picture to write.")
flags.DEFINE_integer("num_steps", 3000, "Updates of each policy.", lower_bound=1)
flags.DEFINE_integer("seed", 0, "Seed of all learners.")

MODES = np.array([(-0.8, -0.8), (-0.8, 0.8), (0.8, -0.8), (0.8, 0.8)], np.float32)
STD = 0.05
REWARDED = 3
CONFIG = AlgorithmConfig(
    hidden_dims=(64, 64), num_timesteps=100, num_candidates=1, ema_start=100, ema_period=1
)
HYPERS = Hypers(learning_rate=2e-3, tau=0.01)


@dataclasses.dataclass(frozen=True)
class Learner:
    title: str
    algorithm: str
    config: AlgorithmConfig = CONFIG
    hypers: Hypers = HYPERS


LEARNERS = (
    Learner("Gaussian BC", "bc", dataclasses.replace(CONFIG, policy="gaussian")),
    Learner("diffusion BC", "bc"),
    Learner("EDP-TD3, eta 3", "td3", hypers=HYPERS.replace(eta=3.0)),
    Learner("EDP-CRR, beta 0.1", "crr", hypers=HYPERS.replace(crr_beta=0.1)),
    Learner("EDP-IQL, temperature 10", "iql", hypers=HYPERS.replace(iql_temperature=10.0)),
    Learner(
        "Diffusion-QL, eta 3",
        "diffusion_ql",
        dataclasses.replace(CONFIG, num_timesteps=5, sampler="ddpm", sampler_calls=5),
        HYPERS.replace(eta=3.0),
    ),
)


def make_bandit(size: int = 8000) -> Transition:
    """One state, one step: reward 1 in the rewarded mode, 0 elsewhere."""
    rng = np.random.default_rng(0)
    mode = rng.integers(len(MODES), size=size)
    observation = np.zeros((size, 1), np.float32)
    action = np.clip(MODES[mode] + STD * rng.normal(size=(size, 2)), -1, 1).astype(np.float32)
    return Transition(
        observation,
        action,
        (mode == REWARDED).astype(np.float32),
        np.zeros(size, np.float32),
        observation,
    )


def learn(learner: Learner, num_steps: int, seed: int = 0, num_actions: int = 1000) -> np.ndarray:
    """Samples [num_actions, 2] of the trained policy itself: for a Gaussian not only its mean."""
    spec = TaskSpec(1, 2)
    algorithm = algorithms.make(learner.algorithm, learner.config, spec)
    train_chunk = loop.make_train_chunk(algorithm, 128)
    state = loop.init_seeds(algorithm, (seed,))
    chunks = loop.train(
        train_chunk, state, loop.put_dataset(make_bandit(), 1), learner.hypers, iter([num_steps])
    )
    params = jax.tree.map(lambda leaf: leaf[0], next(chunks).state.actor.target_params)
    policy = algorithms.edp.make_policy(learner.config, spec)
    noise_key, chain_key = jax.random.split(jax.random.key(1))
    x_T = jax.random.normal(noise_key, (num_actions, 2))
    return np.asarray(
        jax.jit(policy.sample)(params, np.zeros((num_actions, 1), np.float32), x_T, chain_key)
    )


def distance_to_modes(actions: np.ndarray) -> np.ndarray:
    """Largest difference in a coordinate between each action [B, 2] and each mode: [B, 4]."""
    return np.abs(actions[:, None] - MODES).max(axis=-1)


def share_in_modes(actions: np.ndarray) -> np.ndarray:
    """Share of the actions [B, 2] within 4 standard deviations of each mode [4]."""
    return np.mean(distance_to_modes(actions) < 4 * STD, axis=0)


def draw(samples: dict[str, np.ndarray]) -> bytes:
    """A PNG with one panel per policy over the dataset."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.6, 6.6), dpi=130, layout="constrained")
    data = make_bandit(2000)
    for axes, (title, actions) in zip(
        figure.subplots(2, 3, sharex=True, sharey=True).flat, samples.items(), strict=True
    ):
        axes.scatter(*data.action.T, s=2, color="#cccccc", linewidths=0)
        axes.scatter(*actions.T, s=3, color="#1f5fa8", alpha=0.5, linewidths=0)
        axes.scatter(
            *MODES[REWARDED], s=900, facecolors="none", edgecolors="#c0392b", linewidths=1.2
        )
        axes.set_title(
            f"{title}\n{100 * share_in_modes(actions)[REWARDED]:.0f} % in the rewarded mode",
            fontsize=10,
        )
        axes.set(xlim=(-1.08, 1.08), ylim=(-1.08, 1.08), aspect="equal")
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    return picture.getvalue()


def main(_) -> None:
    samples = {}
    for learner in LEARNERS:
        samples[learner.title] = learn(learner, FLAGS.num_steps, FLAGS.seed)
        shares = " ".join(f"{share:.2f}" for share in share_in_modes(samples[learner.title]))
        print(
            f"{learner.title}: share of samples in the four modes {shares} (the last one is rewarded)",
            flush=True,
        )
    write_bytes(FLAGS.output, draw(samples))
    print(f"written: {FLAGS.output}")


if __name__ == "__main__":
    launch.run(main)
