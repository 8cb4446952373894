"""A run in a folder: training, evaluations, checkpoints and tables.

It begins at the newest checkpoint of the folder. However often it was stopped before, it leaves the
same numbers as a run that was not.
"""

import contextlib
import dataclasses
import functools
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from edp_jax.algorithms.base import AgentState
from edp_jax.errors import one_line
from edp_jax.evaluation import episode_means
from edp_jax.training import best, divergence, hosts, tables
from edp_jax.training.checkpoint import Checkpoints, saved_steps
from edp_jax.training.evaluator import Evaluation
from edp_jax.training.members import Member
from edp_jax.training.progress import Progress, headline
from edp_jax.training.trainer import Trainer
from edp_jax.training.writers import Writer
from edp_jax.types import InputError


@dataclasses.dataclass(frozen=True)
class Schedule:
    """When things happen, in updates."""

    num_steps: int
    log_every: int
    eval_every: int
    checkpoint_every: int

    def due(self, step: int, period: int) -> bool:
        """Whether what happens once per `period`, and at the end, does so after update `step`."""
        return step % period == 0 or step == self.num_steps

    def stops(self, start: int) -> Iterator[int]:
        """The steps after `start` at which something is due; the last one is `num_steps`."""
        periods = self.log_every, self.eval_every, self.checkpoint_every
        while start < self.num_steps:
            following = ((start // period + 1) * period for period in periods)
            start = min(self.num_steps, *following)
            yield start


class Outcome(NamedTuple):
    """What a run has reached when it ends, or when it is stopped before."""

    state: AgentState  # [R]
    step: int  # updates done
    finished: bool  # whether these were all
    updates_per_second: float | None  # of each member, in this start, without compiling
    diverged: np.ndarray  # [R] the update in which a member diverged; -1 where it has not
    failures: tuple[tuple[int, str], ...] = ()  # (step, reason) of evaluations
    evaluates: bool = True  # whether the run has an environment to be evaluated in
    tables: dict[str, Any] | None = None  # `CsvTable.rows_so_far` by name, in process 0
    possible_returns: tuple[np.ndarray, np.ndarray] | None = None  # as `run` got them


def run(
    trainer: Trainer,
    workdir: str,
    schedule: Schedule,
    *,
    checkpoints: Checkpoints,
    begin: Callable[[AgentState], AgentState] = lambda untrained: untrained,
    evaluate: Callable[[AgentState], Evaluation] | None = None,
    check_stop: Callable[[], None] = lambda: None,
    writers: Sequence[Writer] = (),
    leave: Callable[[Outcome], None] = lambda outcome: None,
    possible_returns: tuple[np.ndarray, np.ndarray] | None = None,
) -> Outcome:
    """Trains from the newest checkpoint up to `schedule.num_steps`.

    Metrics go to DIR/metrics.csv, episodes to DIR/evaluations.csv. Rows newer than the checkpoint
    are dropped at the start. The state is saved before it is evaluated. An evaluation that fails is
    told, and the training goes on; that of the checkpoint's step is made (again) at a start. A
    member that diverges stops and the others go on; where all have, the run ends unfinished. Where
    several processes share the run, all call this with the same arguments; process 0 writes the
    tables.

    Args:
      trainer: trains the members.
      workdir: DIR.
      schedule: when to log, evaluate, and save.
      checkpoints: those of this run.
      begin: makes the state before the first update of the untrained one.
      evaluate: made by `evaluator.make_evaluate`; None where nothing is evaluated.
      check_stop: called between chunks of updates; it raises Stopped to end the run. Collective.
      writers: what gets the metrics besides the tables.
      leave: called with what the run has reached, once, before `run` returns or before it raises
        what ended it after its state was saved. Collective.
      possible_returns: see `divergence.possible_returns`; None where the learner has no values.

    Returns:
      What `leave` got.

    Raises:
      Stopped: `check_stop` or an evaluation raised it; the state is saved.
    """
    members = trainer.members
    start = checkpoints.latest_step or 0
    state = checkpoints.restore(trainer.init()) if start else begin(trainer.init())
    if start:
        print(f"going on from update {start:,}", flush=True)
    evaluated_until = start if evaluate is None else start - 1
    record = _Record(workdir, members, start, evaluated_until, writers, checkpoints.notes)
    checkpoints.keep_best(record.best.step)
    progress = Progress(members, start, schedule.num_steps)
    evaluated: str | None = None

    def reached(step: int, state: AgentState, *, finished: bool) -> Outcome:
        return Outcome(
            state,
            step,
            finished,
            progress.updates_per_second,
            hosts.fetch(state.diverged),
            tuple(record.failures),
            evaluate is not None,
            record.rows_so_far,
            possible_returns,
        )

    def save(step: int, state: AgentState) -> None:
        checkpoints.save(step, state, record.notes)

    @contextlib.contextmanager
    def nothing_lost(step: int, state: AgentState) -> Iterator[None]:
        """Saves the state and leaves the run before an error of the block ends it.

        Of several processes all have to do so. They are all here if the error is one of those that
        collective calls raise in all of them.
        """
        try:
            yield
        except Exception as error:
            if jax.process_count() == 1 or isinstance(error, InputError | hosts.Stopped):
                save(step, state)
                leave(reached(step, state, finished=False))
            raise

    def look(step: int, state: AgentState, evaluation_due: bool) -> None:
        """Evaluates where that is due, then stops where it is asked to."""
        nonlocal evaluated
        if evaluate is not None and evaluation_due:
            save(step, state)
            with nothing_lost(step, state):
                try:
                    result = evaluate(state)
                except InputError as error:
                    evaluated = record.failure(step, str(error))
                else:
                    evaluated = record.evaluation(step, result)
                    checkpoints.keep_best(record.best.step)
        if step < schedule.num_steps:
            with nothing_lost(step, state):
                check_stop()

    # a checkpoint comes before its evaluation and cannot tell whether those rows are sound
    if start and (record.was_evaluated or schedule.due(start, schedule.eval_every)):
        look(start, state, evaluation_due=True)

    step, diverged = start, hosts.fetch(state.diverged)
    if start < schedule.num_steps:
        print("compiling", flush=True)
    for stop in schedule.stops(start):
        if (diverged >= 0).all():
            break
        began = time.perf_counter()
        state, metrics = trainer.train(state, stop - step)
        progress.chunk_done(stop - step, time.perf_counter() - began)
        step, diverged = stop, hosts.fetch(state.diverged)
        hosts.run_in_zero(functools.partial(record.metrics, step, metrics))
        record.warn(step, metrics, diverged, possible_returns)
        evaluation_due = schedule.due(step, schedule.eval_every)
        look(step, state, evaluation_due)
        if schedule.due(step, schedule.checkpoint_every):
            save(step, state)
        ended = step == schedule.num_steps
        progress.show(evaluated, always=ended or (evaluation_due and evaluate is not None))
    finished = step == schedule.num_steps and not (diverged >= 0).all()
    if not finished:
        save(step, state)
    outcome = reached(step, state, finished=finished)
    leave(outcome)
    return outcome


class _Record:
    """The tables and other writers of a run. In process 0 only; the others write nothing."""

    def __init__(
        self,
        workdir: str,
        members: Sequence[Member],
        start: int,
        evaluated_until: int,
        writers: Sequence[Writer],
        notes: Mapping[str, Any],
    ):
        self._members, self._writers = members, list(writers)
        # step and reason, of evaluations
        self.failures = [(step, reason) for step, reason in notes.get("failures", ())]
        self._told: set[str] = set()
        self._tables: dict[str, tables.CsvTable] = {}
        found = hosts.run_in_zero(lambda: self._open(workdir, start, evaluated_until))
        self.was_evaluated = bool(found[0])
        self.best = best.Best(*found[1:])  # of the evaluations whose state is saved

    def _open(self, workdir: str, start: int, evaluated_until: int) -> tuple:
        """Cuts the tables; returns whether `start` was evaluated, and the parts of the best."""
        lines = tables.read_lines(os.path.join(workdir, tables.EVALUATIONS))
        was_evaluated = lines is not None and start in lines.steps
        for name, until in ((tables.METRICS, start), (tables.EVALUATIONS, evaluated_until)):
            path = os.path.join(workdir, name)
            tables.truncate(path, until)
            self._tables[name] = tables.CsvTable(path)
        saved = saved_steps(os.path.join(workdir, "checkpoints"))
        return was_evaluated, *best.find_best(os.path.join(workdir, tables.EVALUATIONS), saved)

    @property
    def rows_so_far(self) -> dict[str, Any]:
        return {name: table.rows_so_far for name, table in self._tables.items()}

    @property
    def notes(self) -> dict[str, Any]:
        """Notes that are saved beside the arrays of a checkpoint, for the next start of the run."""
        return self.rows_so_far | {"failures": self.failures}

    def metrics(self, step: int, metrics: Mapping[str, np.ndarray]) -> None:
        """Writes metrics [R]."""
        rows = tables.metric_rows(step, self._members, metrics)
        self._tables[tables.METRICS].append(rows)
        self._write(step, metrics)

    def warn(
        self,
        step: int,
        metrics: Mapping[str, np.ndarray],
        diverged: np.ndarray,
        possible_returns: tuple[np.ndarray, np.ndarray] | None,
    ) -> None:
        """Warns once of every member that has diverged, and of values that are too large."""
        for member, update in zip(self._members, diverged, strict=True):
            if update >= 0:
                self._warn_once(str(member), divergence.describe(member, int(update)))
        if possible_returns is not None:
            line = divergence.describe_values(step, self._members, metrics, possible_returns)
            self._warn_once("values", line)

    def _warn_once(self, about: str, line: str | None) -> None:
        if line is not None and about not in self._told and hosts.is_process_zero():
            self._told.add(about)
            print(f"warning: {line}", file=sys.stderr, flush=True)

    def evaluation(self, step: int, result: Evaluation) -> str:
        """Writes an evaluation and returns its headline."""
        rows = tables.evaluation_rows(step, self._members, result)
        hosts.run_in_zero(lambda: self._tables[tables.EVALUATIONS].append(rows))
        self.best = self.best.better(step, result.values, result.lengths)
        for fault in result.faults:
            self._note(step, fault)
        means = {"evaluation/return": episode_means(result.returns, result.lengths)}
        if result.scores is not None:
            means["evaluation/score"] = episode_means(result.scores, result.lengths)
        self._write(step, means)
        return headline(self._members, result)

    def failure(self, step: int, reason: str) -> str:
        """Notes an evaluation that has no result, and returns its headline."""
        self._note(step, reason)
        return "evaluation failed"

    def _note(self, step: int, reason: str) -> None:
        self.failures.append((step, reason))
        print(f"warning: evaluation at update {step:,}: {reason}", file=sys.stderr, flush=True)

    def _write(self, step: int, metrics: Mapping[str, np.ndarray]) -> None:
        """Hands metrics to the writers; one that fails is told, and gets no more."""
        for writer in tuple(self._writers):
            try:
                writer.write(step, self._members, metrics)
            except Exception as error:
                self._writers.remove(writer)
                name = type(writer).__name__
                line = f"warning: {name} gets no more metrics: {one_line(error)}"
                print(line, file=sys.stderr, flush=True)
