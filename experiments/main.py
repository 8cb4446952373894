"""Trains one algorithm on one task, all seeds at once.

python -m experiments.main --config=configs/edp_td3.py:builtin/hopper-medium-expert --workdir=runs/td3
"""

import os
import time
from typing import NamedTuple

import numpy as np
from absl import flags

from edp_jax import InputError, TaskSpec, Transition, algorithms, data
from edp_jax.data import preprocess
from edp_jax.evaluation import normalized_score
from edp_jax.export import PolicyFile, save_policy
from edp_jax.training import outputs, sharding, writers
from edp_jax.training.checkpoint import Checkpoints
from edp_jax.training.evaluator import make_evaluate
from edp_jax.training.run import Schedule, Stopped, StopSignals, run
from experiments import launch

launch.define_config_flag()
flags.DEFINE_string("workdir", None, "Folder of the run; the same command on the same folder goes on where it stopped.")
flags.mark_flags_as_required(["config", "workdir"])


class Dataset(NamedTuple):
    transitions: Transition  # as the learner sees them
    observation_mean: np.ndarray  # [O] what was subtracted from its observations
    observation_std: np.ndarray  # [O] and divided by
    info: dict  # for config.json
    behaviour_return: float | None  # mean over episodes, where evaluation pays the same rewards
    behaviour_score: float | None


def load(settings: launch.Settings) -> Dataset:
    """Reads, checks and prepares the dataset of a configuration."""
    config, task = settings.config, settings.task
    raw, info = data.load(task, settings.data_dir)
    transitions = preprocess.to_transitions(raw)
    if config.batch_size > transitions.size:
        raise InputError(
            f"config.batch_size={config.batch_size} is larger than the dataset: {task.name} has {transitions.size} "
            f"transitions; set --config.batch_size to at most that"
        )
    mean, std = np.zeros(raw.observations.shape[1], np.float32), np.ones(raw.observations.shape[1], np.float32)
    if config.normalize_observations:
        mean, std = preprocess.normalization(transitions.observation)
    transitions = transitions.replace(
        observation=(transitions.observation - mean) / std,
        next_observation=(transitions.next_observation - mean) / std,
        reward=preprocess.transform_rewards(transitions.reward, raw, config.reward_transform),
    )
    behaviour_return = behaviour_score = None
    if task.stored_returns_compare:
        behaviour_return = float(preprocess.episode_returns(raw).mean())
        behaviour_score = float(normalized_score(behaviour_return, task.reference_scores))
    return Dataset(transitions, mean, std, info, behaviour_return, behaviour_score)


def main(_) -> int:
    began = time.monotonic()
    sharding.split_cpu(len(flags.FLAGS.config.seeds))
    settings, workdir = launch.resolve(flags.FLAGS.config), os.path.abspath(os.path.expanduser(flags.FLAGS.workdir))
    config, task, seeds = settings.config, settings.task, settings.seeds
    dataset = load(settings)
    spec = TaskSpec(dataset.transitions.observation.shape[1], dataset.transitions.action.shape[1])
    algorithm = algorithms.make(config.algorithm, settings.algorithm, spec)
    outputs.write_config(workdir, config.to_dict(), dataset.info)
    checkpoints = Checkpoints(os.path.join(workdir, "checkpoints"))
    summary_path = os.path.join(workdir, "summary.json")
    if (checkpoints.latest_step or 0) >= config.num_steps and os.path.isfile(summary_path):
        print(f"finished already: {summary_path}; to train longer, raise --config.num_steps")
        return 0
    print(f"{config.algorithm} on {task.name}: {dataset.transitions.size:,} transitions, seeds {seeds}, in {workdir}", flush=True)
    if dataset.behaviour_score is not None:
        print(f"score of the dataset's behaviour: {dataset.behaviour_score:.1f}", flush=True)

    extra = writers.open_writers(config.writers, workdir, seeds, config.to_dict(), checkpoints.latest_step or 0)
    with StopSignals() as signals:
        evaluate = task.environment and make_evaluate(
            algorithm,
            task.environment,
            task.reference_scores,
            dataset.observation_mean,
            dataset.observation_std,
            seeds,
            config.eval_episodes,
            signals.check,
        )
        schedule = Schedule(config.num_steps, config.log_every, config.eval_every, config.checkpoint_every)
        try:
            state, updates_per_second = run(
                workdir,
                checkpoints,
                algorithm,
                dataset.transitions,
                settings.hypers,
                seeds,
                config.batch_size,
                schedule,
                evaluate,
                signals.check,
                extra,
            )
        except Stopped:
            print(f"stopped; the same command goes on with {workdir}", flush=True)
            return launch.EXIT_STOPPED
        finally:
            for writer in extra:
                writer.close()

    file = PolicyFile(config.algorithm, settings.algorithm, spec, seeds, dataset.observation_mean, dataset.observation_std)
    save_policy(os.path.join(workdir, "policy"), file, algorithms.policy_params(state))
    summary = outputs.write_summary(
        workdir,
        config.to_dict(),
        updates_per_second=updates_per_second,
        wall_seconds=time.monotonic() - began,
        behaviour_return=dataset.behaviour_return,
        behaviour_score=dataset.behaviour_score,
    )
    print(outputs.describe(summary))
    return 0


if __name__ == "__main__":
    launch.run(main)
