"""What is done to the files of runs, and whether they go on to what an undisturbed one leaves.

Each function returns a line with figures, in which FAULT stands where something does not hold.
"""

import os
import pathlib
import random
import resource
import shutil
import signal
import time
from collections.abc import Callable

from edp_jax import InputError
from edp_jax.runs.lock import locked
from tests.faults.bench import Bench, Ended, judge


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
    return judge(wrong, f"of {number} at once {won} trains, {answers.count(b'0')} are refused")


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
    return judge(wrong, f"{looked} damages of {len(files)} files, {len(ways)} commands")


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
    return judge(wrong, f"{tried} damages")


def disk(bench: Bench) -> str:
    """Limits on the size of files, folders that vanish: one line, and the run goes on later."""
    _halves(bench)
    wrong, tried, folder = [], 0, bench.folder / "cut"

    def look(way: str, ended: Ended) -> None:
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
        look(f"files of {size} bytes", ended)
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
    return judge(wrong, f"{tried} cases")
