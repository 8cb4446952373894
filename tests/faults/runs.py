"""What is done to runs, and whether they go on to what an undisturbed one leaves.

Each function returns a line with figures, in which FAULT stands where something does not hold.
"""

import json
import os
import pathlib
import random
import resource
import shutil
import signal
import time
from collections.abc import Callable

import numpy as np

from edp_jax import InputError
from edp_jax.runs.lock import locked
from tests.faults import simulators as kinds
from tests.faults.bench import Bench, Ended


def _judge(wrong: list, told: str) -> str:
    return told + (f"; FAULT: {wrong}" if wrong else "; all hold")


def locks(bench: Bench, number: int = 64) -> str:
    """Processes that want one folder at once: exactly one gets it."""
    read, write = os.pipe()
    children = []
    for _ in range(number):
        child = os.fork()
        if child == 0:
            try:
                with locked(str(bench.folder)):
                    os.write(write, b"1")
                    time.sleep(3600)
            except InputError:
                os.write(write, b"0")
            finally:
                os._exit(0)
        children.append(child)
    answers = b"".join(os.read(read, 1) for _ in range(number))
    for child in children:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    with locked(str(bench.folder)):  # of dead processes it is free
        pass
    won = answers.count(b"1")
    wrong = [] if won == 1 else [won]
    return _judge(wrong, f"of {number} at once {won} trains, {answers.count(b'0')} are refused")


def _halves(bench: Bench) -> None:
    """A run of 80 updates as `reference`, and one of 40 as `half`."""
    for name, num_steps in (("reference", "80"), ("half", "40")):
        ended = bench.run(name, {"num_steps": num_steps})
        assert ended.code == 0, ended.printed


def _go_on_from_half(bench: Bench, damage: Callable[[pathlib.Path], object]) -> Ended:
    folder = bench.folder / "again"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(bench.folder / "half", folder)
    damage(folder)
    return bench.run("again")


def checkpoints(bench: Bench) -> str:
    """Every file of the newest checkpoint, damaged in six ways: the run goes on from an older one.

    All are looked at in this process; the whole command is run for each way.
    """
    from edp_jax.training.checkpoint import find_damage

    _halves(bench)
    rng = random.Random(0)

    def flip(path: pathlib.Path) -> None:
        content = bytearray(path.read_bytes())
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        path.write_bytes(content)

    ways: dict[str, Callable[[pathlib.Path], object]] = {
        "truncated": lambda path: os.truncate(path, path.stat().st_size // 2),
        "emptied": lambda path: os.truncate(path, 0),
        "zeroed": lambda path: path.write_bytes(bytes(path.stat().st_size)),
        "removed": lambda path: path.unlink(),
        "one bit": flip,
        "longer": lambda path: path.write_bytes(path.read_bytes() + b"\0"),
    }
    newest = bench.folder / "half" / "checkpoints" / "40"
    files = [path for path in sorted(newest.rglob("*")) if path.is_file() and path.stat().st_size]
    wrong, looked = [], 0
    for path in files:
        content = path.read_bytes()
        for way, damage in ways.items():
            for _ in range(10 if way == "one bit" else 1):
                damage(path)
                looked += 1
                found = find_damage(str(newest.parent), 40)
                path.write_bytes(content)
                if found is None and path.name != "sha256.json":
                    wrong.append((path.name, way))
    largest = max(files, key=lambda path: path.stat().st_size)
    for way, damage in ways.items():
        ended = _go_on_from_half(
            bench, lambda w, d=damage: d(w / largest.relative_to(bench.folder / "half"))
        )
        if (
            ended.code
            or "set_aside" not in ended.printed
            or bench.differences("again", "reference")
        ):
            wrong.append(("command", way, ended.printed[-200:]))
    return _judge(wrong, f"{looked} damages of {len(files)} files, {len(ways)} commands")


def tables(bench: Bench) -> str:
    """Rows lost, altered, doubled or zeroed; files and folders of a finished run lost or cut."""
    _halves(bench)

    def edit(name: str, change: Callable[[list[str]], list[str]]) -> Callable:
        def damage(folder: pathlib.Path) -> None:
            path = folder / name
            path.write_text("".join(change(path.read_text().splitlines(keepends=True))))

        return damage

    ways = {
        "lost": lambda folder, name: (folder / name).unlink(),
        "rows lost": lambda folder, name: edit(name, lambda rows: rows[:1] + rows[3:])(folder),
        "last row lost": lambda folder, name: edit(name, lambda rows: rows[:-1])(folder),
        "doubled": lambda folder, name: edit(name, lambda rows: rows + rows[1:])(folder),
        "a header inside": lambda folder, name: edit(name, lambda rows: rows[:3] + rows)(folder),
        "altered": lambda folder, name: edit(
            name, lambda rows: [*rows[:2], rows[2].replace(".", ".1", 1), *rows[3:]]
        )(folder),
        "zeroed": lambda folder, name: edit(
            name, lambda rows: ["".join(rows)[: len("".join(rows)) // 2], "\0" * 200]
        )(folder),
    }
    wrong, tried = [], 0
    for name in ("metrics.csv", "evaluations.csv"):
        for way, damage in ways.items():
            ended = _go_on_from_half(bench, lambda folder, d=damage, n=name: d(folder, n))
            tried += 1
            if ended.code or bench.differences("again", "reference"):
                wrong.append((name, way, bench.differences("again", "reference")))
    finished: dict[str, Callable[[pathlib.Path], object]] = {
        "policy lost": lambda folder: shutil.rmtree(folder / "policy"),
        "parameters cut": lambda folder: os.truncate(folder / "policy" / "params.npz", 500),
        "summary cut": lambda folder: os.truncate(folder / "summary.json", 50),
        "evaluations lost": lambda folder: (folder / "evaluations.csv").unlink(),
        "metrics lost": lambda folder: (folder / "metrics.csv").unlink(),
        "last evaluation cut": edit("evaluations.csv", lambda rows: rows[:-1]),
        "last evaluation altered": edit(
            "evaluations.csv", lambda rows: [*rows[:-1], rows[-1].replace(".", ".1", 1)]
        ),
        "checkpoints lost": lambda folder: shutil.rmtree(folder / "checkpoints"),
    }
    for way, damage in finished.items():
        folder = bench.folder / "again"
        shutil.rmtree(folder)
        shutil.copytree(bench.folder / "reference", folder)
        damage(folder)
        ended, tried = bench.run("again"), tried + 1
        if ended.code or bench.differences("again", "reference"):
            wrong.append(("finished", way, bench.differences("again", "reference")))
    return _judge(wrong, f"{tried} damages")


def disk(bench: Bench) -> str:
    """Limits on the size of files, folders that vanish: one line, and the run goes on later."""
    _halves(bench)
    wrong, tried, folder = [], 0, bench.folder / "cut"

    def judge(way: str, ended: Ended) -> None:
        again = bench.run("cut")
        if not ended.in_one_line:
            wrong.append((way, ended.code, ended.printed[-300:]))
        if again.code or bench.differences("cut", "reference"):
            wrong.append((way, "afterwards", again.code, again.printed[-300:]))
        shutil.rmtree(folder, ignore_errors=True)

    for size in (500, 2_000, 5_000, 10_000, 20_000, 40_000):
        limit = (size, resource.getrlimit(resource.RLIMIT_FSIZE)[1])
        ended = bench.run(
            "cut", before=lambda limit=limit: resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        )
        tried += 1
        judge(f"files of {size} bytes", ended)
    for what in ("", "checkpoints", "metrics.csv", "evaluations.csv"):
        process = bench.start("cut", {"num_steps": "100000", "eval_every": "20"})
        bench.until(process, lambda: (folder / "checkpoints" / "40").exists())
        lost = folder / what if what else folder
        shutil.rmtree(lost, ignore_errors=True) if lost.is_dir() else lost.unlink()
        told = time.monotonic() + 10
        bench.until(process, lambda told=told: time.monotonic() > told)
        if b"error: " not in bench.log("cut").read_bytes():
            process.send_signal(signal.SIGTERM)
        ended, tried = bench.wait("cut", process), tried + 1
        if not ended.in_one_line:
            wrong.append((what or "all", "vanished", ended.code, ended.printed[-300:]))
        shutil.rmtree(folder, ignore_errors=True)
    return _judge(wrong, f"{tried} cases")


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
    return _judge(wrong, f"{tried} signals")


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
    return _judge(wrong, f"diverged in update {summary['diverged'][0]['update']}; all: exit 1")


def simulators(bench: Bench) -> str:
    """Every fault of `simulators`: the training is that of an undisturbed run, and all is told."""
    assert bench.run("reference").code == 0
    wrong, faults = [], [*kinds.STEPS, *kinds.RESETS, *kinds.DEATHS]
    for fault in faults:
        settings = {"env_kwargs": json.dumps({"fault": fault}), "step_seconds": "2"}
        ended = bench.run("run", settings)
        if fault in kinds.DEATHS:  # the state is saved; with a sound one it goes on
            ended = bench.run("run")
        summary = json.loads((bench.folder / "run" / "summary.json").read_text())
        told = summary["failed_evaluations"] if fault not in kinds.DEATHS else [1]
        different = bench.differences("run", "reference", ("metrics.csv", "policy"))
        if ended.code or different or not told or not summary["finished"]:
            wrong.append((fault, ended.code, different, ended.printed[-200:]))
        shutil.rmtree(bench.folder / "run")
    return _judge(wrong, f"{len(faults)} faults")


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
    return _judge(wrong, "; ".join(told) + " as with 1")


def kills(bench: Bench, number: int = 100) -> str:
    """SIGKILL at random moments, or as soon as a file appears that tells of a phase."""
    rng, wrong, done = random.Random(0), [], 0
    settings = {"num_steps": "600"}
    assert bench.run("reference", settings).code == 0
    folder = bench.folder / "run"
    phases = {
        "a checkpoint": lambda: any((folder / "checkpoints").glob("*tmp*")),
        "the policy": (folder / "policy").exists,
        "the summary": lambda: any(folder.glob("summary.json*")),
        "an evaluation": (folder / "evaluations.csv").exists,
    }
    while done < number:
        process, began = bench.start("run", settings), time.monotonic()
        moment = rng.uniform(0.5, 12)
        phase = rng.choice([*phases.values(), None, None, None])
        bench.until(process, lambda p=phase, t=began + moment: p() if p else time.monotonic() > t)
        time.sleep(rng.choice([0, 0.001, 0.01]))
        process.kill()
        done += process.wait() != 0
        if process.returncode == 0:
            if different := bench.differences("run", "reference"):
                wrong.append(different)
            shutil.rmtree(folder)
    ended = bench.run("run", settings)
    if ended.code or bench.differences("run", "reference"):
        wrong.append((ended.code, bench.differences("run", "reference"), ended.printed[-300:]))
    return _judge(wrong, f"{done} kills")


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
    return _judge(
        wrong,
        f"{chunks} chunks: memory {growth:+.2f} % ({memory[0] / 1024:.0f} MB), handles "
        f"{handles[0]:.0f} -> {handles[1]:.0f}, checkpoints {', '.join(kept)}",
    )
