"""The two tables of a report that say which trained policies are best by recorded data alone.

No simulator is needed for them. One is the ranking that `experiments.select` wrote, of policies
from several runs. The other is the ranking that a run with best_by=fqe made of its own checkpoints
when its training had ended.
"""

import os
from collections.abc import Mapping, Sequence

from edp_jax.reports.figures import Picture
from edp_jax.reports.groups import Group
from edp_jax.reports.results import Result
from edp_jax.reports.tables import Table, interval, number, words
from edp_jax.selection import ranking
from edp_jax.selection.figure import draw
from edp_jax.selection.signs import Signs

_NOTE = (
    "Fitted Q evaluation of recorded data alone: the discounted return that is estimated from the "
    "start of held-out episodes, with its 95 % bootstrap interval, in units of the stored rewards. "
)
_ORDER = (
    "The order is by the pessimistic estimate and the drift together. The drift says how far a "
    "policy leaves the data in imagined episodes of learned dynamics. "
)
_OLD_ORDER = "The order is by the pessimistic estimate. "
_HEADS = {"td_error": "TD error"}

Rows = Sequence[Mapping[str, str]]


def read(workdirs: Sequence[str]) -> Rows:
    """The ranking that lies beside the runs; empty where there is none.

    Raises:
      InputError: what lies there is no ranking.
    """
    folder = ranking.folder_of(workdirs)
    there = os.path.exists(os.path.join(folder, ranking.TABLE))
    return ranking.read_ranking(folder) if there else []


def table(rows: Rows) -> Table:
    """The ranking, with the signs beside it."""
    as_good = [bool(int(row["as_good"])) for row in rows]
    verdict = ranking.verdict([row["name"] for row in rows], as_good)
    order = _ORDER if "drift" in rows[0] else _OLD_ORDER  # tables of earlier versions have none
    columns = (
        *(number("rank", 0), words("policy"), interval("estimated return", 2)),
        *(number("pessimistic", 2), words("may be as good as the first")),
        *(number(_HEADS.get(key, key.replace("_", " ")), 3) for key in Signs._fields),
    )
    cells = [
        (
            *(int(row["rank"]), row["name"]),
            tuple(float(row[key]) for key in ("value", "low", "high")),
            *(float(row["pessimistic"]), "yes" if tied else ""),
            *(float(row.get(key) or "nan") for key in Signs._fields),  # older tables have fewer
        )
        for row, tied in zip(rows, as_good, strict=True)
    ]
    title = "Policies ranked without a simulator"
    return Table("ranking", title, f"{_NOTE}{order}Verdict: {verdict}.", columns, cells)


def recommended(groups: Sequence[Group]) -> Table:
    """Makes the table that lists the saved checkpoints of every run with best_by=fqe.

    Within a run the checkpoint with the highest value, estimated from the recorded data, is first.
    """
    runs = dict[str, tuple[Group, Result]]()  # a sweep, which is judged as a whole, is in several
    for group in groups:
        for result in group.results:
            runs.setdefault(result.workdir, (group, result))
    rows = []
    for workdir, (group, result) in runs.items():
        for place, each in enumerate(result.judged, 1):
            estimate = (each["value"], each["low"], each["high"])
            tied = "yes" if place > 1 and each["as_good"] else ""
            judged = (each["step"], estimate, each["pessimistic"], tied, each["drift"])
            rows.append((group.task, group.label, workdir, place, *judged))
    columns = (
        *(words("task"), words("learner"), words("run"), number("rank", 0), number("updates", 0)),
        *(interval("estimated return", 2), number("pessimistic", 2)),
        *(words("may be as good as the first"), number("drift", 3)),
    )
    note = (
        f"{_NOTE}{_ORDER}Estimate and drift are means over the seeds of a run that have not "
        "diverged. The first is its --step=best."
    )
    return Table("recommended", "Checkpoints that the data recommend", note, columns, rows)


def picture(rows: Rows, results: Sequence[Result]) -> Picture | None:
    """The ranking as a figure; None where none of its runs is in the report.

    Args:
      rows: of the ranking.
      results: of the report; those of the ranked runs are behind the figure.
    """
    ranked = {row["workdir"] for row in rows}
    shown: list[Sequence[Result]] = [
        [result] for result in results if os.path.abspath(result.workdir) in ranked
    ]
    if not shown:
        return None
    caption = "Estimates with their intervals, in the order of the table."
    return Picture("ranking", "Policies ranked without a simulator", draw(rows), caption, shown)
