"""The picture of a run: its learning curve."""

import csv
import io

import numpy as np

from edp_jax.files import write_bytes

_REFERENCE_LABEL = "dataset's behaviour policy"


def plot_learning_curve(
    table: str, png: str, title: str, *, column: str | None = None, label: str | None = None, reference: float | None = None
) -> None:
    """Draws one column of a table over the steps: the mean over seeds, a band from the lowest to the highest, and each seed.

    Args:
      table: evaluations.csv or metrics.csv; rows of one step and seed (its episodes) are averaged.
      png: the file to write. Nothing is drawn when the column has no values.
      title: the line above the plot.
      column: which one; by default the score, or the return where there is none.
      label: the name of the vertical axis; by default made from the column's name.
      reference: a level to compare with, the score (or return) of the dataset's behaviour policy.
    """
    from matplotlib import ticker  # takes a second, and only the end of a run needs it
    from matplotlib.figure import Figure

    if column is None:
        column = "score" if _curves(table, "score")[0].size else "return"
    label = label or {"score": "Normalised score", "return": "Return"}.get(column, column)
    steps, curves = _curves(table, column)
    if not steps.size:
        return

    figure = Figure(figsize=(6.4, 4.0), dpi=160, layout="constrained")
    axes = figure.subplots()
    color, marker = "#1f5fa8", "o" if len(steps) < 25 else None
    if len(curves) > 1:
        axes.fill_between(steps, curves.min(axis=0), curves.max(axis=0), color=color, alpha=0.15, linewidth=0)
        axes.plot(steps, curves.T, color=color, alpha=0.45, linewidth=0.7)
    name = f"mean of {len(curves)} seeds, band: lowest to highest" if len(curves) > 1 else "1 seed"
    axes.plot(steps, curves.mean(axis=0), color=color, linewidth=2.0, marker=marker, markersize=3.5, label=name)
    if reference is not None:
        axes.axhline(reference, color="#555555", linewidth=1.1, linestyle=(0, (5, 3)), label=_REFERENCE_LABEL)
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


def _curves(table: str, column: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns steps [T] and the column's means [S, T] over the rows of each seed and step; steps all seeds have."""
    values: dict[int, dict[int, list[float]]] = {}
    with open(table, newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row[column]:
                values.setdefault(int(row["seed"]), {}).setdefault(int(row["step"]), []).append(float(row[column]))
    if not values:
        return np.zeros(0, int), np.zeros((0, 0))
    steps = sorted(set.intersection(*map(set, values.values())))
    return np.array(steps, int), np.array([[np.mean(curve[step]) for step in steps] for curve in values.values()])
