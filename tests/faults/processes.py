"""What is done to the processes of runs, what they are made to compute, and what they leave.

Each function returns a line with figures, in which FAULT stands where something does not hold.
"""

import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable

import numpy as np

from edp_jax.training import tables
from edp_jax.training.checkpoint import saved_steps
from tests.faults import simulators as kinds
from tests.faults.bench import Bench, judge


def signals(bench: Bench) -> str:
    """Every signal, in the training and while a simulator hangs; then a second one."""
    wrong, tried, folder = [], 0, bench.folder / "run"
    long = {"num_steps": "100000"}
    for hangs in (False, True):
        settings = long | ({"env_kwargs": '{"fault": "hangs"}'} if hangs else {})
        mark = (folder / "checkpoints" / "20").exists
        for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU"):
            process = bench.start("run", settings)
            bench.until(process, mark)
            time.sleep(0.5)
            process.send_signal(getattr(signal, name))
            ended, tried = bench.wait("run", process), tried + 1
            if ended.code != 75 or not ended.in_one_line:
                wrong.append((name, hangs, ended.code, ended.printed[-300:]))
            shutil.rmtree(folder)
    process = bench.start("run", long)
    bench.until(process, (folder / "checkpoints" / "20").exists)
    for _ in range(2):
        process.send_signal(signal.SIGTERM)
        time.sleep(0.01)
    ended, tried = bench.wait("run", process), tried + 1
    if ended.code not in (75, -signal.SIGTERM) or "Traceback" in ended.printed:
        wrong.append(("second", ended.code, ended.printed[-300:]))
    return judge(wrong, f"{tried} signals")


def divergence(bench: Bench) -> str:
    """One member of three gets a step size that no training survives, then all of them."""
    rates = ["3e-4", "1e30", "1e-3"]
    single = {"seeds": "(0,)"}
    assert bench.run("sound", single | {"sweep.learning_rate": "(3e-4,5e-4,1e-3)"}).code == 0
    some = bench.run("some", single | {"sweep.learning_rate": f"({','.join(rates)})"})
    summary = json.loads((bench.folder / "some" / "summary.json").read_text())
    wrong = []
    if some.code or [entry["learning_rate"] for entry in summary["diverged"]] != [1e30]:
        wrong.append(("some", some.code, summary["diverged"]))
    with (
        np.load(bench.folder / "some" / "policy" / "params.npz") as ours,
        np.load(bench.folder / "sound" / "policy" / "params.npz") as theirs,
    ):
        for name in ours:
            if name.startswith("params") and (ours[name][[0, 2]] != theirs[name][[0, 2]]).any():
                wrong.append(("others differ", name))
    every = bench.run("all", single | {"learning_rate": "1e30"})
    if every.code != 1 or not every.in_one_line:
        wrong.append(("all", every.code, every.printed[-300:]))
    return judge(wrong, f"diverged in update {summary['diverged'][0]['update']}; all: exit 1")


def simulators(bench: Bench) -> str:
    """Every fault of `simulators`: the training is that of an undisturbed run, and all is told."""
    assert bench.run("reference").code == 0
    wrong, files = [], ("metrics.csv", "policy")
    for fault in (*kinds.STEPS, *kinds.RESETS):
        ended = bench.run("run", {"env_kwargs": json.dumps({"fault": fault}), "step_seconds": "2"})
        summary = json.loads((bench.folder / "run" / "summary.json").read_text())
        different = bench.differences("run", "reference", files)
        told = summary["failed_evaluations"] and summary["finished"]
        if ended.code or different or not told:
            wrong.append((fault, ended.code, different, ended.printed[-200:]))
        shutil.rmtree(bench.folder / "run")
    for fault in kinds.DEATHS:
        for start in range(3):
            ended = bench.run("run", {"env_kwargs": json.dumps({"fault": fault})})
            told = "the last start died in its evaluation after 20 updates" in ended.printed
            if not ended.code or told != (start > 0):
                wrong.append((fault, start, ended.code, ended.printed[-200:]))
        ended = bench.run("run", {"env_id": "none"})
        if ended.code or bench.differences("run", "reference", files):
            wrong.append((fault, "none", ended.code, ended.printed[-200:]))
        ended = bench.run("run", {"num_steps": "100"})  # it is mended
        if ended.code or "died" in ended.printed:
            wrong.append((fault, "mended", ended.code, ended.printed[-200:]))
        shutil.rmtree(bench.folder / "run")
    return judge(
        wrong, f"{len(kinds.STEPS) + len(kinds.RESETS)} faults, {len(kinds.DEATHS)} deaths"
    )


def devices(bench: Bench) -> str:
    """1, 2 and 8 virtual devices, eight members, resumed or not: equal bits on equal devices."""
    wrong, told = [], []
    settings = {"seeds": "(0,1,2,3,4,5,6,7)", "num_steps": "40"}
    for number in (1, 2, 8):
        flags = {"XLA_FLAGS": f"--xla_force_host_platform_device_count={number}"}
        assert bench.run(f"whole{number}", settings, environment=flags).code == 0
        for num_steps in ("20", "40"):
            bench.run(f"two{number}", settings | {"num_steps": num_steps}, environment=flags)
        if different := bench.differences(f"two{number}", f"whole{number}"):
            wrong.append((number, "resumed", different))
        equal = not bench.differences(f"whole{number}", "whole1")
        told.append(f"{number} devices: {'the' if equal else 'other'} bits")
        (bench.folder / f"two{number}").rename(bench.folder / f"moved{number}")
    bench.run("changed", settings | {"num_steps": "20"}, environment=flags)
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    if "differ in their last bits" not in bench.run("changed", settings, environment=flags).printed:
        wrong.append("a change of devices is not told")
    return judge(wrong, "; ".join(told) + " as with 1")


def kills(bench: Bench, number: int = 100) -> str:
    """SIGKILL at random moments, or as soon as a file appears that tells of a phase.

    A fifth of them hit two processes that share a run.
    """
    of_two, folder = number // 5, bench.folder / "run"
    phases = {
        "a checkpoint": lambda: any((folder / "checkpoints").glob("*tmp*")),
        "the policy": (folder / "policy").exists,
        "the summary": lambda: any(folder.glob("summary.json*")),
        "an evaluation": (folder / "evaluations.csv").exists,
    }

    def choose(rng: random.Random, seconds: float) -> Callable[[], bool]:
        moment = time.monotonic() + rng.uniform(0.5, seconds)
        return rng.choice([*phases.values(), *[lambda: time.monotonic() > moment] * 3])

    wrong = _kills(bench, number - of_two, lambda name: [bench.start(name, _LONGER)], choose)
    wrong += _kills(bench, of_two, lambda name: bench.start_two(name, _LONGER), choose)
    return judge(wrong, f"{number - of_two} kills of one process, {of_two} of two that share a run")


_LONGER = {"num_steps": "600"}


def online(bench: Bench, number: int = 10) -> str:
    """SIGKILL in an online phase, some time after its metrics have reached a random update."""
    settings = {"num_steps": "40", "online_steps": "3000", "online_warmup": "100"}
    settings |= {"online_capacity": "1000", "online_noise": "0.2", "online_data": "True"}
    settings |= {"checkpoint_every": "200", "eval_every": "1000"}
    updates, folder = [], bench.folder / "run"

    def reached() -> int:
        lines = tables.read_lines(str(folder / "metrics.csv"))
        return max(lines.steps) if lines and lines.steps else 0

    def choose(rng: random.Random, seconds: float) -> Callable[[], bool]:
        del seconds
        saved = max([40, *saved_steps(str(folder / "checkpoints"))])
        update, delay = rng.randint(saved + 1, saved + 1000), rng.uniform(0, 0.1)
        updates.append(update)
        return lambda: reached() >= update and not time.sleep(delay)

    wrong = _kills(bench, number, lambda name: [bench.start(name, settings)], choose)
    return judge(wrong, f"{number} kills after updates {', '.join(map(str, updates))}")


def _kills(
    bench: Bench,
    number: int,
    start: Callable[[str], list[subprocess.Popen]],
    choose: Callable[[random.Random, float], Callable[[], bool]],
) -> list:
    """What is wrong after so many kills of runs that `start(name)` starts and goes on with.

    They come when that is so which `choose` gives, called with a generator and the seconds that a
    run takes; a run that ends before is compared and begun anew.
    """
    rng, wrong, done, folder = random.Random(number), [], 0, bench.folder / "run"

    def run(name: str) -> list[int]:
        codes = [process.wait() for process in start(name)]
        if any(codes) or name == "run" and bench.differences("run", "reference"):
            wrong.append((name, codes, bench.differences("run", "reference")))
        return codes

    began = time.monotonic()
    run("reference")
    longest = time.monotonic() - began
    while done < number:
        processes = start("run")
        bench.until(processes[0], choose(rng, longest))
        rng.shuffle(processes)
        for process in processes:
            time.sleep(rng.choice([0, 0.001, 0.01]))
            process.kill()
        codes = [process.wait() for process in processes]
        done += any(codes)
        if not any(codes):
            if different := bench.differences("run", "reference"):
                wrong.append(different)
            shutil.rmtree(folder)
    run("run")
    for name in ("run", "reference"):
        shutil.rmtree(bench.folder / name)
    return wrong


def soak(bench: Bench, chunks: int = 300) -> str:
    """Many chunks, each with an evaluation and a checkpoint: memory, files and handles."""
    every = {"log_every": "5", "eval_every": "5", "checkpoint_every": "5"}
    process = bench.start("run", every | {"num_steps": str(5 * chunks)})
    samples: list[tuple[int, int, int]] = []

    def look() -> bool:
        time.sleep(0.2)
        try:
            done = len((bench.folder / "run" / "metrics.csv").read_text().splitlines()) // 2
            status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
            memory = int(status.partition("VmRSS:")[2].split()[0])
            samples.append((done, memory, len(os.listdir(f"/proc/{process.pid}/fd"))))
        except (OSError, IndexError, ValueError):
            pass
        return False

    bench.until(process, look)
    ended = bench.wait("run", process)
    warm = [sample for sample in samples if 0.1 <= sample[0] / chunks <= 0.2]
    last = [sample for sample in samples if 0.9 <= sample[0] / chunks < 1]
    memory, handles = (
        [float(np.median([sample[i] for sample in part])) for part in (warm, last)] for i in (1, 2)
    )
    growth = 100 * (memory[1] / memory[0] - 1)
    kept = sorted(path.name for path in (bench.folder / "run" / "checkpoints").iterdir())
    wrong = [] if ended.code == 0 and growth <= 1 and handles[1] <= handles[0] else [ended.code]
    return judge(
        wrong,
        f"{chunks} chunks: memory {growth:+.2f} % ({memory[0] / 1024:.0f} MB), handles "
        f"{handles[0]:.0f} -> {handles[1]:.0f}, checkpoints {', '.join(kept)}",
    )
