"""Breaks runs on purpose, kind by kind, and prints a line with figures for each.

python -m tests.faults                  all kinds; some hours on two cores
python -m tests.faults locks disk       these
python -m tests.faults kills=10         with 10 instead of 100 (also locks, soak, fuzz, online)
"""

import sys
import tempfile
from collections.abc import Callable

from tests.faults import fuzz, hosts, processes, runs
from tests.faults.bench import Bench


def sweeps(bench: Bench) -> str:
    """A worker and a node of a Ray cluster die under six runs."""
    try:
        from tests.faults import ray_cluster
    except ImportError as error:
        return f"left out: {error}"
    try:
        ray_cluster.deaths(bench.folder)
    except AssertionError as error:
        return f"FAULT: {' '.join(str(error).split())[:300]}"
    return "a worker and a node died under six runs; all hold"


PROGRAMS: dict[str, Callable[..., str]] = {
    "locks": runs.locks,
    "checkpoints": runs.checkpoints,
    "tables": runs.tables,
    "disk": runs.disk,
    "signals": processes.signals,
    "divergence": processes.divergence,
    "simulators": processes.simulators,
    "devices": processes.devices,
    "hosts": hosts.deaths,
    "saves": hosts.saves,
    "kills": processes.kills,
    "online": processes.online,
    "soak": processes.soak,
    "fuzz": fuzz.report,
    "sweeps": sweeps,
}


def main(names: list[str]) -> int:
    """Runs the programs of these names, or all; returns 1 if one found a fault, 2 for bad names."""
    asked = [name.partition("=")[::2] for name in names or PROGRAMS]
    if unknown := [name for name, _ in asked if name not in PROGRAMS]:
        print(f"{unknown[0]}: unknown; use some of {', '.join(PROGRAMS)}", file=sys.stderr)
        return 2
    failed = False
    for name, number in asked:
        with tempfile.TemporaryDirectory(prefix=f"edp_jax_{name}_") as folder:
            line = PROGRAMS[name](Bench(folder), *[int(number)] if number else [])
        failed = failed or "FAULT" in line
        print(f"{name}: {line}", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
