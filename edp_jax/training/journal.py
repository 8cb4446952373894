"""What a run writes down while it trains: its tables, and warnings."""

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edp_jax.errors import one_line
from edp_jax.evaluation import episode_means
from edp_jax.training import best, divergence, hosts, tables
from edp_jax.training.checkpoint import saved_steps
from edp_jax.training.evaluator import Evaluation
from edp_jax.training.interaction import Finished
from edp_jax.training.members import Member
from edp_jax.training.progress import headline
from edp_jax.training.rounds import Rounds
from edp_jax.training.writers import Writer


class Journal:
    """The tables and other writers of a run. In process 0 only; the others write nothing."""

    def __init__(
        self,
        workdir: str,
        members: Sequence[Member],
        start: int,
        evaluated_until: int,
        writers: Sequence[Writer],
        notes: Mapping[str, Any],
        rounds: Rounds | None = None,
    ):
        """Opens the tables, and drops what is newer than the checkpoint.

        Args:
          workdir: DIR.
          members: R of them.
          start: updates after which the run goes on.
          evaluated_until: updates up to which evaluations stay.
          writers: what gets the metrics besides the tables.
          notes: of the checkpoint.
          rounds: of the online phase, if the run has one.
        """
        self._members, self._writers, self._rounds = members, list(writers), rounds
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
        for name, until in (
            (tables.METRICS, start),
            (tables.EPISODES, start),
            (tables.EVALUATIONS, evaluated_until),
        ):
            path = os.path.join(workdir, name)
            tables.truncate(path, until)
            self._tables[name] = tables.CsvTable(path)
        saved = saved_steps(os.path.join(workdir, "checkpoints"))
        return was_evaluated, *best.find_best(os.path.join(workdir, tables.EVALUATIONS), saved)

    @property
    def rows_so_far(self) -> dict[str, Any]:
        names = self._tables.keys() - (() if self._rounds else (tables.EPISODES,))
        return {name: self._tables[name].rows_so_far for name in sorted(names)}

    @property
    def notes(self) -> dict[str, Any]:
        """Notes that are saved beside the arrays of a checkpoint, for the next start of the run."""
        return self.rows_so_far | {"failures": self.failures}

    def metrics(self, step: int, metrics: Mapping[str, np.ndarray]) -> None:
        """Writes metrics [R]."""
        rows = tables.metric_rows(step, self._members, metrics)
        self._tables[tables.METRICS].append(rows)
        self._write(step, metrics)

    def episodes(self, finished: Sequence[Finished]) -> None:
        """Writes the episodes that ended while the members were trained."""
        if not self._rounds or not finished:
            return
        rows = tables.episode_rows(self._rounds, self._members, finished)
        self._tables[tables.EPISODES].append(rows)
        for each in finished:
            if each.length < 0:
                line = (
                    f"{self._members[each.member]}, episode {each.episode}: the environment gave "
                    f"a NaN or infinite number; that step, {each.env_step:,}, and others like it "
                    "are left out"
                )
                self._warn_once(f"broken {each.member}", line)

    def warn(
        self,
        step: int,
        metrics: Mapping[str, np.ndarray],
        diverged: np.ndarray,
        possible_returns: tuple[np.ndarray, np.ndarray] | None,
        settings: Any,
    ) -> None:
        """Warns once of every member that has diverged, and of values that are too large.

        Args:
          step: updates done.
          metrics: [R] by name.
          diverged: [R] the update in which a member diverged, -1 where it has not.
          possible_returns: see `divergence.possible_returns`; None: nothing is said of values.
          settings: of the learner, for remedies.
        """
        for member, update in zip(self._members, diverged, strict=True):
            if update >= 0:
                self._warn_once(str(member), divergence.describe(member, int(update), settings))
        if possible_returns is not None:
            line = divergence.describe_values(
                step, self._members, metrics, possible_returns, settings
            )
            self._warn_once("values", line)

    def _warn_once(self, about: str, line: str | None) -> None:
        if line is not None and about not in self._told and hosts.is_process_zero():
            self._told.add(about)
            print(f"warning: {line}", file=sys.stderr, flush=True)

    def evaluation(self, step: int, result: Evaluation) -> str:
        """Writes an evaluation and returns its headline."""
        env_steps = self._rounds and self._rounds.env_steps(step)
        rows = tables.evaluation_rows(step, self._members, result, env_steps)
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
