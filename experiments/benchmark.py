"""Measures this library on this machine: updates and actions per second, memory, and how far from the machine's limit it is.

python -m experiments.benchmark --output=runs/benchmark
python -m experiments.benchmark --output=runs/benchmark --parts=learners,roofline --learners=edp_td3,edp_iql --num_seeds=4
python -m experiments.benchmark --output=runs/quick --quick     everything tiny, a minute or two: does it all work?

Writes DIR/benchmark.json and DIR/benchmark.png. docs/performance.md tells how to read them.
"""

import dataclasses
import json
import os
import platform
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence

import jax
from absl import flags

from edp_jax import InputError
from edp_jax.files import write_bytes
from edp_jax.training import outputs, sharding, writers

from . import benchmark_figure, launch
from .measure import LEARNERS, QUICK, Case, Sizes, measure
from .paper_speed import ABLATIONS, compare_with_paper

PARTS = ("learners", "ablations", "seeds", "batch", "curves", "stream", "sampling", "roofline")
QUICK_LEARNERS = ("edp_td3", "iql")
MAIN = "edp_td3"  # the learner of the parts that look at one only
CHAIN = 256  # width of the paper's networks
CURVES = {  # settings whose cost part curves measures one at a time
    "num_timesteps": (20, 100, 1000),
    "sampler_calls": (1, 2, 5, 10, 15, 30),
    "width": (64, 128, 256, 512),
    "num_transitions": (1_000, 10_000, 100_000, 1_000_000),
}
FAST_COMPILER = (
    "--xla_backend_optimization_level=0"  # compiles several times faster, to slower programs
)
PLACES = {"device": "train", "host": "stream"}  # where the data are, and how that is measured

Path = tuple[str, ...]  # of an entry in benchmark.json


def define_flags() -> None:
    flags.DEFINE_string("output", None, "Folder of the results.", required=True)
    flags.DEFINE_list("parts", list(PARTS), f"What to measure, of {', '.join(PARTS)}.")
    flags.DEFINE_list(
        "learners",
        None,
        "Files of configs/ that parts learners and roofline measure (by default all).",
    )
    flags.DEFINE_bool(
        "quick",
        False,
        "Tiny sizes, one round and two learners unless given; compiled without optimising.",
    )
    for field in dataclasses.fields(Sizes):
        define = flags.DEFINE_float if isinstance(field.default, float) else flags.DEFINE_integer
        smallest = 1 if field.default else 0
        bound = {"lower_bound": 0.0} if define is flags.DEFINE_float else {"lower_bound": smallest}
        define(field.name, None, f"{field.metadata['help']} (by default {field.default}).", **bound)


def main(_) -> None:
    given = flags.FLAGS
    _check_names("parts", given.parts, PARTS)
    learners = given.learners or (QUICK_LEARNERS if given.quick else LEARNERS)
    _check_names("learners", learners, LEARNERS)
    chosen = {field.name: given[field.name].value for field in dataclasses.fields(Sizes)}
    sizes = dataclasses.replace(
        QUICK if given.quick else Sizes(),
        **{name: value for name, value in chosen.items() if value is not None},
    )
    if given.quick:
        os.environ["XLA_FLAGS"] = (
            f"{os.environ.get('XLA_FLAGS', '')} {FAST_COMPILER}"  # read when JAX starts
        )
    try:
        os.makedirs(given.output, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"--output={given.output}: cannot be made ({error.strerror}); name a folder"
        ) from error

    results = {"sizes": dataclasses.asdict(sizes), "load_average": [os.getloadavg()]}
    if "seeds" in given.parts:  # before JAX takes the accelerator
        results["seeds"] = measure_seeds(sizes)
    sharding.split_cpu(sizes.num_seeds)
    results["machine"] = describe_machine()
    cases = choose_cases(given.parts, learners, sizes)
    measured = measure(cases.values(), sizes, lambda line: print(line, flush=True))
    results |= nest({path: measured[case] for path, case in cases.items()})
    if "ablations" in results:
        results["ablations"] = compare_with_paper(results["ablations"])
    if "roofline" in results:
        results["roofline"] = compare_with_limits(results["roofline"])
    unit = 1 if sys.platform == "darwin" else 1024
    results["peak_rss_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    results["device_memory"] = jax.devices()[0].memory_stats()
    results["load_average"].append(os.getloadavg())
    writers.write_json(os.path.join(given.output, "benchmark.json"), results)
    write_bytes(os.path.join(given.output, "benchmark.png"), benchmark_figure.draw(results))
    print(describe(results), flush=True)


def choose_cases(parts: Sequence[str], learners: Sequence[str], sizes: Sizes) -> dict[Path, Case]:
    """What to measure for which entry of benchmark.json; several entries may share a case."""
    cases = {}
    training = {name: Case("train", sizes.batch_size, name) for name in learners}
    if "learners" in parts:
        cases |= {("learners", name): case for name, case in training.items()}
    if "ablations" in parts:
        for title, bar in ABLATIONS.items():
            if bar.config:
                cases["ablations", title, "training"] = Case(
                    bar.kind, sizes.batch_size, bar.config, bar.changes
                )
            if bar.config and bar.kind == "train":
                cases["ablations", title, "acting"] = Case("act", 1, bar.config, bar.changes)
    if "batch" in parts:
        batches = powers(sizes.batch_size, 2, sizes.max_batch)
        cases |= {("batch", str(rows)): Case("train", rows, MAIN) for rows in batches}
    if "curves" in parts:
        for setting, values in CURVES.items():
            cases |= {
                ("curves", setting, str(x)): curve_case(setting, x, sizes)
                for x in values[: sizes.max_points]
            }
    if "stream" in parts:
        cases |= {
            ("stream", place): Case(kind, sizes.batch_size, MAIN) for place, kind in PLACES.items()
        }
    if "sampling" in parts:
        cases |= {
            ("sampling", str(rows)): Case("act", rows, MAIN)
            for rows in powers(1, 10, sizes.max_observations)
        }
    if "roofline" in parts:
        cases["roofline", "matmul"] = Case("matmul", sizes.matmul_size)
        cases["roofline", "chain"] = Case("matmul", CHAIN)
        cases |= {("roofline", "learners", name): case for name, case in training.items()}
    return cases


def curve_case(setting: str, value: int, sizes: Sizes) -> Case:
    """`MAIN` with another value of one of `CURVES`."""
    if setting == "num_transitions":
        return Case(
            "train", sizes.batch_size, MAIN, num_transitions=min(value, sizes.num_transitions)
        )
    change = ("hidden_dims", (value,) * 3) if setting == "width" else (setting, value)
    return Case("train", sizes.batch_size, MAIN, changes=(change,))


def powers(first: int, factor: int, last: int) -> list[int]:
    """first, first * factor, ... up to `last`, and `first` in any case."""
    values = [first]
    while values[-1] * factor <= last:
        values.append(values[-1] * factor)
    return values


def nest(entries: Mapping[Path, object]) -> dict:
    """{("a", "b"): x} -> {"a": {"b": x}}."""
    tree = {}
    for (*folders, name), entry in entries.items():
        place = tree
        for folder in folders:
            place = place.setdefault(folder, {})
        place[name] = entry
    return tree


def compare_with_limits(entries: Mapping[str, Mapping]) -> dict:
    """Operations per second of every learner, and as fractions of what the machine does in matrix products alone."""
    limits = {name: entries[name]["flops_per_second"] for name in ("matmul", "chain")}
    learners = {}
    for name, entry in entries["learners"].items():
        rate = entry["flops_per_update"] * entry["updates_per_second"]
        fractions = {f"of_{limit}": rate / limits[limit] for limit in limits}
        learners[name] = {
            "flops_per_update": entry["flops_per_update"],
            "flops_per_second": rate,
            **fractions,
        }
    return {**entries, "learners": learners}


def measure_seeds(sizes: Sizes) -> list[dict]:
    """`MAIN` with 1, 2, 4, ... seeds, each number in a process of its own, which splits the CPU as experiments.main does.

    The last entry says so where memory has ended.
    """
    entries = []
    for num_seeds in powers(1, 2, sizes.max_seeds):
        with tempfile.TemporaryDirectory() as folder:
            chosen = dataclasses.asdict(dataclasses.replace(sizes, num_seeds=num_seeds))
            command = [
                sys.executable,
                "-m",
                f"{__package__}.benchmark",
                f"--output={folder}",
                "--parts=learners",
            ]
            command += [
                f"--learners={MAIN}",
                *(f"--{name}={value}" for name, value in chosen.items()),
            ]
            child = subprocess.run(command, capture_output=True, text=True, check=False)
            if child.returncode == -signal.SIGKILL or "RESOURCE_EXHAUSTED" in child.stderr:
                return [*entries, {"seeds": num_seeds, "error": "out of memory"}]
            if child.returncode:
                raise RuntimeError(
                    f"{' '.join(command)} failed with {child.returncode}:\n{child.stderr}"
                )
            with open(os.path.join(folder, "benchmark.json"), encoding="utf-8") as file:
                result = json.load(file)
        facts = {
            "seeds": num_seeds,
            "devices": result["machine"]["devices"],
            "peak_rss_bytes": result["peak_rss_bytes"],
        }
        entries.append({**facts, **result["learners"][MAIN]})
        print(
            f"{num_seeds} seeds: {entries[-1]['updates_per_second']:.4g} updates/s in all",
            flush=True,
        )
    return entries


def describe_machine() -> dict:
    """Where the numbers come from."""
    devices = jax.devices()
    return {
        "git_commit": outputs.git_commit(),
        "python": platform.python_version(),
        "jax": jax.__version__,
        "system": platform.platform(),
        "cpus": os.cpu_count(),
        "device_kind": devices[0].device_kind,
        "devices": len(devices),
        "matmul_precision": jax.config.jax_default_matmul_precision,
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
    }


def describe(results: Mapping) -> str:
    """Every rate in a line, as rows of docs/performance.md's tables."""
    lines = []

    def visit(path: Path, entry: Mapping) -> None:
        rate = next(
            (key for key in entry if key.endswith("_per_second") and "rounds" in entry), None
        )
        if rate:
            compiled = f"compiled in {entry['compile_seconds']:.1f} s"
            lines.append(
                f"| {' '.join(path)} | {entry[rate]:.4g} {rate.removesuffix('_per_second')}/s | {compiled} |"
            )
        for name, child in entry.items():
            if isinstance(child, Mapping):
                visit((*path, name), child)

    seeds = {str(entry["seeds"]): entry for entry in results.get("seeds", ())}
    visit((), {**results, "seeds": seeds})
    for name, entry in results.get("roofline", {}).get("learners", {}).items():
        lines.append(
            f"| {name} | {entry['of_matmul']:.1%} of large matrix products, {entry['of_chain']:.1%} of small ones |"
        )
    return "\n".join(lines)


def _check_names(flag: str, names: Sequence[str], known: Sequence[str]) -> None:
    for name in names:
        if name not in known:
            raise InputError(f"--{flag}: {name!r} is unknown: use some of {', '.join(known)}")
    if not names:
        raise InputError(f"--{flag}= names nothing: use some of {', '.join(known)}")


if __name__ == "__main__":
    define_flags()
    launch.run(main)
