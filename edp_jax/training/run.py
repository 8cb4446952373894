"""A whole run in a folder: chunks of updates, evaluations, checkpoints and tables, from the start or from where it stopped."""

import dataclasses
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence

import numpy as np

from edp_jax.algorithms import Algorithm, Hypers
from edp_jax.algorithms.base import AgentState
from edp_jax.training import hosts, loop, stream, writers
from edp_jax.training.checkpoint import Checkpoints
from edp_jax.training.evaluator import Evaluation
from edp_jax.training.hosts import Stopped
from edp_jax.training.members import Member, member_hypers
from edp_jax.types import Transition

PRINT_PERIOD = 20.0  # seconds between two progress lines where the output is not a terminal


@dataclasses.dataclass(frozen=True)
class Schedule:
    """When things happen, in updates."""

    num_steps: int
    log_every: int
    eval_every: int
    checkpoint_every: int

    @property
    def periods(self) -> tuple[int, int, int]:
        return self.log_every, self.eval_every, self.checkpoint_every

    def due(self, step: int, period: int) -> bool:
        return step % period == 0 or step == self.num_steps


class StopSignals:
    """Turns SIGINT and SIGTERM into a wish that the run fulfils at the next safe point; a second one stops at once."""

    def __init__(self):
        self._requested = False
        self._previous = {}

    def __enter__(self):
        self._previous = {
            number: signal.signal(number, self._request)
            for number in (signal.SIGINT, signal.SIGTERM)
        }
        return self

    def __exit__(self, *_):
        self._restore()

    def check(self) -> None:
        """Raises Stopped once a signal has come."""
        if self._requested:
            raise Stopped

    def _request(self, number, frame):
        del number, frame
        self._requested = True
        self._restore()
        print(
            "\nstopping after the current chunk; once more to stop at once",
            file=sys.stderr,
            flush=True,
        )

    def _restore(self):
        for number, handler in self._previous.items():
            signal.signal(number, handler)


class Progress:
    """The line that tells how far the run is; rewritten in place on a terminal."""

    def __init__(self, num_steps: int):
        self._num_steps = num_steps
        self._in_place = sys.stdout.isatty()
        self._since: tuple[int, float] | None = (
            None  # step and time of the first chunk's end: compiling is not counted
        )
        self._printed = -np.inf

    def show(
        self, step: int, updates_per_second: float, score: float | None, *, always: bool
    ) -> None:
        now = time.monotonic()
        if self._since is None:
            self._since, seconds_left = (step, now), (self._num_steps - step) / updates_per_second
        else:
            first, began = self._since
            seconds_left = (now - began) / (step - first) * (self._num_steps - step)
        if not (always or self._in_place or now - self._printed > PRINT_PERIOD):
            return
        self._printed = now
        line = writers.progress_line(step, self._num_steps, updates_per_second, seconds_left, score)
        if self._in_place:
            print(f"\r\033[K{line}", end="\n" if always else "", flush=True)
        else:
            print(line, flush=True)


def run(
    *,
    workdir: str,
    checkpoints: Checkpoints,
    algorithm: Algorithm,
    dataset: Transition,
    weights: np.ndarray | None,
    data_on_host: bool,
    hypers: Hypers,
    members: tuple[Member, ...],
    batch_size: int,
    schedule: Schedule,
    evaluate: Callable[[AgentState], Evaluation] | None,
    check_stop: Callable[[], None],
    extra_writers: Sequence[writers.Writer] = (),
) -> tuple[AgentState, float | None]:
    """Trains up to `schedule.num_steps` and returns the state [R] and the updates per second of each member.

    Rows go to metrics.csv and evaluations.csv, states to `checkpoints`; the newest of these is where the run starts. A chunk's
    rows are written before its checkpoint, and rows newer than the checkpoint are dropped at the start, so a run that was
    stopped anywhere leaves the same tables as one that was not, wherever its data are. The rate is None where no second chunk was
    run. Where several processes share the run, all call this with the same arguments and process 0 writes the tables.

    Raises:
      Stopped: `check_stop` raised it; the state is saved.
    """
    state = loop.init_seeds(algorithm, [member.seed for member in members])
    start = checkpoints.latest_step or 0
    if start:
        state = checkpoints.restore(state)
        print(f"going on from update {start:,}", flush=True)
    first = hosts.is_first()
    paths = {
        name: os.path.join(workdir, name) if first else os.devnull
        for name in ("metrics.csv", "evaluations.csv")
    }
    for path in paths.values():
        writers.truncate(path, start)
    metrics_table, evaluations_table = (writers.CsvTable(path) for path in paths.values())
    progress, score = Progress(schedule.num_steps), None

    def record_evaluation(step: int, state: AgentState) -> float | None:
        result = evaluate(state)
        evaluations_table.append(writers.evaluation_rows(step, members, *result))
        values = {"evaluation/return": result.returns.mean(axis=1)}
        if result.scores is not None:
            values["evaluation/score"] = result.scores.mean(axis=1)
        for writer in extra_writers:
            writer.write(step, members, values)
        return float(np.mean(result.returns if result.scores is None else result.scores))

    evaluated = hosts.of_first(writers.last_step(paths["evaluations.csv"]) == start)
    if evaluate and start and schedule.due(start, schedule.eval_every) and not evaluated:
        score = record_evaluation(start, state)  # the signal came during this evaluation

    timed_updates, timed_seconds, diverged = 0, 0.0, set()
    if data_on_host:
        train_chunk = stream.make_train_chunk(algorithm, batch_size)
        replay = stream.HostReplay(
            dataset, len(members), batch_size, algorithm.draws_ahead, weights
        )
    else:
        train_chunk = loop.make_train_chunk(algorithm, batch_size)
        replay = loop.put_dataset(dataset, len(members), weights)
    ends = loop.chunk_ends(start, schedule.num_steps, schedule.periods)
    if start < schedule.num_steps:
        print("compiling", flush=True)
    for chunk in loop.train(train_chunk, state, replay, member_hypers(hypers, members), ends):
        step, state = chunk.step, chunk.state
        metrics_table.append(writers.metric_rows(step, members, chunk.metrics))
        for writer in extra_writers:
            writer.write(step, members, chunk.metrics)
        if first:
            _warn_if_diverged(step, members, chunk.metrics, diverged)
        evaluated = evaluate is not None and schedule.due(step, schedule.eval_every)
        try:
            if evaluated:
                score = record_evaluation(step, state)
            if step < schedule.num_steps:
                check_stop()
        except Stopped:
            checkpoints.save(step, state)
            raise
        if schedule.due(step, schedule.checkpoint_every):
            checkpoints.save(step, state)
        progress.show(
            step,
            chunk.num_updates / chunk.seconds,
            score,
            always=evaluated or step == schedule.num_steps,
        )
        if start < step - chunk.num_updates:  # the first chunk compiles
            timed_updates, timed_seconds = (
                timed_updates + chunk.num_updates,
                timed_seconds + chunk.seconds,
            )
    return state, timed_updates / timed_seconds if timed_updates else None


def _warn_if_diverged(
    step: int, members: tuple[Member, ...], metrics: dict[str, np.ndarray], known: set[Member]
) -> None:
    """Tells once of every member whose metrics are no longer finite; `known` collects them."""
    for index, member in enumerate(members):
        broken = [name for name, values in metrics.items() if not np.isfinite(values[index])]
        if broken and member not in known:
            known.add(member)
            print(
                f"warning: {member} has diverged at update {step:,}: {', '.join(broken)}",
                file=sys.stderr,
                flush=True,
            )
