"""Ways in which a diffusion policy acts, and the scores that it reached in them."""

import collections
import csv
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from edp_jax import InputError
from edp_jax.diffusion import ONE_CALL
from edp_jax.errors import one_line

CANDIDATES = (10, 50)  # besides one
_CALLS = 15  # of the chains that choose among them
NONE = "-"  # in tables of scores: the learner does not have the setting
_NOT_OF_WAY = ("selection_temperature", "starting_noise", "execute")  # other ways of acting


class Way(NamedTuple):
    """How a policy acts."""

    sampler: str
    sampler_calls: int
    num_candidates: int = 1

    def __str__(self) -> str:
        calls = f"{self.sampler_calls} call{'s' if self.sampler_calls > 1 else ''}"
        choice = f", {self.num_candidates} candidates" if self.num_candidates > 1 else ""
        return f"{self.sampler}, {calls}{choice}"


WAYS = (
    Way("ddpm", 1000),
    Way("ddpm", 100),
    Way("ddim", 15),
    *(Way("dpm_solver_3", calls) for calls in (_CALLS, 10, 5, 3, 2, 1)),
    *(Way("dpm_solver_3", _CALLS, candidates) for candidates in CANDIDATES),
)
ONE_CALL_WAYS = tuple(Way(ONE_CALL, 1, candidates) for candidates in (1, *CANDIDATES))


def choose_ways(settings: Any, limit: int, scored: Iterable[Way] = ()) -> tuple[Way, ...]:
    """The ways in which a policy is measured: the usual ones, its own, and those with scores.

    Args:
      settings: of the learner; one without a choice has no ways with several candidates, a student
        has none with a chain.
      limit: most calls and candidates; 0: all.
      scored: ways that there are scores of.
    """
    student, chooses = settings.sampler == ONE_CALL, hasattr(settings, "num_candidates")
    own = Way(settings.sampler, settings.sampler_calls, getattr(settings, "num_candidates", 1))
    ways = [
        way
        for way in dict.fromkeys((*(ONE_CALL_WAYS if student else WAYS), own, *scored))
        if (way.sampler == ONE_CALL) == student
        and (chooses or way.num_candidates == 1)
        and (not limit or max(way.sampler_calls, way.num_candidates) <= limit)
    ]
    samplers = list(dict.fromkeys(way.sampler for way in ways))
    order = {name: place for place, name in enumerate(samplers)}
    return tuple(
        sorted(ways, key=lambda way: (order[way.sampler], way.num_candidates, -way.sampler_calls))
    )


def read_scores(tables: Iterable[str]) -> dict[Way, float]:
    """The mean score, or return, of the episodes that acted in each way.

    Episodes that failed count nowhere.

    Args:
      tables: paths of tables that experiments.evaluate wrote.

    Raises:
      InputError: one of them is none, it is of a learner without a diffusion policy, or one way
        acted with several settings of another kind.
    """
    scores, others = collections.defaultdict(list), {}
    for path in tables:
        rows = _rows(path)
        try:
            for row in rows:
                way = _way(path, row)
                score, length = float(row.get("score") or row["return"]), int(row["length"])
                other = tuple(row.get(name) for name in _NOT_OF_WAY)
                if length >= 0:
                    scores[way].append(score)
                if others.setdefault(way, other) != other:
                    raise InputError(
                        f"--scores={path}: {way} is there with several values of one of "
                        f"{', '.join(_NOT_OF_WAY)}; let experiments.evaluate try one of them"
                    )
        except (TypeError, ValueError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(
                f"--scores={path}: a row is no episode of experiments.evaluate ({one_line(error)})"
            ) from error
    return {way: float(np.mean(values)) for way, values in scores.items()}


def _way(path: str, row: Mapping[str, str]) -> Way:
    """The way of a row; a learner without a choice takes the one candidate that it samples."""
    if row["sampler"] == NONE:
        raise InputError(
            f"--scores={path}: its policy is no diffusion policy and has one way to act; name a "
            "table of the run that --policy names"
        )
    candidates = row["num_candidates"]
    count = 1 if candidates == NONE else int(candidates)
    return Way(row["sampler"], int(row["sampler_calls"]), count)


def _rows(path: str) -> Sequence[Mapping[str, str]]:
    try:
        with open(path, encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"--scores={path}: cannot be read ({one_line(error)})") from error
    columns = {"return", "length", *Way._fields}
    if missing := sorted(columns - (rows[0].keys() if rows else set())):
        raise InputError(
            f"--scores={path}: no table of this version's experiments.evaluate, for it has no "
            f"column {missing[0]!r} or no row"
        )
    return rows
