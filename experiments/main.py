"""Trains one learner on one task, all seeds at once.

python -m experiments.main --config=edp_td3:builtin/hopper-medium-expert --workdir=runs/td3

The same command on the same folder goes on where it stopped. With several hosts, start one process
on each (docs/scale-out.md).
"""

import contextlib
import functools
import os
import shlex
import sys
import time
from collections.abc import Callable, Sequence

from absl import flags

from edp_jax import InputError, configuration, data, programs
from edp_jax.algorithms import AgentState
from edp_jax.configuration import build
from edp_jax.devices import check_devices_exist
from edp_jax.errors import program
from edp_jax.evaluation.patience import Patience
from edp_jax.files import remove_leftovers
from edp_jax.runs import collected, evaluating, inherit, outputs, record
from edp_jax.runs.lock import locked
from edp_jax.selection import pool, recommend
from edp_jax.training import hosts, process, sharding, tables, writers
from edp_jax.training.checkpoint import Checkpoints, read_notes, saved_steps
from edp_jax.training.clock import Clock
from edp_jax.training.recovery import set_unusable_aside
from edp_jax.training.run import Outcome, run
from edp_jax.training.signals import StopSignals
from edp_jax.training.trainer import Trainer

from . import exits, launch

Begin = Callable[[AgentState], AgentState]  # untrained states -> those before the first update

say = functools.partial(print, flush=True)


def define_flags() -> None:
    launch.define_config_flag()
    flags.DEFINE_string(
        "workdir", None, "Folder of the run; the same command on it goes on where it stopped."
    )


def main(_: Sequence[str]) -> int:
    config = flags.FLAGS.config.to_dict()
    join_processes(config)
    settings = hosts.run_in_all(lambda: configuration.resolve(config))
    hosts.run_in_all(lambda: build.check_rate(settings))
    workdir = os.path.abspath(os.path.expanduser(flags.FLAGS.workdir))
    with StopSignals() as signals, hosts.only_process_zero_prints():
        try:
            return train(settings, workdir, signals)
        except hosts.Stopped:
            print(f"stopped; the same command goes on with {workdir}", flush=True)
            return exits.STOPPED


def join_processes(config: dict) -> None:
    """Joins the other processes of the run, if it has any, and prepares this one's devices.

    Has to come before anything else is done with JAX.
    """
    processes = configuration.processes(config)
    if processes.distributed:
        hosts.connect(
            processes.coordinator_address or None,
            processes.num_processes or None,
            None if processes.process_id < 0 else processes.process_id,
        )
    own_members = configuration.num_members(config) // (processes.num_processes or 1)
    prepare_devices(own_members, config["compilation_cache"])


def prepare_devices(num_members: int, compilation_cache: str) -> None:
    """Prepares this process's devices to train so many members. Has to come before JAX is used."""
    sharding.split_cpu(num_members)
    check_devices_exist()
    hosts.check_devices()
    hosts.run_in_all(lambda: programs.keep_programs(compilation_cache))


def train(
    settings: configuration.Settings,
    workdir: str,
    signals: StopSignals,
    make_begin: Callable[[data.Dataset], Begin] = lambda dataset: lambda untrained: untrained,
) -> int:
    """Trains in `workdir`, from the start or from its newest checkpoint.

    Args:
      settings: of the run.
      workdir: its folder.
      signals: what may ask it to stop.
      make_begin: makes `begin` of `edp_jax.training.run.run`, before anything is written.

    Returns:
      The exit code.

    Raises:
      InputError: the data or the folder cannot be used.
      Stopped: a signal came; the state is saved.
    """
    began, config, members = time.monotonic(), settings.config, build.make_members(settings)

    def progress(line: str) -> None:
        signals.check()
        print(line, flush=True)

    process.set_precision(settings.run.matmul_precision)
    hosts.run_in_all(lambda: sharding.check_members(len(members)))
    recorded = hosts.run_in_all(lambda: record.recorded_dataset(workdir))
    by_data = settings.run.best_by == "fqe"

    def accept(raw: data.RawDataset) -> None:
        if by_data:
            pool.check(recommend.ASKED, settings.task.name, raw)

    dataset = hosts.run_in_zero_first(
        lambda: build.load_dataset(settings, workdir, progress, recorded, accept)
    )
    begin = hosts.run_in_all(lambda: make_begin(dataset))
    shared = record.shared_settings(config, dataset.info)
    hosts.check_same_in_all("configuration or dataset", shared)
    may_change = configuration.may_change(settings.algorithm)
    hosts.run_in_zero(lambda: record.check_workdir(workdir, config, dataset.info, may_change))
    with contextlib.ExitStack() as held:
        hosts.run_in_zero(lambda: held.enter_context(locked(workdir, say)))
        code = train_on(dataset, settings, workdir, signals, began, begin, held)
        if by_data and code == 0:
            recommend.recommend(workdir, build.make_schedule(settings).keeps, say, signals.check)
        return code


def train_on(
    dataset: data.Dataset,
    settings: configuration.Settings,
    workdir: str,
    signals: StopSignals,
    began: float,
    begin: Begin,
    held: contextlib.ExitStack,
) -> int:
    """Does what `train` does, in a folder that fits and that no other process trains in.

    Args:
      dataset: of the run.
      settings: of the run.
      workdir: its folder.
      signals: what may ask it to stop.
      began: when it was started, in seconds of `time.monotonic`.
      begin: see `edp_jax.training.run.run`.
      held: what is given back when it ends.
    """
    config, members = settings.config, build.make_members(settings)
    for place in (workdir, os.path.join(workdir, "policy")):
        hosts.run_in_zero(functools.partial(remove_leftovers, place))
    if death := hosts.run_in_zero(lambda: evaluating.take_death(workdir)):
        say(death)
    folder = os.path.join(workdir, "checkpoints")

    def disagrees(step: int) -> str | None:
        return tables.find_disagreement(workdir, step, read_notes(folder, step))

    latest = hosts.run_in_zero(lambda: set_unusable_aside(folder, disagrees, say))
    schedule = build.make_schedule(settings)
    checkpoints = Checkpoints(folder, latest, settings.run.keep_last, schedule.keeps)
    done, num_updates = latest or 0, settings.num_updates
    if latest is None and settings.online.init_from:
        begin, done = inherit.begin_from(settings, dataset)
    length = "online_steps" if settings.rounds else "num_steps"
    if done > num_updates:
        raise InputError(
            f"config.{length}={config[length]}: {workdir} holds {done} updates already, more than "
            f"these {num_updates}; ask for more, or use a new --workdir"
        )
    wanted = settings.online.online_data and not collected.is_there(workdir)
    if not wanted and hosts.run_in_zero(lambda: outputs.is_finished(workdir, num_updates)):
        print(f"finished already: {workdir}; to train longer, raise {length}")
        print(
            "to score it, or let it act in other ways: "
            f"{program('evaluate')} --workdir={shlex.quote(workdir)}"
        )
        return 0
    if settings.run.best_by == "fqe":
        steps = {*saved_steps(folder), *schedule.stops(done)}
        recommend.check_choice([step for step in steps if schedule.keeps(step)])
    kinds = settings.run.writers if hosts.is_process_zero() else ()
    extra_writers = hosts.run_in_all(
        lambda: writers.open_writers(kinds, workdir, members, config, done)
    )
    hosts.run_in_zero(lambda: extra_writers.append(Clock(workdir, done)))
    if done and (change := hosts.run_in_zero(lambda: record.device_change(workdir))):
        print(change, flush=True)
    hosts.run_in_zero(lambda: record.write_config(workdir, config, dataset.info, members, done))
    hosts.run_in_all(lambda: record.check_shared(workdir))

    algorithm = build.make_algorithm(settings, dataset)
    trainer = Trainer(
        algorithm,
        dataset,
        seeds=settings.run.seeds,
        sweep=settings.sweep,
        batch_size=settings.run.batch_size,
        data_placement=settings.source.data_placement,
    )
    names = "; ".join(map(str, members))
    print(f"{settings.algorithm} on {settings.task.name}: {dataset.size:,} transitions", flush=True)
    print(f"{names}, in {workdir}", flush=True)
    if idle := sharding.idle_devices(len(members)):
        print(idle, flush=True)

    evaluate = build.make_evaluate(settings, dataset, algorithm, signals.check)
    simulators = held.enter_context(Patience(settings.config["step_seconds"]))
    online = build.make_online(settings, dataset, trainer, simulators)

    def leave(outcome: Outcome) -> None:
        """Writes what a run leaves for people, also where it is stopped."""
        wall_seconds = time.monotonic() - began
        outputs.finish(workdir, trainer, dataset, outcome, wall_seconds=wall_seconds)
        if online is not None and settings.online.online_data:
            for path in collected.write(workdir, trainer, dataset, online):
                say(f"collected steps: {path}")

    try:
        outcome = run(
            trainer,
            workdir,
            schedule,
            checkpoints=checkpoints,
            begin=begin,
            evaluate=evaluate and evaluating.noted(evaluate, workdir),
            check_stop=lambda: hosts.run_in_all(signals.check),
            writers=extra_writers,
            leave=leave,
            possible_returns=build.possible_returns(settings, dataset),
            online=online,
        )
    finally:
        writers.close_all(extra_writers)
    if not outcome.finished:
        print("error: all members have diverged; see the lines above", file=sys.stderr)
        return exits.FAILED
    return 0


def command() -> None:
    """Runs this program as a command."""
    define_flags()
    launch.run(main, required=("config", "workdir"))


if __name__ == "__main__":
    command()
