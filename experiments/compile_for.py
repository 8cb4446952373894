"""Compiles training and acting for a TPU that is not there, and says what they need.

python -m experiments.compile_for --topology=v5e:2x2 --config=edp_td3 --config.seeds='(0,1,2,3)'
python -m experiments.compile_for --topology=v4:2x2x1 --config=edp_td3 --learners=all --out=v4.json

Nothing runs and no data are read; the sizes of the task are flags. It needs the package libtpu (pip
install -e '.[tpu]') and no TPU. docs/tpu.md tells how to read the table.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import jax
from absl import flags

from edp_jax import InputError, TaskSpec, algorithms, configuration
from edp_jax.configuration import Settings, build
from edp_jax.files import check_writable, write_json
from edp_jax.training import process, sharding
from edp_jax.training.members import grid

from . import ahead, launch
from .chips import Chip, count_passes, find_chip
from .flops import sampler_flops

COLUMNS = (
    *("program", "agents per chip", "compiled in, s", "collectives"),
    *("arguments, MB", "temporaries, MB", "code, MB", "moved, MB", "GFLOP", "at most per s"),
)


def define_flags() -> None:
    launch.define_config_flag()
    flags.DEFINE_string("topology", "v5e:2x2", "Chip and shape of the slice, as libtpu names them.")
    flags.DEFINE_list("learners", [], "Some, or all; by default that of --config.")
    flags.DEFINE_integer("observation_dim", 17, "O; 17 is walker2d's.", lower_bound=1)
    flags.DEFINE_integer("action_dim", 6, "A.", lower_bound=1)
    flags.DEFINE_integer("num_transitions", 1_000_000, "Rows of the dataset.", lower_bound=1)
    flags.DEFINE_bool("search", False, "Also look for how many seeds fit on a chip.")
    flags.DEFINE_string("out", "", "Path of a JSON file for the same numbers.")


def main(_: Sequence[str]) -> None:
    given, chip = flags.FLAGS, find_chip(flags.FLAGS.topology)
    ahead.prepare_environment()
    settings = configuration.resolve(given.config.to_dict())
    runs = [for_learner(name, settings) for name in choose_learners(given.learners, settings)]
    if given.out:
        check_writable(given.out)
    precision = process.set_precision(settings.run.matmul_precision, "tpu")
    passes = count_passes(precision)
    devices, entries = ahead.find_devices(given.topology), []
    number = len(build.make_members(settings))
    sharding.check_members(number, len({device.process_index for device in devices}))
    versions = {"jax": jax.__version__, "libtpu": ahead.libtpu_version()}
    about = {"topology": given.topology, "matmul_precision": precision, "versions": versions}
    print(_row(COLUMNS), _row(["---"] * len(COLUMNS)), sep="\n", flush=True)
    too_large = []
    for run in runs:
        spec = TaskSpec(given.observation_dim, given.action_dim, run.preprocessing.horizon)
        sizes = given.num_transitions, run.run.batch_size
        task = ahead.Task(run.algorithm, run.learner, spec, *sizes)
        found = entries_of(task, run, devices, chip, passes)
        too_large += [] if found else [task.learner]
        if given.search:
            fit, fail = most_seeds(task, chip, devices[:1])
            found.append({"name": f"{task.learner} training", "fit": fit, "do_not_fit": fail})
            print(f"{task.learner}: {fit} seeds fit on a chip, {fail} do not", flush=True)
        entries += found
        if given.out:  # what comes later may fail
            write_json(given.out, about | {"programs": entries})
    if too_large:
        raise InputError(
            f"config.seeds: {number} agents of {', '.join(too_large)} do not fit into these chips; "
            "take fewer, or a larger --topology"
        )


def choose_learners(names: Sequence[str], settings: Settings) -> list[str]:
    """The learners that --learners names."""
    chosen = list(algorithms.REGISTRY) if list(names) == ["all"] else names or [settings.algorithm]
    return [name for name in chosen if algorithms.find(name)]


def for_learner(name: str, settings: Settings) -> Settings:
    """The same run with another learner: what was set otherwise, and it has, is set there too."""
    if name == settings.algorithm:
        return settings
    config, task = settings.config, settings.config["task"]
    before, own = (configuration.make_config(each, task) for each in (settings.algorithm, name))
    changed = {key for key in before.keys() & own.keys() if config[key] != before[key]}
    kept = changed - {"algorithm", "sweep"}
    return configuration.resolve(own | {key: config[key] for key in kept})


def entries_of(
    task: ahead.Task, run: Settings, devices: Sequence[jax.Device], chip: Chip, passes: int
) -> list[dict[str, Any]]:
    """Compiles and prints a learner's programs; none where its training does not fit."""
    coarse = 0
    if getattr(task.settings, "sampler_dtype", "float32") == "bfloat16":
        coarse = sampler_flops(task.learner, task.settings, task.spec.for_learner, task.batch_size)
    entries = []
    for program in compile_all(task, run, devices):
        most = most_per_second(program, chip, passes, coarse)
        entries.append(dataclasses.asdict(program) | {"most_per_second": most})
        print(_row(_cells(entries[-1])), flush=True)
    return entries


def compile_all(
    task: ahead.Task, run: Settings, devices: Sequence[jax.Device]
) -> Iterator[ahead.Program]:
    """Training, acting in an evaluation, and acting at one observation as a robot does.

    Nothing where training does not fit.
    """
    members = build.make_members(run)
    training = ahead.compile_training(task, members, devices)
    if training is None:
        return
    yield training
    acting = (len(members), run.run.eval_episodes, devices), (1, 1, devices[:1])
    for number, observations, chips in acting:
        if program := ahead.compile_acting(task, number, observations, chips):
            yield program


def most_per_second(
    program: ahead.Program, chip: Chip, passes: int, coarse: int = 0
) -> float | None:
    """Updates of all agents of a chip in a second, if nothing else took time; None for acting.

    Args:
      program: the program.
      chip: where it runs.
      passes: bfloat16 products per product of matrices.
      coarse: how many of the program's operations need only one of them.
    """
    if program.flops is None:
        return None
    flops = passes * (program.flops - coarse) + coarse
    multiplying = program.members * flops / chip.flops
    return program.members / max(multiplying, program.moved_bytes / chip.bandwidth)


def most_seeds(task: ahead.Task, chip: Chip, devices: Sequence[jax.Device]) -> tuple[int, int]:
    """Finds a number of seeds that can be trained on one chip, and an eighth more that cannot.

    A program that is too large is refused within seconds. So the first number tried is the one
    whose states alone would fill the memory, and each further one is an eighth less.
    """
    too_many, number = 0, int(chip.memory / ahead.state_bytes(task)) + 1
    while number and not ahead.compile_training(task, grid(range(number)), devices):
        too_many, number = number, number - max(1, number // 8)
    return number, too_many


def _cells(entry: dict[str, Any]) -> list[str]:
    sizes = ("argument_bytes", "temporary_bytes", "code_bytes", "moved_bytes")
    return [
        *(entry["name"], str(entry["members"])),
        *(f"{entry['seconds']:.0f}", str(entry["collectives"])),
        *(f"{entry[name] / 1e6:.1f}" for name in sizes),
        f"{entry['flops'] / 1e9:.2f}" if entry["flops"] else "",
        f"{entry['most_per_second']:,.0f}" if entry["flops"] else "",
    ]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    define_flags()
    launch.run(main, required=("config",))
