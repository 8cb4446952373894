"""Damaged inputs through everything that reads them: nothing but InputError may come of them.

python -m tests.faults.fuzz                     10,000 inputs of every format
python -m tests.faults.fuzz 300 npz hdf5        300 of each of these
python -m tests.faults.fuzz 1 npz@1234          number 1234 alone, with its traceback

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
PATIENCE = 30.0  # seconds for one input
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


def outcome(target: str, number: int, folder: pathlib.Path) -> str:
    """Reads an input; "sound", "refused", or what escaped."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    write, read = TARGETS[target]
    name = write(random.Random(f"{target} {number}"), folder)
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
    outcome(target, 0, folder / "input")  # imports what it needs
    used = int(pathlib.Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for line in sys.stdin:
        print(json.dumps(outcome(target, int(line), folder / "input")), file=answers, flush=True)


class Reader:
    """A process that reads inputs of one format."""

    def __init__(self, target: str):
        self._target, self._process = target, None

    def ask(self, number: int) -> str:
        if self._process is None:
            command = [sys.executable, "-m", "tests.faults.fuzz", "--serve", self._target]
            self._process = subprocess.Popen(
                command,
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                bufsize=1,
            )
        process = self._process
        process.stdin.write(f"{number}\n")
        process.stdin.flush()
        patience = PATIENCE
        ready = select.select([process.stdout], [], [], patience)[0]
        line = process.stdout.readline() if ready else ""
        if line:
            return json.loads(line)
        process.kill()
        self._process = None
        return f"died with {process.wait()}" if ready else f"no answer in {PATIENCE:.0f} s"


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
        for result, numbers in escapes.items():
            print(f"  {target}@{numbers[0]} and {len(numbers) - 1} more: {result}")
        figures[target] = dict(tally)
        print(f"{target}: {json.dumps(figures[target])}", flush=True)
    return figures


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(sys.argv[2])
    else:
        main(*map(int, sys.argv[1:2]), sys.argv[2:] or None)
