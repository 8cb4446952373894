"""Tiny runs in processes of their own, and whether two runs left the same."""

import dataclasses
import json
import os
import pathlib
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import IO

import numpy as np

ROOT = pathlib.Path(__file__).parents[2]
TINY = {
    "hidden_dims": "(16,16)",
    "batch_size": "32",
    "log_every": "5",
    "eval_every": "20",
    "eval_episodes": "2",
    "checkpoint_every": "10",
    "seeds": "(0,1)",
    "num_steps": "80",
    "env_id": "tests.faults.simulators:Faulty-v0",
}


@dataclasses.dataclass(frozen=True)
class Ended:
    """How a run ended."""

    code: int | None  # None: it did not
    printed: str

    @property
    def in_one_line(self) -> bool:
        """Whether it ended well, or told in a line what is wrong."""
        lines = [line for line in self.printed.splitlines() if line.startswith("error: ")]
        told = self.code in (0, 75) or len(lines) == 1
        return told and "Traceback" not in self.printed


def judge(wrong: list, told: str) -> str:
    """A line with figures and what does not hold, if anything."""
    return told + (f"; FAULT: {wrong}" if wrong else "; all hold")


class Bench:
    """A folder with a small dataset, and the runs that are made there."""

    def __init__(self, folder: str):
        """Writes the dataset.

        Args:
          folder: where; it is empty.
        """
        self.folder = pathlib.Path(folder)
        self._copies: dict[int, threading.Thread] = {}  # of what processes print, by their number
        rng, rows = np.random.default_rng(0), 2000
        np.savez(
            self.folder / "data.npz",
            observations=rng.normal(size=(rows, 3)).astype(np.float32),
            actions=rng.uniform(-1, 1, (rows, 1)).astype(np.float32),
            rewards=rng.normal(size=rows).astype(np.float32),
            terminals=np.zeros(rows, bool),
            timeouts=np.arange(rows) % 100 == 99,
        )

    def start(
        self,
        name: str,
        settings: dict[str, str] | None = None,
        *,
        environment: dict[str, str] | None = None,
        before: Callable[[], None] | None = None,
        log: str | None = None,
    ) -> subprocess.Popen:
        """Starts the run in the folder `name`; what it prints goes to a new file NAME.log.

        Args:
          name: of the folder.
          settings: other than `TINY`.
          environment: more variables of the process.
          before: called in the process before it becomes the run.
          log: another name for that file, where several processes share the run.
        """
        given = TINY | (settings or {})
        command = [sys.executable, "-m", "experiments.main"]
        command += [f"--config=td3_bc:{self.folder / 'data.npz'}"]
        command += [f"--workdir={self.folder / name}"]
        command += [f"--config.compilation_cache={self.folder / 'programs'}"]
        command += [f"--config.{key}={value}" for key, value in given.items()]
        variables = {
            "JAX_PLATFORMS": "cpu",
            "PYTHONPATH": str(ROOT),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        }
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=os.environ | variables | (environment or {}),
            stdout=subprocess.PIPE,  # a file would have the limits of the process
            stderr=subprocess.STDOUT,
            preexec_fn=before,
        )
        copy = threading.Thread(target=self._copy, args=(process.stdout, self.log(log or name)))
        copy.start()
        self._copies[process.pid] = copy
        return process

    def _copy(self, printed: IO[bytes], log: pathlib.Path) -> None:
        with printed, open(log, "wb") as file:
            for line in printed:
                file.write(line)
                file.flush()

    def start_two(self, name: str, settings: dict[str, str]) -> list[subprocess.Popen]:
        """Starts two processes that share a run; they print to NAME0.log and NAME1.log."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{probe.getsockname()[1]}"
        shared = {"distributed": "True", "num_processes": "2", "coordinator_address": address}
        return [
            self.start(name, settings | shared | {"process_id": index}, log=f"{name}{index}")
            for index in ("0", "1")
        ]

    def run(self, name: str, settings: dict[str, str] | None = None, **options) -> Ended:
        """Runs to the end; see `start`."""
        return self.wait(name, self.start(name, settings, **options))

    def wait(self, name: str, process: subprocess.Popen) -> Ended:
        """Waits for a run whose lines go to NAME.log."""
        try:
            code = process.wait(600)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            code = None
        self._copies.pop(process.pid).join()
        return Ended(code, self.log(name).read_bytes().decode(errors="replace"))

    def log(self, name: str) -> pathlib.Path:
        """Where a run's lines go."""
        return self.folder / f"{name}.log"

    def until(self, process: subprocess.Popen, met: Callable[[], bool]) -> None:
        """Waits until something is so, or the run has ended."""
        deadline = time.monotonic() + 300
        while process.poll() is None and time.monotonic() < deadline and not met():
            time.sleep(0.001)

    def differences(self, name: str, reference: str, files: Sequence[str] = ()) -> list[str]:
        """What two runs left that is not the same bit for bit, times and speeds aside."""
        ours, theirs = self.folder / name, self.folder / reference
        different = []
        files = files or ("metrics.csv", "evaluations.csv", "policy", "summary.json")
        online = [path.relative_to(theirs) for path in theirs.glob("collected/*")]
        online += ["episodes.csv"] if online else []
        for file in (*files, *map(str, online)):
            try:
                if _content(ours, file) != _content(theirs, file):
                    different.append(file)
            except OSError as error:
                different.append(f"{file} ({type(error).__name__})")
        return different


def _content(folder: pathlib.Path, file: str) -> object:
    if file == "policy":
        with np.load(folder / "policy" / "params.npz", allow_pickle=False) as arrays:
            return {name: arrays[name].tobytes() for name in arrays}
    if file == "summary.json":
        summary = json.loads((folder / file).read_text())
        return {
            key: summary[key] for key in summary.keys() - {"wall_seconds", "updates_per_second"}
        }
    return (folder / file).read_bytes()
