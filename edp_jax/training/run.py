"""A run in a folder: training, evaluations, checkpoints and tables.

It begins at the newest checkpoint of the folder. However often it was stopped before, it leaves the
same numbers as a run that was not.
"""

import contextlib
import dataclasses
import functools
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from edp_jax.algorithms.base import AgentState
from edp_jax.training import hosts, sharding
from edp_jax.training.checkpoint import Checkpoints
from edp_jax.training.evaluator import Evaluation
from edp_jax.training.journal import Journal
from edp_jax.training.members import Member
from edp_jax.training.online import Online
from edp_jax.training.progress import Progress
from edp_jax.training.rounds import Rounds
from edp_jax.training.trainer import Trainer
from edp_jax.training.writers import Writer
from edp_jax.types import InputError


@dataclasses.dataclass(frozen=True)
class Schedule:
    """When things happen, in updates.

    What falls into a round of the online phase happens at the end of the round.
    """

    num_steps: int  # on the data
    log_every: int
    eval_every: int
    checkpoint_every: int
    rounds: Rounds | None = None  # of the online phase, which begins after `num_steps`
    keep_every: int = 0  # between two states that are kept for good; 0: none are

    @property
    def end(self) -> int:
        """Updates of the whole run."""
        return self.num_steps if self.rounds is None else self.rounds.end

    def due(self, step: int, period: int) -> bool:
        """Whether what happens once per `period`, and at both ends, does so after update `step`."""
        since = self.rounds.updates if self.rounds and step > self.num_steps else 1
        return step % period < since or step in (self.num_steps, self.end)

    def keeps(self, step: int) -> bool:
        """Whether the state after update `step` is kept for good."""
        return self.keep_every > 0 and self.due(step, self.keep_every)

    def saves(self, step: int) -> bool:
        """Whether the state after update `step` is saved, to be kept for good or for a while."""
        return self.due(step, self.checkpoint_every) or self.keeps(step)

    def stops(self, start: int) -> Iterator[int]:
        """The steps after `start` at which something is due; the last one is `end`."""
        periods = self.log_every, self.eval_every, self.checkpoint_every, self.keep_every
        while start < self.end:
            following = min((start // period + 1) * period for period in periods if period)
            if start < self.num_steps:
                start = min(self.num_steps, following)
            elif self.rounds is not None:
                start = min(self.end, self.rounds.next_end(following))
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
    online: Online | None = None,
) -> Outcome:
    """Trains from the newest checkpoint up to `schedule.end`.

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
      online: gives the batches after `schedule.num_steps`, with the rounds of the schedule.

    Returns:
      What `leave` got.

    Raises:
      Stopped: `check_stop` or an evaluation raised it; the state is saved.
    """
    members = trainer.members
    saved = checkpoints.latest_step is not None
    state = checkpoints.restore(trainer.init()) if saved else begin(trainer.init())
    start = sharding.first_value(state.step)
    if start:
        print(f"going on from update {start:,}", flush=True)
    if online is not None and start > schedule.num_steps:
        _restore(online, checkpoints, members)
    evaluated_until = start if evaluate is None else start - 1
    record = Journal(
        workdir, members, start, evaluated_until, writers, checkpoints.notes, schedule.rounds
    )
    checkpoints.keep_best(record.best.step)
    progress = Progress(members, start, schedule.end)
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
        arrays = online.arrays() if online is not None and step > schedule.num_steps else None
        checkpoints.save(step, state, record.notes, arrays)

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
        if step < schedule.end:
            with nothing_lost(step, state):
                check_stop()

    # a checkpoint comes before its evaluation and cannot tell whether those rows are sound
    if start and (record.was_evaluated or schedule.due(start, schedule.eval_every)):
        look(start, state, evaluation_due=True)

    step, diverged = start, hosts.fetch(state.diverged)
    if start < schedule.end:
        print("compiling", flush=True)
    for stop in schedule.stops(start):
        if (diverged >= 0).all():
            break
        began = time.perf_counter()
        # of the collected steps no bounds are known: their rewards may be larger
        source, bounds = (None, possible_returns) if step < schedule.num_steps else (online, None)
        if online is not None and step == schedule.num_steps:
            state = online.begin(state, trainer.init)
        state, metrics = trainer.train(state, stop - step, source)
        compiled = step in (start, schedule.num_steps)  # batches of the online phase: a new program
        progress.chunk_done(stop - step, time.perf_counter() - began, compiled=compiled)
        step, diverged = stop, hosts.fetch(state.diverged)
        hosts.run_in_zero(functools.partial(record.metrics, step, metrics))
        if online is not None:
            record.episodes(online.take_finished())
        record.warn(step, metrics, diverged, bounds, trainer.algorithm.settings)
        evaluation_due = schedule.due(step, schedule.eval_every)
        look(step, state, evaluation_due)
        if schedule.saves(step):
            save(step, state)
        ended = step == schedule.end
        progress.show(evaluated, always=ended or (evaluation_due and evaluate is not None))
    finished = step == schedule.end and not (diverged >= 0).all()
    if not finished:
        save(step, state)
    outcome = reached(step, state, finished=finished)
    leave(outcome)
    return outcome


def _restore(online: Online, checkpoints: Checkpoints, members: Sequence[Member]) -> None:
    """Takes up the episodes in progress; tells of simulators that do not repeat themselves."""
    for member in online.restore(checkpoints.arrays):
        print(
            f"warning: {members[member]}: its simulator does not repeat itself, so the episode in "
            "progress is left; the next one begins, and numbers differ from a run without a stop",
            file=sys.stderr,
            flush=True,
        )
