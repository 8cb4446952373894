"""Trains one algorithm on one task, all seeds at once; on many hosts, one process on each: docs/tpu.md.

python -m experiments.main --config=configs/edp_td3.py:builtin/hopper-medium-expert --workdir=runs/td3
"""

import os
import time

from absl import flags

from edp_jax import InputError, TaskSpec, algorithms
from edp_jax.export import PolicyFile, save_policy
from edp_jax.training import hosts, outputs, programs, sharding, stream, writers
from edp_jax.training.checkpoint import Checkpoints
from edp_jax.training.hosts import Stopped
from edp_jax.training.run import Schedule, StopSignals, run
from experiments import launch

launch.define_config_flag()
flags.DEFINE_string(
    "workdir",
    None,
    "Folder of the run; the same command on the same folder goes on where it stopped.",
)
flags.mark_flags_as_required(["config", "workdir"])


def main(_) -> int:
    config = flags.FLAGS.config
    launch.connect(config)
    sharding.split_cpu(launch.num_members(config) // (config.num_processes or 1))
    hosts.check_devices()
    hosts.agreed(lambda: programs.keep_programs(config.compilation_cache))
    settings = hosts.agreed(lambda: launch.resolve(config))
    workdir = os.path.abspath(os.path.expanduser(flags.FLAGS.workdir))
    with StopSignals() as signals, hosts.quiet_but_first():
        try:
            train(settings, workdir, signals)
        except Stopped:
            print(f"stopped; the same command goes on with {workdir}", flush=True)
            return launch.EXIT_STOPPED
    return 0


def train(settings: launch.Settings, workdir: str, signals: StopSignals) -> None:
    began = time.monotonic()
    config, task, members = settings.config, settings.task, settings.members

    def progress(line: str) -> None:
        signals.check()
        print(line, flush=True)

    hosts.agreed(lambda: sharding.check_members(len(members)))
    dataset = hosts.first_before_others(lambda: launch.load_dataset(settings, workdir, progress))
    hosts.check_alike("configuration or dataset", outputs.identity(config.to_dict(), dataset.info))
    hosts.first_agreed(lambda: outputs.check_workdir(workdir, config.to_dict(), dataset.info))
    checkpoints = Checkpoints(os.path.join(workdir, "checkpoints"))
    done = checkpoints.latest_step or 0
    if done > config.num_steps:
        raise InputError(
            f"config.num_steps={config.num_steps}: {workdir} holds {done} updates already; ask for more, or use a new --workdir"
        )
    if done == config.num_steps and outputs.is_finished(workdir, config.num_steps):
        print(f"finished already: {workdir}; to train longer, raise --config.num_steps")
        return
    hosts.first_agreed(lambda: outputs.write_config(workdir, config.to_dict(), dataset.info, done))
    hosts.agreed(lambda: outputs.check_shared(workdir))
    kinds = config.writers if hosts.is_first() else ()
    extra_writers = writers.open_writers(kinds, workdir, members, config.to_dict(), done)
    spec = TaskSpec(dataset.observation_dim, dataset.action_dim)
    algorithm = algorithms.make(config.algorithm, settings.algorithm, spec)
    evaluate = launch.make_evaluate(settings, dataset, algorithm, signals.check)

    names = "; ".join(map(str, members))
    print(
        f"{config.algorithm} on {task.name}: {dataset.transitions.size:,} transitions, {names}, in {workdir}",
        flush=True,
    )
    if idle := sharding.idle_devices(len(members)):
        print(idle, flush=True)
    try:
        state, updates_per_second = run(
            workdir=workdir,
            checkpoints=checkpoints,
            algorithm=algorithm,
            dataset=dataset.transitions,
            weights=dataset.weights,
            data_on_host=stream.stays_on_host(
                config.data_placement, dataset.transitions, len(members)
            ),
            hypers=settings.hypers,
            members=members,
            batch_size=config.batch_size,
            schedule=Schedule(
                config.num_steps, config.log_every, config.eval_every, config.checkpoint_every
            ),
            evaluate=evaluate,
            check_stop=lambda: hosts.agreed(signals.check),
            extra_writers=extra_writers,
        )
    finally:
        for writer in extra_writers:
            writer.close()

    params = hosts.fetch(algorithms.policy_params(state))
    if not hosts.is_first():
        return
    policy_file = PolicyFile(
        config.algorithm,
        settings.algorithm,
        spec,
        tuple(m.columns for m in members),
        vars(dataset.units),
    )
    save_policy(os.path.join(workdir, "policy"), policy_file, params)
    summary = outputs.write_summary(
        workdir,
        config.to_dict(),
        members,
        updates_per_second=updates_per_second,
        wall_seconds=time.monotonic() - began,
        behaviour_return=dataset.behaviour_return,
        reference_scores=dataset.reference_scores,
    )
    print(outputs.describe(summary))


if __name__ == "__main__":
    launch.run(main)
