"""One run of a sweep: a process of its own, watched until it ends.

Nothing here imports JAX, since every worker of a cluster loads this.
"""

import contextlib
import dataclasses
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from etils import epath

from . import exits, leases, mirror

WAITING, RUNNING, FINISHED, FAILED, STOPPED = "waiting", "running", "finished", "failed", "stopped"
LOG, STATUS = "output.log", "status.json"  # in the folder of a run
BUSY = "trains there now"  # of edp_jax.runs.lock: the last owner may still be dying
# of edp_jax.training.progress.progress_line
PROGRESS = re.compile(
    r"([\d,]+) / [\d,]+ updates \| (?:([\d,.]+) updates/s|compiled) \| (.+?) left(?: \| (.+))?\s*$"
)
_PERIOD, _PUSH_PERIOD = 1.0, 60.0  # seconds between looks at a run, between copies to storage
_PATIENCE = 180.0  # seconds that a folder may stay busy after its owner died
_ROOT = pathlib.Path(__file__).parents[1]
_PASSED_ON = ("JAX_", "XLA_", "NVIDIA_TF32", "D4RL_", "MUJOCO_")


@dataclasses.dataclass(frozen=True)
class Job:
    """What is to be run."""

    name: str
    workdir: str  # absolute, or on storage that has a name with ://
    num_steps: int  # updates after which it has finished
    arguments: tuple[str, ...]  # of Python, without --workdir
    judged: bool = False  # whether it then judges its checkpoints


@dataclasses.dataclass(frozen=True)
class Needs:
    """What every run of a sweep gets."""

    cpus: int = 1
    gpus: float = 0  # below 1: several runs share one
    tpus: int = 0  # chips
    retries: int = 5  # times that a run which was killed goes on from its checkpoint
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def __str__(self) -> str:
        amounts = (self.cpus, "core"), (self.gpus, "GPU"), (self.tpus, "TPU chip")
        return ", ".join(
            f"{amount:g} {unit}{'s' if amount > 1 else ''}" for amount, unit in amounts if amount
        )


class Outcome(NamedTuple):
    """How a job ended."""

    state: str  # FINISHED, FAILED or STOPPED
    reason: str = ""  # why it failed, in one line


def passed_on() -> dict[str, str]:
    """The variables of this process's environment that runs on other machines have to have, too."""
    return {name: value for name, value in os.environ.items() if name.startswith(_PASSED_ON)}


def is_finished(job: Job) -> bool:
    """Whether the summary in the folder of a job says that nothing is left to do."""
    summary = _read_json(epath.Path(job.workdir) / "summary.json")
    trained = bool(summary.get("finished")) and summary.get("num_steps") == job.num_steps
    return trained and (not job.judged or bool(summary.get("judged")))


def read_status(job: Job) -> dict[str, Any]:
    """What the process that watches a job has written last; empty before that."""
    return _read_json(epath.Path(job.workdir) / STATUS)


def forget_status(todo: Sequence[Job]) -> None:
    """Removes what an earlier sweep has left of `read_status`, before jobs are started."""
    for job in todo:
        (epath.Path(job.workdir) / STATUS).unlink(missing_ok=True)


def supervise(job: Job, needs: Needs, stopping: Callable[[], bool] = lambda: False) -> Outcome:
    """Runs a job until it has ended; one that was killed goes on from its checkpoint.

    Args:
      job: the job. One that has finished is left alone.
      needs: what it gets.
      stopping: asked every second. When it is true, or KeyboardInterrupt is raised, the run is
        asked to stop: it saves its state.
    """
    if is_finished(job):
        return Outcome(FINISHED)
    try:
        return _supervise(job, needs, stopping)
    except mirror.NotCopied as error:
        return Outcome(FAILED, str(error))


def _supervise(job: Job, needs: Needs, stopping: Callable[[], bool]) -> Outcome:
    with contextlib.ExitStack() as held:
        folder, push = held.enter_context(mirror.local_copy(job.workdir))
        cores = held.enter_context(leases.lease("core", leases.cores(), needs.cpus))
        environment, attempt_to = _environment(needs), mirror.Forgiving(job.name)
        attempt, since = 1, time.monotonic()
        while True:
            watch = _Watch(job, folder, attempt, push, attempt_to)
            command = _command(job, folder, cores)
            code, asked = _run(command, environment, folder, stopping, watch)
            if code == 0:
                return watch.ended(Outcome(FINISHED))
            if asked or code == exits.STOPPED:
                return watch.ended(Outcome(STOPPED))
            reason = failure(code, watch.tail())
            if BUSY in reason and time.monotonic() - since < _PATIENCE:
                time.sleep(_PERIOD)
            elif code < 0 and attempt <= needs.retries:
                attempt, since = attempt + 1, time.monotonic()
            else:
                return watch.ended(Outcome(FAILED, reason))


def failure(code: int, tail: str) -> str:
    """Why a process ended with an exit code that is not 0.

    Args:
      code: its exit code; -n where signal n killed it.
      tail: the end of what it printed.

    Returns:
      Its line that begins with "error:", else its last line and the code.
    """
    lines = [line.strip() for line in tail.splitlines() if line.strip()]
    told = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    if code > 0 and told:
        return told[-1]
    name = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    return f"{name}: {lines[-1][:200]}" if lines else name


def progress(tail: str) -> dict[str, Any]:
    """What the newest line of progress in the output of a run says."""
    for line in reversed(re.split(r"[\r\n]+", tail)):
        if match := PROGRESS.search(line):
            step, rate, left, evaluated = match.groups()
            return {
                "step": int(step.replace(",", "")),
                "updates_per_second": float(rate.replace(",", "")) if rate else None,
                "left": left,
                "evaluated": evaluated,
            }
    return {}


class _Watch:
    """Keeps status.json up to date with what a run prints."""

    def __init__(
        self,
        job: Job,
        folder: str,
        attempt: int,
        push: Callable[[], None],
        attempt_to: Callable[[Callable[[], None]], None],
    ):
        self._job, self._push, self._pushed = job, push, time.monotonic()
        self._attempt_to = attempt_to
        self._log = os.path.join(folder, LOG)
        self._start = os.path.getsize(self._log) if os.path.exists(self._log) else 0
        self._known = {"num_steps": job.num_steps, "host": socket.gethostname(), "attempt": attempt}
        self._written: dict[str, Any] = {}

    def tail(self) -> str:
        """The end of what this attempt has printed."""
        with contextlib.suppress(OSError), open(self._log, "rb") as file:
            file.seek(max(self._start, os.path.getsize(self._log) - 4096))
            return file.read().decode(errors="replace")
        return ""

    def look(self) -> None:
        """Tells how far the run is, where that has changed."""
        self._write(state=RUNNING)
        if time.monotonic() - self._pushed > _PUSH_PERIOD:
            self._attempt_to(self._push)
            self._pushed = time.monotonic()

    def ended(self, outcome: Outcome) -> Outcome:
        """Tells how the run has ended."""
        self._write(**outcome._asdict())
        return outcome

    def _write(self, **what: str) -> None:
        self._known |= progress(self.tail())
        status = self._known | what

        def write() -> None:
            _write_status(self._job, status)
            self._written = status

        if status != self._written:
            self._attempt_to(write)


def _write_status(job: Job, status: Mapping[str, Any]) -> None:
    path = epath.Path(job.workdir) / STATUS
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path if mirror.is_remote(job.workdir) else path.with_suffix(".tmp")
    part.write_text(json.dumps(status))
    if part != path:
        os.replace(part, path)


def _run(
    command: list[str],
    environment: Mapping[str, str],
    folder: str,
    stopping: Callable[[], bool],
    watch: _Watch,
) -> tuple[int, bool]:
    """Runs a command; returns its exit code, and whether it was asked to stop."""
    asked = False
    with open(os.path.join(folder, LOG), "ab") as output:
        process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C in the terminal is not for it
        )
    try:
        while True:
            try:
                watch.look()
                if stopping() and not asked:
                    raise KeyboardInterrupt
                return process.wait(_PERIOD), asked
            except subprocess.TimeoutExpired:
                pass
            except KeyboardInterrupt:
                asked = True
                process.terminate()
    finally:
        process.kill()
        process.wait()


def bound(command: Sequence[str], cores: Sequence[str] = ()) -> list[str]:
    """A command as one that ends when this process does, and keeps to some cores if any are given.

    Args:
      command: whose program is given by its path.
      cores: their numbers.
    """
    program = str(pathlib.Path(__file__).with_name("bound.py"))
    return [sys.executable, "-P", program, str(os.getpid()), ",".join(cores), *command]


def _command(job: Job, folder: str, cores: list[str]) -> list[str]:
    return bound([sys.executable, *job.arguments, f"--workdir={folder}"], cores)


def _environment(needs: Needs) -> dict[str, str]:
    """The variables that a run sees: those of this process, and what keeps it to its share."""
    own = {"NPROC": str(needs.cpus)}  # how many threads XLA makes
    if not needs.gpus and not needs.tpus:
        own["JAX_PLATFORMS"] = "cpu"
    if 0 < needs.gpus < 1:
        own["XLA_PYTHON_CLIENT_MEM_FRACTION"] = f"{0.9 * needs.gpus:.2f}"
    if __package__ == "experiments":  # a clone, which need not be installed
        paths = (str(_ROOT), os.environ.get("PYTHONPATH", ""))
        own["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    return {**os.environ, **own, **needs.environment}


def _read_json(path: epath.Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
