"""How right `experiments.select` was, where the policies' true scores are known.

python -m experiments.judge_select --selection=runs/selection --selection=other/selection

True scores are read from the tables of episodes in the folder of each run: evaluations.csv, and
those that `experiments.evaluate` wrote. Prints per selection Spearman's rank correlation of the
true scores with each estimate, and what is lost by taking the best of the first 1 or 5.
"""

import os
from collections.abc import Mapping, Sequence

import numpy as np
from absl import flags

from edp_jax import InputError
from edp_jax.evaluation import finite_mean
from edp_jax.selection import judge, ranking, truth
from edp_jax.selection.signs import Signs

from . import launch

_TRIED = (1, 5)


def define_flags() -> None:
    flags.DEFINE_multi_string("selection", None, "Folder that experiments.select wrote.")
    flags.DEFINE_string(
        "tables", truth.TABLES, "Names of the tables of episodes in the runs' folders; may have *."
    )


def main(_: Sequence[str]) -> None:
    judged = []
    for folder in map(os.path.expanduser, flags.FLAGS.selection):
        rows = ranking.read_ranking(folder)
        scores = truth.true_scores(rows, flags.FLAGS.tables)
        known = np.flatnonzero(~np.isnan(scores))
        if len(known) < 2:
            raise InputError(
                f"--selection={folder}: {len(known)} of {len(rows)} policies have a true score, "
                "too few to put in order; "
                + ("score them with experiments.evaluate" if len(rows) > 1 else "select among more")
            )
        print(f"{folder}: {len(known)} of {len(rows)} policies have a true score")
        judged.append(judge_table(estimates([rows[index] for index in known]), scores[known]))
        print_table(judged[-1])
    if len(judged) > 1:
        print(f"mean of {len(judged)} selections")
        names = dict.fromkeys(name for each in judged for name in each)
        print_table(
            {
                name: finite_mean(np.array([each[name] for each in judged if name in each]), axis=0)
                for name in names
            }
        )


def estimates(rows: Sequence[Mapping[str, str]]) -> dict[str, np.ndarray]:
    """What policies can be ranked by [P], each the better the larger it is.

    "last" is how far a checkpoint is on the way to the newest one of its run. A sign that a policy
    does not have counts as the worst.
    """
    found = {
        "FQE, pessimistic": np.array([float(row["pessimistic"]) for row in rows]),
        "FQE, mean": np.array([float(row["value"]) for row in rows]),
    }
    for name in Signs._fields:  # a table from before a sign came has no column of it
        sign = np.array([float(row.get(name) or "nan") for row in rows])
        if not np.isnan(sign).all():
            found[name] = -np.where(np.isnan(sign), np.nanmax(sign), sign)
    if "drift" in found:  # the order of the table
        found["FQE and drift"] = -np.array([float(row["rank"]) for row in rows])
    steps = np.array([float(row["step"]) for row in rows])
    runs = np.array([row["workdir"] for row in rows])
    newest = np.array([steps[runs == run].max() for run in runs])
    return found | {"last": steps / newest}


def judge_table(found: Mapping[str, np.ndarray], scores: np.ndarray) -> dict[str, np.ndarray]:
    """Per estimate Spearman's correlation with the scores [P], and the regrets."""
    return {
        name: np.array(
            [
                judge.rank_correlation(estimate, scores),
                *(judge.regret(estimate, scores, k) for k in _TRIED),
            ]
        )
        for name, estimate in found.items()
    }


def print_table(judged: Mapping[str, np.ndarray]) -> None:
    """Prints what `judge_table` gives."""
    heads = " ".join(f"regret@{k}" for k in _TRIED)
    print(f"{'ranked by':18} Spearman {heads}")
    for name, (correlation, *regrets) in judged.items():
        print(f"{name:18} {correlation:8.2f} " + " ".join(f"{each:8.1f}" for each in regrets))


if __name__ == "__main__":
    define_flags()
    launch.run(main, required=("selection",))
