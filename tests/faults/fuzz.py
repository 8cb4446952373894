"""Damaged inputs through everything that reads them: nothing but InputError may come of them.

python -m tests.faults.fuzz                     10,000 inputs of every format
python -m tests.faults.fuzz 300 npz hdf5        300 of each of these
python -m tests.faults.fuzz npz@1234            number 1234 alone, with its traceback

An input is a function of its format and its number. A process of its own reads them, with little
memory; one that dies or hangs counts as an escape, too.
"""

import collections
import json
import os
import pathlib
import random
import resource
import select
import shutil
import subprocess
import sys
import tempfile
import traceback
from typing import Any

from edp_jax.types import InputError
from tests.faults import folders, inputs

ROOT = pathlib.Path(__file__).parents[2]
MEMORY = 2 << 30  # bytes that a reader may take for inputs of some kB
PATIENCE = 60.0  # seconds for one input
LONGEST = 300  # characters of a message, the path of the input aside


TARGETS = {  # write(rng, folder) makes a damaged input and returns its name, read(name) reads it
    "npz": (inputs.write_npz, inputs.read_data),
    "hdf5": (inputs.write_hdf5, inputs.read_data),
    "csv": (inputs.write_csv, inputs.read_data),
    "parquet": (inputs.write_parquet, inputs.read_data),
    "lerobot": (folders.write_lerobot, inputs.read_data),
    "minari": (folders.write_minari, inputs.read_data),
    "policy": (folders.write_policy, folders.read_policy),
    "config": (folders.write_config, folders.read_run),
}


def numbered(target: str, number: int) -> random.Random:
    """What the input of a format with that number is made by."""
    return random.Random(f"{target} {number}")


def outcome(target: str, rng: random.Random, folder: pathlib.Path) -> str:
    """Makes an input in a folder and reads it; "sound", "refused", or what escaped."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    write, read = TARGETS[target]
    name = write(rng, folder)
    try:
        read(name)
    except InputError as error:
        message = str(error).replace(str(folder), "")
        wrong = "\n" in message or len(message) > LONGEST
        return f"message {message!r}" if wrong else "refused"
    except BaseException as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{pathlib.Path(last.filename).name}:{last.lineno}"
        return f"{type(error).__name__} at {place}: {' '.join(str(error).split())[:120]}"
    return "sound"


def serve(target: str) -> None:
    """Answers every number on stdin with the outcome of that input."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    folder = pathlib.Path(tempfile.mkdtemp(prefix="edp_jax_fuzz_"))
    outcome(target, numbered(target, 0), folder / "input")  # imports what it needs
    used = int(pathlib.Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        result = outcome(target, numbered(target, int(line)), folder / "input")
        print(json.dumps(result), file=answers, flush=True)


class Reader:
    """A process that reads inputs of one format."""

    def __init__(self, target: str):
        self._target = target
        self._process: subprocess.Popen | None = None

    def ask(self, number: int) -> str:
        """The outcome of an input; one that ends or stops the process has escaped."""
        process = self._process = self._process or self._started()
        process.stdin.write(f"{number}\n")
        process.stdin.flush()
        if not select.select([process.stdout], [], [], PATIENCE)[0]:
            self.end()
            return f"no answer in {PATIENCE:.0f} s"
        if line := process.stdout.readline():
            return json.loads(line)
        self._process = None
        return f"died with {process.wait()}"

    def end(self) -> None:
        """Ends the process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _started(self) -> subprocess.Popen:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.fuzz", "--serve", self._target],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            bufsize=1,
        )
        process.stdout.readline()  # that it has imported all, which may take long
        return process


def main(count: int = 10_000, targets: list[str] | None = None) -> dict[str, Any]:
    """Reads `count` inputs of each format and returns what came of them."""
    figures = {}
    for target in targets or TARGETS:
        reader, tally = Reader(target), collections.Counter()
        escapes = collections.defaultdict(list)
        for number in range(count):
            result = reader.ask(number)
            kind = result if result in ("sound", "refused") else "escaped"
            tally[kind] += 1
            if kind == "escaped":
                escapes[result].append(number)
        reader.end()
        for result, numbers in escapes.items():
            print(f"  {target}@{numbers[0]} and {len(numbers) - 1} more: {result}")
        figures[target] = dict(tally)
        print(f"{target}: {json.dumps(figures[target])}", flush=True)
    return figures


def report(_: Any = None, count: int = 10_000) -> str:
    """The figures of all formats in a line, for `python -m tests.faults`."""
    figures = main(count)
    escaped = sum(tally.get("escaped", 0) for tally in figures.values())
    tried = sum(sum(tally.values()) for tally in figures.values())
    told = f"{tried:,} damaged inputs of {len(figures)} formats, {escaped:,} escaped"
    return f"FAULT {told}" if escaped else told


def show(target: str, number: int) -> None:
    """Reads one input in this process, so that its traceback can be seen."""
    write, read = TARGETS[target]
    folder = pathlib.Path(tempfile.mkdtemp(prefix="edp_jax_fuzz_"))
    name = write(numbered(target, number), folder)
    print(f"in {folder}", flush=True)
    read(name)


if __name__ == "__main__":
    arguments = sys.argv[1:]
    if arguments[:1] == ["--serve"]:
        serve(arguments[1])
    elif "@" in "".join(arguments[:1]):
        target, _, number = arguments[0].partition("@")
        show(target, int(number))
    else:
        main(*map(int, arguments[:1]), arguments[1:] or None)
