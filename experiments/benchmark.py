"""Measures this library on this machine: rates, memory, and how far it is from the machine's limit.

python -m experiments.benchmark --output=runs/benchmark
python -m experiments.benchmark --output=runs/td3 --parts=learners,roofline --learners=edp_td3
python -m experiments.benchmark --output=runs/quick --quick     tiny, in two minutes: does it work?

Writes DIR/benchmark.json and DIR/benchmark.png; docs/performance.md tells how to read them.
"""

import dataclasses
import functools
import json
import math
import os
import platform
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import jax
from absl import flags

from edp_jax import InputError
from edp_jax.data.folder import folder_made
from edp_jax.devices import check_devices_exist
from edp_jax.files import write_bytes, write_json
from edp_jax.runs import record
from edp_jax.runs.plots import figure_class
from edp_jax.training import sharding

from . import benchmark_figure, latency, launch, suites, time_to_score, timed_runs, ways
from .cases import (
    COMMAND_BUFFERS,
    LEARNERS,
    MAIN,
    ON_REQUEST,
    PARTS,
    QUICK,
    Path,
    Sizes,
    choose_cases,
    powers,
)
from .measure import measure
from .paper_speed import compare_with_paper
from .timed_runs import PART as TIMES

say = functools.partial(print, flush=True)
QUICK_LEARNERS = ("edp_td3", "iql")
_OF_POLICY = ("observation_dim", "action_dim")  # sizes that the policy brings
FAST_COMPILER = "--xla_backend_optimization_level=0"  # compiles in a fraction of the time


def define_flags() -> None:
    """Defines the flags of this program; every field of `Sizes` is one."""
    flags.DEFINE_string("output", None, "Folder of the results.")
    usual = [part for part in PARTS if part not in ON_REQUEST]
    flags.DEFINE_list(
        "parts",
        usual,
        f"What to measure, of {', '.join(PARTS)}; by default all but {', '.join(ON_REQUEST)}.",
    )
    flags.DEFINE_list(
        "learners",
        None,
        "Learners that parts learners and roofline (by default all) and time_to_score measure.",
    )
    tasks = list(time_to_score.GOALS)
    flags.DEFINE_list("tasks", tasks, "Tasks of part time_to_score.")
    flags.DEFINE_multi_string("set", [], "KEY=VALUE: a setting of the runs of part time_to_score.")
    flags.DEFINE_string(
        "policy", "", "Run whose policy part latency measures; by default one that knows nothing."
    )
    flags.DEFINE_list(
        "scores", [], "Tables of experiments.evaluate, whose scores part latency shows as well."
    )
    flags.DEFINE_bool(
        "quick",
        False,
        "Tiny sizes, one round and two learners unless given; compiled without optimising.",
    )
    for field in dataclasses.fields(Sizes):
        meaning = f"{field.metadata['help']} (by default {field.default})."
        if isinstance(field.default, float):
            flags.DEFINE_float(field.name, None, meaning, lower_bound=0.0)
        else:
            smallest = 1 if field.default else 0
            flags.DEFINE_integer(field.name, None, meaning, lower_bound=smallest)


def main(_: Sequence[str]) -> None:
    figure_class("benchmark.png")  # or says what is missing
    given = flags.FLAGS
    _check_names("parts", given.parts, PARTS)
    learners = given.learners or (QUICK_LEARNERS if given.quick else LEARNERS)
    _check_names("learners", learners, LEARNERS)
    _check_names("tasks", given.tasks, time_to_score.GOALS)
    changes = suites.parse_pairs("set", given.set)
    chosen = {field.name: given[field.name].value for field in dataclasses.fields(Sizes)}
    sizes = dataclasses.replace(
        QUICK if given.quick else Sizes(),
        **{name: value for name, value in chosen.items() if value is not None},
    )
    for name, value in chosen.items():
        if value is not None and not math.isfinite(value):
            raise InputError(f"--{name}={value}: must be a finite number")
    policy = os.path.expanduser(given.policy)
    if "latency" not in given.parts and (policy or given.scores):
        raise InputError("--policy and --scores are of part latency; give --parts=latency as well")
    timing, racers = TIMES in given.parts, given.learners or time_to_score.LEARNERS
    if timing:
        time_to_score.check(given.tasks, racers, changes)
    elif changes or given["tasks"].present:
        raise InputError(f"--set and --tasks are of part {TIMES}; give --parts={TIMES} as well")
    scores = ways.read_scores(map(os.path.expanduser, given.scores))
    if given.quick:  # read when JAX starts
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {FAST_COMPILER}"
    with folder_made(given.output, "give another one as --output"):
        path = os.path.join(given.output, "benchmark.json")
        timed, failed, load_before = timed_runs.read(path)[TIMES], 0, os.getloadavg()
        if timing:  # before JAX takes the accelerator
            timed, failed = time_to_score.run(path, given.tasks, racers, changes, sizes, say)
        results = run(given.parts, learners, sizes)
        if "latency" in given.parts:
            results |= latency.run(policy, scores, sizes, say)
            if policy and given.parts == ["latency"]:  # nothing has the sizes of the flags
                results["sizes"] |= {name: results["policy"][name] for name in _OF_POLICY}
        results["load_average"] = [load_before, os.getloadavg()]
        if timed:
            results[TIMES] = timed
        write_json(path, results)
        write_bytes(os.path.join(given.output, "benchmark.png"), benchmark_figure.draw(results))
    say(describe(results))
    if failed:
        raise InputError(f"--parts={TIMES}: {failed} runs failed, as said above; mend their cause")


def run(parts: Sequence[str], learners: Sequence[str], sizes: Sizes) -> dict[str, Any]:
    """Measures some parts; returns the content of benchmark.json."""
    results: dict[str, Any] = {"sizes": dataclasses.asdict(sizes)}
    if "seeds" in parts:  # before JAX takes the accelerator
        results["seeds"] = measure_seeds(sizes)
    if "command_buffers" in parts:
        results["command_buffers"] = measure_command_buffers(sizes)
    sharding.split_cpu(sizes.num_seeds)
    check_devices_exist()
    results["machine"] = describe_machine()
    cases = choose_cases(parts, learners, sizes)
    measured = measure(cases.values(), sizes, say) if cases else {}
    results |= nest({path: measured[case] for path, case in cases.items()})
    if "ablations" in results:
        results["ablations"] = compare_with_paper(results["ablations"])
    if "roofline" in results:
        results["roofline"] = compare_with_limits(results["roofline"])
    unit = 1 if sys.platform == "darwin" else 1024
    results["peak_rss_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    results["device_memory"] = jax.devices()[0].memory_stats()
    return results


def nest(entries: Mapping[Path, Any]) -> dict[str, Any]:
    """Makes a tree of paths: {("a", "b"): x} -> {"a": {"b": x}}."""
    tree: dict[str, Any] = {}
    for (*folders, name), entry in entries.items():
        place = tree
        for folder in folders:
            place = place.setdefault(folder, {})
        place[name] = entry
    return tree


def compare_with_limits(entries: Mapping[str, Mapping]) -> dict[str, Any]:
    """Computes the operations per second of every learner.

    They are also given as fractions of what the machine does in matrix products alone. Learners
    whose operations are not counted (`flops.PARTS`) are left out.
    """
    limits = {name: entries[name]["flops_per_second"] for name in ("matmul", "chain")}
    learners = {}
    for name, entry in entries["learners"].items():
        if entry["flops_per_update"] is None:
            continue
        rate = entry["flops_per_update"] * entry["updates_per_second"]
        learners[name] = {
            "flops_per_update": entry["flops_per_update"],
            "flops_per_second": rate,
            **{f"of_{limit}": rate / limits[limit] for limit in limits},
        }
    return {**entries, "learners": learners}


def measure_seeds(sizes: Sizes) -> list[dict[str, Any]]:
    """Measures `MAIN` with 1, 2, 4, ... seeds.

    Each number has a process of its own, which divides the CPU as experiments.main does. Where
    memory ends, the last entry says so.
    """
    entries = []
    for num_seeds in powers(1, 2, sizes.max_seeds):
        result = _measure_apart(dataclasses.replace(sizes, num_seeds=num_seeds))
        if result is None:
            return [*entries, {"seeds": num_seeds, "error": "out of memory"}]
        entry = {
            "seeds": num_seeds,
            "devices": result["machine"]["devices"],
            "peak_rss_bytes": result["peak_rss_bytes"],
            **result["learners"][MAIN],
        }
        say(f"{num_seeds} seeds: {entry['updates_per_second']:.4g} updates/s in all")
        entries.append(entry)
    return entries


def measure_command_buffers(sizes: Sizes) -> dict[str, Any]:
    """Measures `MAIN` on a GPU with and without CUDA graphs, each in a process of its own."""
    measured = {name: _measure_apart(sizes, flag) for name, flag in COMMAND_BUFFERS.items()}
    return {name: result["learners"][MAIN] for name, result in measured.items() if result}


def _measure_apart(sizes: Sizes, xla_flag: str = "") -> dict[str, Any] | None:
    """Measures `MAIN` in another process; None where memory is not enough."""
    environment = os.environ | {"XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {xla_flag}"}
    with tempfile.TemporaryDirectory() as folder:
        program = [sys.executable, "-m", f"{__package__}.benchmark"]
        command = [*program, f"--output={folder}", "--parts=learners", f"--learners={MAIN}"]
        command += [f"--{name}={value}" for name, value in dataclasses.asdict(sizes).items()]
        child = subprocess.run(
            command, capture_output=True, text=True, check=False, env=environment
        )
        if child.returncode == -signal.SIGKILL or "RESOURCE_EXHAUSTED" in child.stderr:
            return None
        if child.returncode:
            raise RuntimeError(f"{' '.join(command)}: {child.returncode}\n{child.stderr}")
        with open(os.path.join(folder, "benchmark.json"), encoding="utf-8") as file:
            return json.load(file)


def describe_machine() -> dict[str, Any]:
    """Says where the numbers come from."""
    devices = jax.devices()
    return {
        "git_commit": record.git_commit(),
        "python": platform.python_version(),
        "jax": jax.__version__,
        "system": platform.platform(),
        "cpus": os.cpu_count(),
        "device_kind": devices[0].device_kind,
        "devices": len(devices),
        "matmul_precision": jax.config.jax_default_matmul_precision,
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
    }


def describe(results: Mapping[str, Any]) -> str:
    """Writes every rate in a line, as rows of docs/performance.md's tables."""
    lines = []

    def visit(path: Path, entry: Mapping[str, Any]) -> None:
        rates = (key for key in entry if key.endswith("_per_second") and "rounds" in entry)
        if rate := next(rates, None):
            number = f"{entry[rate]:.4g} {rate.removesuffix('_per_second')}/s"
            compiled = f"compiled in {entry['compile_seconds']:.1f} s"
            lines.append(f"| {' '.join(path)} | {number} | {compiled} |")
        for name, child in entry.items():
            if isinstance(child, Mapping):
                visit((*path, name), child)

    lines += latency.describe(results.get("latency", {}))
    lines += timed_runs.describe(results.get(TIMES, {}))
    seeds = {str(entry["seeds"]): entry for entry in results.get("seeds", ())}
    visit((), {**results, "seeds": seeds})
    for name, entry in results.get("roofline", {}).get("learners", {}).items():
        large, small = f"{entry['of_matmul']:.1%}", f"{entry['of_chain']:.1%}"
        lines.append(f"| {name} | {large} of large matrix products, {small} of small ones |")
    return "\n".join(lines)


def _check_names(flag: str, names: Sequence[str], known: Collection[str]) -> None:
    for name in names:
        if name not in known:
            raise InputError(f"--{flag}: {name!r} is unknown: use some of {', '.join(known)}")
    if not names:
        raise InputError(f"--{flag}= names nothing: use some of {', '.join(known)}")


if __name__ == "__main__":
    define_flags()
    launch.run(main, required=("output",))
