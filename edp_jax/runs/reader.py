"""Reading the folder of a run; the only parser of its files."""

import csv
import dataclasses
import functools
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from edp_jax.errors import one_line
from edp_jax.evaluation import episode_means
from edp_jax.files import read_json
from edp_jax.runs import older, shape
from edp_jax.training import best, clock, tables
from edp_jax.training.members import Member
from edp_jax.types import InputError

if TYPE_CHECKING:
    from edp_jax.algorithms import AgentState, Algorithm
    from edp_jax.export import Policy

FORMAT = 2  # of config.json and checkpoints; counts up when older runs can no longer be read


@dataclasses.dataclass(frozen=True)
class Evaluations:
    """All evaluations of a run: T of them, each with E episodes of R members.

    Where the number of episodes changed on the way, E is the largest. An episode that an evaluation
    did not have, or in which a number was not finite, has the length -1, and NaN as return and
    score. So have all of a member that has diverged.
    """

    steps: np.ndarray  # [T] updates done
    returns: np.ndarray  # [T, R, E]
    lengths: np.ndarray  # [T, R, E] steps
    scores: np.ndarray | None  # [T, R, E]; None where some evaluation has no scores
    num_episodes: np.ndarray  # [T, R] that were run, at most E
    env_steps: np.ndarray | None = None  # [T] of each member until then; None of an offline run

    @property
    def unit(self) -> str:
        """What `means` are of: "score" or "return"."""
        return "return" if self.scores is None else "score"

    @property
    def means(self) -> np.ndarray:
        """Mean score [T, R] over the episodes of each evaluation; return where there is no score.

        It is NaN where none of them counts.
        """
        values = self.returns if self.scores is None else self.scores
        return episode_means(values, self.lengths)


@dataclasses.dataclass(frozen=True)
class Metrics:
    """The metrics of a run: T rows of R members, each the mean since the row before."""

    steps: np.ndarray  # [T] updates done
    values: dict[str, np.ndarray]  # [T, R] by name


@dataclasses.dataclass(frozen=True)
class Times:
    """How long a run took, over all its starts: T rows, one per step of `Metrics`."""

    steps: np.ndarray  # [T] updates done
    seconds: np.ndarray  # [T] since it began
    evaluating: np.ndarray  # [T] how many of these seconds went into evaluations


@dataclasses.dataclass(frozen=True)
class Run:
    """A run, read back from its folder. Each file is read when it is first asked for, and once.

        run = edp_jax.runs.Run("runs/first")
        run.config["algorithm"], run.evaluations.means[-1], run.policy(seed=0)

    What is asked for raises InputError where the folder does not have it, or where another version
    of this library wrote it.
    """

    workdir: str | os.PathLike[str]

    @property
    def config(self) -> dict[str, Any]:
        """All settings of the run, flat, as in `edp_jax.configuration.make_config`."""
        return older.filled(self._record["config"])

    @property
    def dataset(self) -> dict[str, Any]:
        """Where the dataset came from and what is in it."""
        return self._record["dataset"]

    @property
    def starts(self) -> list[dict[str, Any]]:
        """For each start of the run: its step, git commit, versions and devices."""
        return self._record["starts"]

    @functools.cached_property
    def members(self) -> tuple[Member, ...]:
        """The R agents of the run, in the order of every axis R."""
        return tuple(
            Member(columns["seed"], tuple((k, v) for k, v in columns.items() if k != "seed"))
            for columns in self._record["members"]
        )

    @property
    def title(self) -> str:
        """Learner and task, as in "edp_td3 on hopper-medium-v2"; of a file its name."""
        task = self.config["task"]
        task = os.path.basename(task) if os.path.isabs(task) else task
        return f"{self.config['algorithm']} on {task}"

    @functools.cached_property
    def evaluations(self) -> Evaluations | None:
        """The evaluations; None where there was none yet."""
        steps, cells = self._read_table(tables.EVALUATIONS)
        if not steps:
            return None
        numbers = np.array([[len(rows) for rows in of_members] for of_members in cells])
        returns, scores = np.full((2, *numbers.shape, numbers.max()), np.nan)
        lengths, scored = np.full(returns.shape, -1), True
        for t, of_members in enumerate(cells):
            for r, rows in enumerate(of_members):
                for e, row in enumerate(rows):
                    returns[t, r, e], lengths[t, r, e] = float(row["return"]), int(row["length"])
                    scored = scored and row["score"] != ""
                    scores[t, r, e] = float(row["score"] or "nan")
        taken = [of_members[0][0].get("env_steps") for of_members in cells]
        env_steps = None if None in taken else np.array(taken, int)
        scores = scores if scored else None
        return Evaluations(np.array(steps), returns, lengths, scores, numbers, env_steps)

    @functools.cached_property
    def metrics(self) -> Metrics:
        """The metrics; T is 0 where there are none yet."""
        steps, cells = self._read_table(tables.METRICS)
        own = {"step", *self.members[0].columns}
        names = [name for name in cells[0][0][0] if name not in own] if steps else []
        values = {
            name: np.array(
                [[float(rows[0][name] or "nan") for rows in of_members] for of_members in cells]
            )
            for name in names
        }
        return Metrics(np.array(steps, int), values)

    @functools.cached_property
    def times(self) -> Times | None:
        """The time at each row of the metrics; None where the run has not noted any."""
        steps, seconds, evaluating = clock.read(os.fspath(self.workdir)).T
        return Times(steps, seconds, evaluating) if len(steps) else None

    @functools.cached_property
    def summary(self) -> dict[str, Any] | None:
        """What summary.json holds; None where the run has not stopped yet."""
        path = os.path.join(self.workdir, "summary.json")
        return self._read_json(path) if os.path.isfile(path) else None

    @property
    def judged(self) -> list[dict[str, Any]] | None:
        """Checkpoints as `best_by=fqe` ranked them; None without, or if trained on since."""
        from edp_jax.training.checkpoint import saved_steps

        return shape.judged(self.summary or {}, saved_steps(self._checkpoint_folder))

    def policy(self, seed: int | None = None, **options: Any) -> "Policy":
        """Loads the policy of one member.

        Args:
          seed: the member's; by default the first that has not diverged.
          **options: as of `edp_jax.load_policy`: how it acts, and the point of a sweep.
        """
        from edp_jax.export import load_policy

        return load_policy(os.path.join(self.workdir, "policy"), seed, **options)

    @property
    def checkpoint_step(self) -> int | None:
        """Updates after which the newest sound checkpoint was saved; None where there is none."""
        from edp_jax.training.checkpoint import newest_sound

        return newest_sound(self._checkpoint_folder)

    @property
    def checkpoint_steps(self) -> list[int]:
        """Updates after which the sound checkpoints that are kept were saved, the newest first."""
        from edp_jax.training.checkpoint import find_damage, saved_steps

        folder = self._checkpoint_folder
        return [step for step in saved_steps(folder) if find_damage(folder, step) is None]

    def find_checkpoint(self, which: str = "last") -> int:
        """Finds a checkpoint.

        Args:
          which: "last", the newest sound one; "best", of those that are kept the one that comes
            first in `judged`, or in a run that is not judged the one whose evaluation has the
            highest mean over all episodes of all members; or the number of updates until it.

        Returns:
          The number of updates.
        """
        newest = self.checkpoint_step
        if not self.config or newest is None:
            raise InputError(f"{self.workdir}: this run has no checkpoint yet; wait for its first")
        if which == "last":
            return newest
        sound = self.checkpoint_steps
        if which.isdecimal() and int(which) in sound:
            return int(which)
        step = self._best_of(sound)
        if which == "best" and step is not None:
            return step
        wanted = "that was evaluated or judged" if which == "best" else repr(which[:40])
        numbers = ", ".join(map(str, sound[:8])) + ", ..." * (len(sound) > 8)
        kept = f"last{'' if step is None else ', best'} or one of {numbers}"
        raise InputError(f"{self.workdir}: has no checkpoint {wanted}; use {kept}")

    def state(self, algorithm: "Algorithm", step: int | None = None) -> "AgentState":
        """Restores a checkpoint.

        Args:
          algorithm: the learner of the run, made with its settings.
          step: of the checkpoint, see `find_checkpoint`; None: the newest.

        Returns:
          The states of all members [R].
        """
        from edp_jax.training import checkpoint, loop

        step = self.find_checkpoint() if step is None else step
        untrained = loop.init_members(algorithm, [member.seed for member in self.members])
        return checkpoint.restore(self._checkpoint_folder, step, untrained)

    def _best_of(self, steps: list[int]) -> int | None:
        if self.judged is None and self.config.get("best_by") != "fqe":
            return best.find_best(os.path.join(self.workdir, tables.EVALUATIONS), steps).step
        first = self.judged[0]["step"] if self.judged else None
        return first if first in steps else None

    @property
    def _checkpoint_folder(self) -> str:
        return os.path.join(self.workdir, "checkpoints")

    @functools.cached_property
    def _record(self) -> dict[str, Any]:
        path = os.path.join(self.workdir, "config.json")
        if not os.path.isfile(path):
            raise InputError(
                f"{path}: not there, so {self.workdir} holds no run; name one that does"
            )
        record = self._read_json(path)
        if record.get("config") and record.get("format") != FORMAT:
            raise InputError(
                f"{path}: written by another version of edp_jax (format "
                f"{record.get('format', 1)!r:.40}, not {FORMAT}); use that version, or a new folder"
            )
        if not shape.is_record(record):
            raise InputError(
                f"{path}: not the config.json of a run; restore it, or use a new folder"
            )
        return record

    def _read_json(self, path: str) -> dict[str, Any]:
        try:
            content = read_json(path)
        except (OSError, ValueError) as error:
            raise InputError(
                f"{path}: cannot be read ({one_line(error)[:80]}); restore it, or use a new folder"
            ) from error
        return content if isinstance(content, dict) else {}

    def _read_table(self, name: str) -> tuple[list[int], list[list[list[dict[str, str]]]]]:
        """The steps [T] of a table, and per step and member its rows.

        What a run is just writing, or was when it was killed, is left out: a line without an end,
        and a last step that not all members have as many rows of. So are damaged lines, and steps
        that a member has no row of.
        """
        path = os.path.join(self.workdir, name)
        if (lines := tables.read_lines(path)) is None:
            return [], []
        rows = list(csv.DictReader([lines.header, *lines.rows]))
        index = {tuple(map(float, m.columns.values())): i for i, m in enumerate(self.members)}
        cells: dict[int, list[list[dict[str, str]]]] = {}
        try:
            for row in rows:
                member = index[tuple(float(row[name]) for name in self.members[0].columns)]
                empty: list[list[dict[str, str]]] = [[] for _ in self.members]
                cells.setdefault(int(row["step"]), empty)[member].append(row)
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{path}: not the table of this run; restore it") from error
        if cells and len(set(map(len, cells[max(cells)]))) > 1:
            del cells[max(cells)]
        cells = {step: of_members for step, of_members in cells.items() if all(of_members)}
        return list(cells), list(cells.values())
