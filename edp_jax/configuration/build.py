"""From checked settings to what a run is made of: dataset, learner, evaluation."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from edp_jax import algorithms, data, evaluation
from edp_jax.algorithms import AgentState, Algorithm
from edp_jax.configuration.online import explorer_settings
from edp_jax.configuration.resolve import Settings
from edp_jax.evaluation import envs
from edp_jax.training import divergence
from edp_jax.training.evaluator import Evaluation, check_environment
from edp_jax.training.evaluator import make_evaluate as make_evaluate_in
from edp_jax.training.interaction import Episodes, Interaction
from edp_jax.training.members import Member, grid, member_settings
from edp_jax.training.online import Online
from edp_jax.training.run import Schedule
from edp_jax.training.trainer import Trainer
from edp_jax.types import InputError


def check_there(settings: Settings) -> None:
    """Refuses a run without its data or its environment, as far as that is known at once.

    What can be downloaded or made counts as there. Nothing is read, and no environment is made.

    Raises:
      InputError: a file or a package is not on this machine, or gymnasium knows no such id.
    """
    data.check_there(settings.task, settings.data_dir, settings.layout)
    if settings.environment:
        envs.check_there(settings.environment)


def load_dataset(
    settings: Settings,
    workdir: str,
    progress: Callable[[str], None],
    recorded: Mapping[str, Any] | None = None,
    accept: Callable[[data.RawDataset], None] = lambda raw: None,
) -> data.Dataset:
    """Reads the task's dataset, says what is in it, and makes it ready for training.

    Args:
      settings: of the run.
      workdir: arrays that are large for the free memory lie on its disk, and all of them where the
        dataset is to stay on the host.
      progress: called with every line to show.
      recorded: what config.json of the run says of its dataset; None before its first start.
      accept: raises InputError where the stored steps lack what else is wanted of them.

    Raises:
      InputError: the data cannot be had or used, do not fit the environment, or are fewer than a
        batch.
    """
    task = settings.task
    storage = data.storage_near(workdir, always=settings.source.data_placement == "host")
    raw, info = data.load(task, settings.data_dir, progress, storage, settings.layout)
    progress(f"{task.name}:\n{data.describe(info['summary'])}")
    accept(raw)
    if not raw.has_rewards and "reward_transform" in settings.config:  # the learner reads rewards
        raise InputError(
            f"{task.name}: {settings.algorithm} learns from rewards, and there are none; where the "
            "format reads it set --config.reward_rule=success_at_end or step_cost, else train a "
            "learner that imitates: bc, bc_diffusion"
        )
    box = None
    if settings.environment:
        evaluation.check_sizes(settings.environment, raw.observation_dim, raw.action_dim)
        name = settings.environment.name  # it may end the process
        progress(f"trying a step in {name}; env_id=none does without")
        check_environment(settings.environment, settings.config["step_seconds"])
        space = envs.make(settings.environment, 1)[0].action_space
        box = space.low, space.high
    dataset = data.prepare(
        task,
        raw,
        info,
        settings.preprocessing,
        action_box=settings.action_box,
        recorded_box=_recorded_box(recorded or {}),
        environment_box=box,
        progress=progress,
        storage=storage,
    )
    if settings.run.batch_size > dataset.size:
        raise InputError(
            f"config.batch_size={settings.run.batch_size} is larger than the dataset: {task.name} "
            f"has {dataset.size} transitions; set --config.batch_size to at most that"
        )
    return dataset


def _recorded_box(recorded: Mapping[str, Any]) -> tuple | None:
    low, high = recorded.get("action_low"), recorded.get("action_high")
    return (low, high) if low and high else None


def make_algorithm(settings: Settings, dataset: data.Dataset) -> Algorithm:
    """The learner as configured, for the sizes of the dataset."""
    return algorithms.make(settings.algorithm, settings.learner, dataset.spec)


def make_members(settings: Settings) -> tuple[Member, ...]:
    """The agents that the run trains: every seed at every point of the sweep."""
    return grid(settings.run.seeds, settings.sweep)


def check_rate(settings: Settings) -> None:
    """Refuses to train on when the learning rate has become 0.

    It is no part of `configuration.resolve`: a run that did so can still be read.

    Raises:
      InputError: it would be 0 before the run has done its updates.
    """
    decay = settings.learner.lr_decay_steps
    if 0 < decay < settings.num_updates:
        raise InputError(
            f"config.lr_decay_steps={decay}: the learning rate would be 0 before the "
            f"{settings.num_updates} updates of the run are done; set it to 0 (a constant rate), "
            "or at least to that, in a new --workdir"
        )


def possible_returns(
    settings: Settings, dataset: data.Dataset
) -> tuple[np.ndarray, np.ndarray] | None:
    """The bounds of discounted returns, per member; None where the learner discounts nothing."""
    learner = member_settings(settings.learner, make_members(settings))
    if not hasattr(learner, "discount"):
        return None
    rewards, discounts = (np.asarray(column) for column in dataset.rows[:, -2:].T)
    return divergence.possible_returns(rewards, discounts, learner.discount)


def make_evaluate(
    settings: Settings,
    dataset: data.Dataset,
    algorithm: Algorithm,
    check_stop: Callable[[], None] = lambda: None,
    **options: Any,
) -> Callable[[AgentState], Evaluation] | None:
    """Builds evaluate(state [R]) -> Evaluation as configured; None without an environment.

    `check_stop` is called between steps of the environments and may raise; see
    `edp_jax.training.evaluator.make_evaluate` for it and for other options.
    """
    if not settings.environment:
        return None
    return make_evaluate_in(
        algorithm,
        settings.environment,
        units=dataset.units,
        reference_scores=dataset.reference_scores,
        seeds=tuple(member.seed for member in make_members(settings)),
        num_episodes=settings.run.eval_episodes,
        execute=settings.execute,
        seconds=settings.config["step_seconds"],
        check_stop=check_stop,
        **options,
    )


def make_schedule(settings: Settings) -> Schedule:
    """When the run logs, evaluates and saves, and when it is online."""
    run = settings.run
    periods = run.log_every, run.eval_every, run.checkpoint_every
    return Schedule(run.num_steps, *periods, settings.rounds, run.keep_every)


def make_online(
    settings: Settings,
    dataset: data.Dataset,
    trainer: Trainer,
    call: Callable[[Callable[[], list]], list],
) -> Online | None:
    """Builds the online phase as configured; None where there is none.

    Args:
      settings: of the run.
      dataset: of the run.
      trainer: of the run.
      call: calls the functions that step the environments.

    Raises:
      InputError: there is no such environment.
    """
    online, rounds, members = settings.online, settings.rounds, trainer.members
    if rounds is None or settings.environment is None:
        return None
    exploring = explorer_settings(settings.config, online)
    learner = dataclasses.replace(settings.learner, **exploring)
    made = envs.make_new(settings.environment, len(members))
    interaction = Interaction(
        [Episodes(each, member.seed) for each, member in zip(made, members, strict=True)],
        rewards_add_up=settings.task.stored_rewards_add_up,
        marks_held_out=dataset.spec.marks_held_out,
        call=call,
    )
    return Online(
        trainer.source,
        dataset,
        interaction,
        rounds,
        algorithms.make(settings.algorithm, learner, dataset.spec),
        num_members=len(members),
        capacity=online.online_capacity or rounds.env_steps(rounds.end),
        share=online.online_share,
        noise=online.online_noise,
        reset_optimizer=online.online_optimizer == "reset",
    )
