"""True scores of the policies of a ranking, from the tables of episodes beside their runs."""

import csv
import glob
import os
from collections.abc import Mapping, Sequence

import numpy as np

from edp_jax.algorithms.groups import ACTING
from edp_jax.errors import one_line
from edp_jax.runs import Run
from edp_jax.selection.pool import acting_of, settings_of
from edp_jax.types import InputError

TABLES = "evaluat*.csv"  # evaluations.csv, and what `experiments.evaluate` writes by default


def true_scores(rows: Sequence[Mapping[str, str]], tables: str = TABLES) -> np.ndarray:
    """Finds the mean score of each policy, or its return where none has scores.

    What a table does not say of how a policy acted is as in the run. Where several tables have
    episodes of a policy, the one with the most of them counts.

    Args:
      rows: of the table of a ranking.
      tables: names of the tables in the folders of the runs; may have *.

    Returns:
      [P]; NaN where no table has the policy.

    Raises:
      InputError: a run is gone, or a table is none of episodes.
    """
    for unit in ("score", "return"):
        known = {path: _read(path, tables, unit) for path in {row["workdir"] for row in rows}}
        scores = [
            np.mean(known[path].get(_key(row, _swept(path)), [np.nan]))
            for path, row in ((row["workdir"], row) for row in rows)
        ]
        if not np.isnan(scores).all():  # scores of some and returns of others do not compare
            break
    return np.array(scores)


def _swept(workdir: str) -> tuple[str, ...]:
    return tuple(Run(workdir).members[0].columns)


def _key(row: Mapping[str, str], member: Sequence[str]) -> tuple:
    """What tells a policy of a run from others, alike in all tables."""
    return tuple(_plain(row[name]) for name in ("step", *member, *ACTING))


def _plain(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _read(workdir: str, tables: str, unit: str) -> dict[tuple, list[float]]:
    """The episodes of each policy of a run, in the column `unit`; others are left out."""
    own = {name: str(value) for name, value in acting_of(settings_of(Run(workdir)).learner).items()}
    member = _swept(workdir)
    found: dict[tuple, list[float]] = {}
    for path in sorted(glob.glob(os.path.join(glob.escape(workdir), tables))):
        episodes: dict[tuple, list[float]] = {}
        try:
            with open(path, newline="", encoding="utf-8") as file:
                for row in csv.DictReader(file):
                    if int(row["length"]) >= 0 and row[unit]:
                        episodes.setdefault(_key(own | row, member), []).append(float(row[unit]))
        except (OSError, KeyError, TypeError, ValueError, csv.Error) as error:
            raise InputError(
                f"{path}: no table of episodes ({one_line(error)[:80]}); name others with --tables"
            ) from error
        for key, values in episodes.items():
            if len(values) > len(found.get(key, ())):
                found[key] = values
    return found
