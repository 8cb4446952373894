"""How the behaviour policies of the embedded datasets were made (needs the extra `[collect]`).

    python -m experiments.collect --env_id=Hopper-v4 --output_dir=behaviours

trains Soft Actor-Critic (sbx-rl) online and keeps the actor as .npz files: `step_<n>` at every evaluation, `expert` for the
best so far, and `medium` for the first whose sampled return lies in --medium_score while it still falls before the time limit
(an agent that stands still for a whole episode may have the same return, and teaches nothing).
"""

import importlib.metadata
import os
import time

import gymnasium
import numpy as np
from absl import app, flags

from edp_jax.data.behaviour import Behaviour, save_behaviour

FLAGS = flags.FLAGS
flags.DEFINE_string("env_id", "Hopper-v4", "Gymnasium environment with a box of observations and of actions.")
flags.DEFINE_string("output_dir", "behaviours", "Folder the .npz files are written to.")
flags.DEFINE_integer("num_steps", 1_000_000, "Environment steps at most; see --expert_score.", lower_bound=1)
flags.DEFINE_integer("seed", 0, "Seed of the learner and of its environment.")
flags.DEFINE_integer("evaluate_every", 10_000, "Environment steps between two evaluations.", lower_bound=1)
flags.DEFINE_integer("batch_size", 128, "Transitions per update.", lower_bound=1)
flags.DEFINE_integer("update_every", 8, "Environment steps between two compiled loops of as many updates.", lower_bound=1)
flags.DEFINE_float("learning_rate", 5e-4, "Learning rate of actor, critics and entropy coefficient.", lower_bound=0.0)
flags.DEFINE_list("reference_scores", ["-20.272305", "3234.3"], "Random and expert return: scores 0 and 100.")
flags.DEFINE_list("medium_score", ["35", "42"], "Range of sampled scores at which the medium actor is kept.")
flags.DEFINE_float("expert_score", 105.0, "Training stops when the lower of sampled and deterministic score passes this.")

_EPISODES = 10
_FALLS_BEFORE = 700  # steps; the time limit is 1000
_SEED_OF_EVALUATIONS = 10_000


def actor_of(model) -> Behaviour:
    """The actor of an sbx model as a numpy policy; its two heads become one last layer."""
    params = model.policy.actor_state.params["params"]
    *hidden, mean, log_std = [params[f"Dense_{index}"] for index in range(len(params))]
    head = {name: np.concatenate([mean[name], log_std[name]], axis=-1) for name in ("kernel", "bias")}
    return Behaviour(tuple((np.asarray(layer["kernel"]), np.asarray(layer["bias"])) for layer in (*hidden, head)))


def evaluate(behaviour: Behaviour, env_id: str, sampled: bool) -> tuple[np.ndarray, np.ndarray]:
    """Returns and lengths, each [_EPISODES], of one episode in each of as many environments, actions sampled or the mean's."""
    environments = [gymnasium.make(env_id) for _ in range(_EPISODES)]
    low, high = environments[0].action_space.low, environments[0].action_space.high
    rng = np.random.default_rng(_SEED_OF_EVALUATIONS) if sampled else None
    observations = np.stack([env.reset(seed=_SEED_OF_EVALUATIONS + i)[0] for i, env in enumerate(environments)])
    returns, lengths, running = np.zeros(_EPISODES), np.zeros(_EPISODES, int), np.ones(_EPISODES, bool)
    while running.any():
        actions = low + (behaviour.act(observations, rng) + 1) / 2 * (high - low)
        for i in np.flatnonzero(running):
            observations[i], reward, terminated, truncated, _ = environments[i].step(actions[i])
            returns[i] += reward
            lengths[i] += 1
            running[i] = not (terminated or truncated)
    return returns, lengths


def main(argv) -> None:
    del argv
    from sbx import SAC
    from stable_baselines3.common.callbacks import BaseCallback

    low, high = map(float, FLAGS.reference_scores)
    medium_low, medium_high = map(float, FLAGS.medium_score)
    name = FLAGS.env_id.split("-")[0].lower()
    os.makedirs(FLAGS.output_dir, exist_ok=True)
    start = time.time()

    class KeepActors(BaseCallback):
        best, medium_kept = -np.inf, False

        def _on_step(self) -> bool:
            if self.num_timesteps % FLAGS.evaluate_every:
                return True
            behaviour = actor_of(self.model)
            metadata = {"env_id": FLAGS.env_id, "algorithm": "SAC", "seed": FLAGS.seed, "steps": self.num_timesteps}
            metadata |= {package: importlib.metadata.version(package) for package in ("sbx-rl", "mujoco", "gymnasium")}
            scores, line = {}, f"step {self.num_timesteps}  {time.time() - start:.0f} s"
            for kind in ("sampled", "deterministic"):
                returns, lengths = evaluate(behaviour, FLAGS.env_id, kind == "sampled")
                mean, std, length = returns.mean(), returns.std(), lengths.mean()
                scores[kind] = 100 * (mean - low) / (high - low)
                metadata |= {f"{kind}_return_mean": mean, f"{kind}_return_std": std, f"{kind}_length": length}
                line += f"  {kind} {mean:.0f} +- {std:.0f} in {length:.0f} steps (score {scores[kind]:.1f})"
            print(line, flush=True)
            stages, falls = [f"step_{self.num_timesteps}"], metadata["sampled_length"] < _FALLS_BEFORE
            if falls and not self.medium_kept and medium_low <= scores["sampled"] <= medium_high:
                self.medium_kept = True
                stages.append("medium")
            score = min(scores.values())
            if score > self.best:
                self.best = score
                stages.append("expert")
            for stage in stages:
                save_behaviour(os.path.join(FLAGS.output_dir, f"{name}-{stage}.npz"), behaviour, metadata)
            return score < FLAGS.expert_score

    model = SAC(
        "MlpPolicy",
        FLAGS.env_id,
        train_freq=FLAGS.update_every,
        gradient_steps=FLAGS.update_every,
        learning_starts=10_000,
        learning_rate=FLAGS.learning_rate,
        batch_size=FLAGS.batch_size,
        policy_delay=2,
        policy_kwargs={"net_arch": {"pi": [128, 128], "qf": [192, 192]}},
        seed=FLAGS.seed,
    )
    model.learn(FLAGS.num_steps, callback=KeepActors())


if __name__ == "__main__":
    app.run(main)
