"""The picture of a ranking."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from edp_jax.runs import plots

if TYPE_CHECKING:
    from edp_jax.runs.plots import Figure

MOST = 25  # policies in the picture


def draw(rows: Sequence[Mapping[str, Any]], behaviour: float | None = None) -> "Figure":
    """Draws estimates with their intervals, the best policy on top.

    Args:
      rows: of the table of a ranking, the best first.
      behaviour: what the held-out episodes returned in the mean; None: not shown.

    Raises:
      InputError: matplotlib is not installed.
    """
    shown = rows[:MOST]
    size = (7.2, 1.2 + 0.24 * len(shown))
    figure = plots.figure_class("ranking.png")(figsize=size, dpi=140, layout="constrained")
    axes = figure.subplots()
    low, value, high, pessimistic = (
        np.array([float(row[name]) for row in shown])
        for name in ("low", "value", "high", "pessimistic")
    )
    place, as_good = np.arange(len(shown)), np.array([bool(int(row["as_good"])) for row in shown])
    for told, color, label in (
        (as_good, "#2f7ed8", "may be as good as the first"),
        (~as_good, "#8a8f98", "lower"),
    ):
        axes.hlines(place[told], low[told], high[told], color=color, lw=2)
        axes.plot(value[told], place[told], "o", color=color, ms=4, label=label)
    axes.plot(pessimistic, place, "|", color="#d9534f", ms=9, label="pessimistic estimate")
    if behaviour is not None:
        style = {"color": "#555555", "lw": 1.1, "linestyle": (0, (5, 3))}
        axes.axvline(behaviour, label="held-out episodes", **style)
    axes.set_yticks(place, [row["name"] for row in shown], fontsize=7)
    axes.invert_yaxis()
    axes.set_xlabel("Estimated discounted return", fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    return figure
