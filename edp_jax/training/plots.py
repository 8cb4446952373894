"""The picture of a run: its learning curve."""

import csv
import io
import itertools
import warnings
from collections.abc import Sequence

import numpy as np

from edp_jax.files import write_bytes

_COLORS = ("#1f5fa8", "#c0392b", "#2e8b57", "#8e44ad", "#d68910", "#16a2b8", "#7f8c8d")
_REMEDY = "pip install 'edp_jax[plots]'"
_REFERENCE_LABEL = "dataset's behaviour policy"


def plot_learning_curve(
    table: str,
    png: str,
    title: str,
    *,
    column: str | None = None,
    label: str | None = None,
    reference: float | None = None,
    sweep: Sequence[str] = (),
) -> None:
    """Draws one column of a table over the steps, per point of a sweep: the mean over seeds, a band from the lowest to the
    highest, and each seed.

    Args:
      table: evaluations.csv or metrics.csv; rows of one step and seed (its episodes) are averaged.
      png: the file to write. Nothing is drawn when the column has no values.
      title: the line above the plot.
      column: which one; by default the score, or the return where there is none.
      label: the name of the vertical axis; by default made from the column's name.
      reference: a level to compare with, the score (or return) of the dataset's behaviour policy.
      sweep: names of the swept settings, columns of the table.
    """
    try:  # here, since importing it takes a second, and only the end of a run needs it
        from matplotlib import ticker
        from matplotlib.figure import Figure
    except ImportError:
        warnings.warn(f"{png}: not drawn without matplotlib: {_REMEDY}", stacklevel=2)
        return

    if column is None:
        column = "score" if _curves(table, "score", sweep) else "return"
    label = label or {"score": "Normalised score", "return": "Return"}.get(column, column)
    curves_of = _curves(table, column, sweep)
    if not curves_of:
        return

    figure = Figure(figsize=(6.4, 4.0), dpi=160, layout="constrained")
    axes = figure.subplots()
    for (point, (steps, curves)), color in zip(curves_of.items(), itertools.cycle(_COLORS)):
        if len(curves) > 1:
            axes.fill_between(
                steps, curves.min(axis=0), curves.max(axis=0), color=color, alpha=0.15, linewidth=0
            )
            axes.plot(steps, curves.T, color=color, alpha=0.45, linewidth=0.7)
        seeds = (
            f"mean of {len(curves)} seeds, band: lowest to highest" if len(curves) > 1 else "1 seed"
        )
        name = (
            ", ".join(f"{setting} {value}" for setting, value in zip(sweep, point, strict=True))
            or seeds
        )
        marker = "o" if len(steps) < 25 else None
        axes.plot(
            steps,
            curves.mean(axis=0),
            color=color,
            linewidth=2.0,
            marker=marker,
            markersize=3.5,
            label=name,
        )
    if reference is not None:
        axes.axhline(
            reference, color="#555555", linewidth=1.1, linestyle=(0, (5, 3)), label=_REFERENCE_LABEL
        )
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold")
    axes.set_xlabel("Updates")
    axes.set_ylabel(label)
    axes.xaxis.set_major_formatter(ticker.EngFormatter(sep=""))
    axes.margins(x=0.02)
    axes.grid(axis="y", color="#dddddd", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8.5)
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    write_bytes(png, picture.getvalue())


def _curves(
    table: str, column: str, sweep: Sequence[str]
) -> dict[tuple[str, ...], tuple[np.ndarray, np.ndarray]]:
    """Per point of the sweep: steps [T] that all seeds have, and the column's means [S, T] over the rows of each step."""
    values: dict[tuple[str, ...], dict[str, dict[int, list[float]]]] = {}
    with open(table, newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row[column]:
                seeds = values.setdefault(tuple(row[name] for name in sweep), {})
                seeds.setdefault(row["seed"], {}).setdefault(int(row["step"]), []).append(
                    float(row[column])
                )
    curves = {}
    for point, seeds in values.items():
        steps = sorted(set.intersection(*map(set, seeds.values())))
        curves[point] = (
            np.array(steps),
            np.array([[np.mean(curve[step]) for step in steps] for curve in seeds.values()]),
        )
    return curves
