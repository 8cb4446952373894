"""The picture of a run: its learning curve."""

import io
import itertools
import os
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from edp_jax.errors import not_installed
from edp_jax.evaluation import finite_mean
from edp_jax.files import write_bytes
from edp_jax.runs.reader import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLORS = ("#1f5fa8", "#c0392b", "#2e8b57", "#8e44ad", "#d68910", "#16a2b8", "#7f8c8d")


class Curve(NamedTuple):
    """One line of a panel: the seeds at one point of a sweep, or of a run without one."""

    label: str
    values: np.ndarray  # [T, S]


class Panel(NamedTuple):
    """One pair of axes."""

    label: str  # of the vertical axis
    steps: np.ndarray  # [T] updates
    curves: list[Curve]
    reference: float | None = None  # level of the dataset's behaviour policy
    switch: int | None = None  # updates after which the run went online


def panels(run: Run, behaviour: float | None = None) -> list[Panel]:
    """Chooses what to draw of a run.

    Args:
      run: read from its folder.
      behaviour: score of the dataset's behaviour policy, or its return where there are no scores.

    Returns:
      The mean score (or return) of every evaluation. Before the first one, and without an
      environment, every loss, a panel each. Nothing where there are no rows yet.
    """
    evaluations, metrics = run.evaluations, run.metrics
    switch = run.config["num_steps"] if run.config.get("online_steps") else None
    if evaluations is not None:
        label = {"score": "Normalised score", "return": "Return"}[evaluations.unit]
        curves = _curves(run, evaluations.means)
        return [Panel(label, evaluations.steps, curves, behaviour, switch)]
    return [
        Panel(name, metrics.steps, _curves(run, values), switch=switch)
        for name, values in metrics.values.items()
        if name.endswith("/loss")
    ]


def draw(title: str, panels: list[Panel]) -> "Figure":
    """Draws panels below each other.

    A curve is the mean over its seeds that have a number, with a band from the lowest to the
    highest and a thin line for each.

    Args:
      title: the line above.
      panels: at least one.

    Raises:
      InputError: matplotlib is not installed.
    """
    size = (6.4, 4.0) if len(panels) == 1 else (6.4, 2.4 * len(panels))
    figure = figure_class("learning_curve.png")(figsize=size, dpi=160, layout="constrained")
    all_axes = figure.subplots(len(panels), squeeze=False, sharex=True)[:, 0]
    for axes, panel in zip(all_axes, panels, strict=True):
        _draw_panel(axes, panel)
    all_axes[0].set_title(title, loc="left", fontsize=11, fontweight="bold")
    all_axes[0].legend(frameon=False, fontsize=8.5)
    all_axes[-1].set_xlabel("Updates")
    return figure


def figure_class(picture: str) -> type["Figure"]:
    """Imports matplotlib, which takes a second and is an optional package.

    The variable MPLBACKEND is hidden from it: a notebook sets it for itself and for all programs it
    starts, where the backend that it names may not exist.

    Args:
      picture: what it is wanted for.

    Returns:
      `matplotlib.figure.Figure`.

    Raises:
      InputError: matplotlib is not installed.
    """
    backend = os.environ.pop("MPLBACKEND", None)
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise not_installed(picture, error, "plots") from error
    finally:
        if backend is not None:
            os.environ["MPLBACKEND"] = backend
    return Figure


def write(figure: "Figure", png: str) -> None:
    """Writes a figure as a PNG file."""
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    write_bytes(png, picture.getvalue())


def as_svg(figure: "Figure", name: str) -> str:
    """Draws a figure as an SVG element, with its text as text and without a background.

    Args:
      figure: to draw.
      name: no other figure of the same page has it; the ids inside are made from it.
    """
    import matplotlib

    drawing = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(drawing, format="svg", transparent=True, metadata={"Date": None})
    text = drawing.getvalue()
    return text[text.index("<svg") :].replace('<g id="', '<g data-name="')  # would be there twice


def _curves(run: Run, values: np.ndarray) -> list[Curve]:
    """Divides values [T, R] into the points of the sweep."""
    curves = []
    for point in dict.fromkeys(member.point for member in run.members):
        of_point = values[:, [member.point == point for member in run.members]]
        seeds = of_point.shape[1]
        label = f"mean of {seeds} seeds, band: lowest to highest" if seeds > 1 else "1 seed"
        label = ", ".join(f"{name} {value}" for name, value in point) or label
        curves.append(Curve(label, of_point))
    return curves


def _draw_panel(axes: "Axes", panel: Panel) -> None:
    from matplotlib import ticker

    for curve, color in zip(panel.curves, itertools.cycle(_COLORS)):
        values = curve.values
        if values.shape[1] > 1:
            low, high = np.fmin.reduce(values, axis=1), np.fmax.reduce(values, axis=1)
            axes.fill_between(panel.steps, low, high, color=color, alpha=0.15, linewidth=0)
            axes.plot(panel.steps, values, color=color, alpha=0.45, linewidth=0.7)
        axes.plot(
            panel.steps,
            finite_mean(values, axis=1),
            color=color,
            linewidth=2.0,
            marker="o" if len(panel.steps) < 25 else None,
            markersize=3.5,
            label=curve.label,
        )
    if panel.reference is not None:
        style = {"color": "#555555", "linewidth": 1.1, "linestyle": (0, (5, 3))}
        axes.axhline(panel.reference, label="dataset's behaviour policy", **style)
    if panel.switch is not None and panel.switch < max(panel.steps):
        style = {"color": "#c0392b", "linewidth": 1.1, "linestyle": (0, (1, 2))}
        axes.axvline(panel.switch, label="from here on in the environment", **style)
    axes.set_ylabel(panel.label)
    axes.xaxis.set_major_formatter(ticker.EngFormatter(sep=""))
    axes.margins(x=0.02)
    axes.grid(axis="y", color="#dddddd", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
