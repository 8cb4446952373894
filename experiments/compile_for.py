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
from edp_jax.training import process
from edp_jax.training.members import grid

from . import ahead, launch
from .chips import Chip, count_passes, find_chip

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
    print(_row(COLUMNS), _row(["---"] * len(COLUMNS)), sep="\n", flush=True)
    for run in runs:
        spec = TaskSpec(given.observation_dim, given.action_dim, run.preprocessing.horizon)
        sizes = given.num_transitions, run.run.batch_size
        task = ahead.Task(run.algorithm, run.learner, spec, *sizes)
        for program in compile_all(task, run, devices):
            entry = dataclasses.asdict(program)
            entry |= {"most_per_second": most_per_second(program, chip, passes)}
            entries.append(entry)
            print(_row(_cells(entry)), flush=True)
        if given.search:
            most = most_seeds(task, chip, devices[:1])
            entries.append({"name": f"{task.learner} training", "most_seeds_per_chip": most})
            print(f"{task.learner}: {most} seeds fit on a chip", flush=True)
    if given.out:
        versions = {"jax": jax.__version__, "libtpu": ahead.libtpu_version()}
        about = {"topology": given.topology, "matmul_precision": precision, "versions": versions}
        write_json(given.out, about | {"programs": entries})


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


def compile_all(
    task: ahead.Task, run: Settings, devices: Sequence[jax.Device]
) -> Iterator[ahead.Program]:
    """Training, acting in an evaluation, and acting at one observation as a robot does."""
    members = build.make_members(run)
    training = ahead.compile_training(task, members, devices)
    if training is None:
        raise InputError(
            f"config.seeds: {len(members)} agents of {task.learner} do not fit into these chips; "
            "take fewer, or a larger --topology"
        )
    yield training
    for number, observations in ((len(members), run.run.eval_episodes), (1, 1)):
        if acting := ahead.compile_acting(task, number, observations, devices):
            yield acting


def most_per_second(program: ahead.Program, chip: Chip, passes: int) -> float | None:
    """Updates of all agents of a chip in a second, if nothing else took time; None for acting.

    Args:
      program: the program.
      chip: where it runs.
      passes: bfloat16 products per product of matrices.
    """
    if program.flops is None:
        return None
    multiplying = passes * program.members * program.flops / chip.flops
    return program.members / max(multiplying, program.moved_bytes / chip.bandwidth)


def most_seeds(task: ahead.Task, chip: Chip, devices: Sequence[jax.Device]) -> int:
    """Finds how many seeds can be trained on one chip, to an eighth.

    A program that is too large is refused within seconds. So the first number tried is the one
    whose states alone would fill the memory, and each further one is an eighth less.
    """
    number = int(chip.memory / ahead.state_bytes(task))
    while number > 1 and not ahead.compile_training(task, grid(range(number)), devices):
        number -= max(1, number // 8)
    return number


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
