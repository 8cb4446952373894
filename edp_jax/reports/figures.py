"""The figures of a report."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from edp_jax.evaluation.scores import interquartile_mean
from edp_jax.reports import statistics
from edp_jax.reports.groups import Group, by_label
from edp_jax.reports.looks import FAINT, INK, SEED_OPACITY, Style
from edp_jax.reports.results import Result
from edp_jax.reports.selection import Selection
from edp_jax.runs import plots

if TYPE_CHECKING:
    from edp_jax.runs.plots import Axes, Figure

_MOST_POINTS = 300  # of a line
_UNITS = (("Hours", 3600), ("Minutes", 60), ("Seconds", 1))


class Picture(NamedTuple):
    """A figure with what is said below it."""

    name: str  # of its files
    title: str
    figure: "Figure"
    caption: str
    shown: list[Sequence[Result]]  # the seeds of each learner in it


def has_curve(result: Result) -> bool:
    """Whether there is something to draw against its updates."""
    return bool(np.isfinite(result.scores).any())


def has_critic(result: Result) -> bool:
    """Whether there are values of its critics to draw."""
    return bool(np.isfinite(result.critic).any())


def learning_curves(task: str, groups: Sequence[Group], look: Mapping[str, Style]) -> Picture:
    """Scores against updates and against training time, of all learners on a task.

    Args:
      task: of the groups.
      groups: with at least one result that `has_curve`.
      look: of each learner.
    """
    times = [result.seconds(result.steps) for group in groups for result in group.results]
    longest = np.nanmax(np.concatenate(times), initial=0)
    figure, axes = _new(2 if longest else 1)
    for group in groups:
        _curve(axes[0], group, look[group.label], lambda result: result.steps)
    axes[0].set_ylabel(_axis(groups))
    axes[0].set_xlabel("Updates")
    axes[0].xaxis.set_major_formatter(_short)
    if longest:
        unit, seconds = next((each for each in _UNITS if longest >= 2 * each[1]), _UNITS[-1])
        for group in groups:
            _curve(axes[1], group, look[group.label], lambda r: r.seconds(r.steps) / seconds)
        axes[1].set_xlabel(f"{unit}, evaluations aside")
        axes[1].set_xlim(left=0)
    axes[0].set_xlim(left=0)
    _legend(figure, axes[0])
    caption = (
        "Thin: each seed, also one that has diverged or did not end. Thick: the interquartile mean "
        "of the seeds that count in the tables, where all of these have an evaluation. The time is "
        "that of the run's clock without evaluations; of older runs, which have none, it is "
        "updates / (updates per second)."
    )
    shown = _drawn(groups, has_curve)
    return Picture(f"curves_{_file(task)}", f"Learning curves: {task}", figure, caption, shown)


def critic_values(task: str, groups: Sequence[Group], look: Mapping[str, Style]) -> Picture:
    """The critics' mean values against updates, of all learners on a task that have critics."""
    figure, (axes,) = _new(1)
    largest, limits = 0.0, set[float]()
    for group in groups:
        for index, result in enumerate(filter(has_critic, group.results)):
            every = max(1, len(result.critic) // _MOST_POINTS)
            style = look[group.label]
            steps, values = result.critic_steps[::every], result.critic[::every]
            values = np.where(np.isfinite(values), values, np.nan)
            label = style.name if index == 0 else None
            axes.plot(steps, values, color=style.color, linestyle=style.dash, lw=1.2, label=label)
            largest = max(largest, np.nanmax(np.abs(values), initial=0))
            limits |= {limit for limit in result.possible if not np.isnan(limit)}
    if largest > 1e4:
        axes.set_yscale("symlog", linthresh=100)
    for limit in sorted(limits):
        axes.axhline(limit, color=INK, lw=1, linestyle=(0, (5, 3)))
    axes.set_ylabel("critic/q_mean")
    axes.set_xlabel("Updates")
    axes.xaxis.set_major_formatter(_short)
    _legend(figure, axes)
    line = (
        "Dashed: the smallest and the largest possible discounted return."
        if limits
        else "The runs do not record which discounted returns are possible, so no level is drawn."
    )
    caption = f"Mean value of the critics, each seed a line. {line}"
    shown = _drawn(groups, has_critic)
    title = f"Values of the critics: {task}"
    return Picture(f"critics_{_file(task)}", title, figure, caption, shown)


def interquartile_means(groups: Sequence[Group], look: Mapping[str, Style]) -> Picture:
    """The interquartile mean of each learner's last scores, with its interval."""
    own = by_label(groups)
    figure, (axes,) = _new(1, height=1.0 + 0.34 * len(own))
    for row, (label, of_label) in enumerate(own.items()):
        found = statistics.iqm([group.values("last") for group in of_label])
        bar: dict[str, Any] = {"lw": 6, "alpha": 0.4, "solid_capstyle": "butt"}
        axes.plot([found.low, found.high], [row, row], color=look[label].color, **bar)
        axes.plot(found.value, row, "o", color=look[label].color)
    names = [f"{look[label].name} ({len(of_label)})" for label, of_label in own.items()]
    axes.set_yticks(range(len(own)), names)
    axes.set_ylim(len(own) - 0.5, -0.5)
    axes.set_xlabel("Normalised score")
    caption = (
        "Dot: interquartile mean of the last scores over tasks and seeds. Bar: 95 % stratified "
        "bootstrap interval. In brackets: tasks; learners with other tasks do not compare."
    )
    return Picture("iqm", "Interquartile means", figure, caption, _compared(groups))


def performance_profiles(groups: Sequence[Group], look: Mapping[str, Style]) -> Picture:
    """The share of runs above each score."""
    figure, (axes,) = _new(1)
    own = by_label(groups)
    strata = {
        label: [group.values("last") for group in of_label] for label, of_label in own.items()
    }
    every = np.concatenate([scores for of_label in strata.values() for scores in of_label])
    thresholds = np.linspace(min(0, every.min()), max(100, every.max()), 200)
    for label, of_label in strata.items():
        share = statistics.performance_profile(of_label, thresholds)
        style = look[label]
        axes.plot(thresholds, share, color=style.color, linestyle=style.dash, label=style.name)
    axes.set_xlabel("Normalised score")
    axes.set_ylabel("Share of runs above")
    axes.set_ylim(-0.02, 1.02)
    _legend(figure, axes)
    caption = (
        "The share of runs whose last score is above the one on the axis, as the mean over tasks. "
        "A line further up and to the right is better, where the tasks are the same."
    )
    return Picture("profile", "Performance profiles", figure, caption, _compared(groups))


def online_choice(
    task: str,
    chosen: Mapping[str, Selection],
    groups: Sequence[Group],
    look: Mapping[str, Style],
) -> Picture:
    """The true score of the policy picked after k online episodes, of each learner on a task.

    Args:
      task: of the groups.
      chosen: what was picked, by learner.
      groups: that it was picked from.
      look: of each learner.
    """
    figure, (axes,) = _new(1)
    for label, found in chosen.items():
        style = look[label]
        pulls = np.arange(1, len(found.scores) + 1)
        axes.plot(pulls, found.scores, color=style.color, linestyle=style.dash, label=style.name)
        axes.axhline(found.seen_by_oms, color=style.color, lw=0.9, linestyle=(0, (1, 2)))
    axes.set_xscale("log")
    axes.set_xlabel("Online episodes")
    axes.set_ylabel(_axis(groups))
    _legend(figure, axes)
    caption = (
        "Line: expected true score of the policy that UCB1 picks among a run's evaluations after "
        "so many episodes. Dotted: what OMS reports for the same run, flattered by its choice "
        "among as many evaluations as the table says."
    )
    shown = _counted([group for group in groups if group.label in chosen])
    return Picture(
        f"selection_{_file(task)}", f"Choosing a policy online: {task}", figure, caption, shown
    )


def _curve(
    axes: "Axes", group: Group, style: Style, places: Callable[[Result], np.ndarray]
) -> None:
    """Draws the seeds of a learner and the interquartile mean of those that count."""
    counted = group.counted
    shared = functools.reduce(np.intersect1d, [result.steps for result in counted] or [[]])
    for index, result in enumerate(filter(has_curve, group.results)):
        label = style.name if index == 0 and not len(shared) else None
        thin: dict[str, Any] = {"alpha": SEED_OPACITY, "lw": 0.9, "label": label}
        axes.plot(places(result), result.scores, color=style.color, **thin)
    if len(shared):
        at = [np.isin(result.steps, shared) for result in counted]
        scores = np.stack([r.scores[where] for r, where in zip(counted, at, strict=True)], axis=1)
        mean = np.where(np.isnan(scores).any(axis=1), np.nan, interquartile_mean(scores))
        place = np.mean([places(r)[where] for r, where in zip(counted, at, strict=True)], axis=0)
        marker = "o" if len(shared) < 25 else None
        axes.plot(
            *(place, mean),
            **{"color": style.color, "linestyle": style.dash, "lw": 2.2, "label": style.name},
            **{"marker": marker, "markersize": 3},
        )


def _axis(groups: Sequence[Group]) -> str:
    return "Return" if any(group.unit == "return" for group in groups) else "Normalised score"


def _short(value: float, _: float) -> str:
    """A number of updates in a few letters, as in 250k."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


def _new(columns: int, height: float = 3.2) -> tuple["Figure", list["Axes"]]:
    """A figure with axes side by side, in the colours of the page."""
    size = (7.2, height)
    figure = plots.figure_class("report")(figsize=size, dpi=140, layout="constrained")
    row = list(figure.subplots(1, columns, squeeze=False, sharey=True)[0])
    for axes in row:
        axes.grid(color=FAINT, linewidth=0.7)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(FAINT)
        axes.tick_params(which="both", colors=INK, color=FAINT, labelsize=8)
        axes.xaxis.label.set(color=INK, fontsize=9)
        axes.yaxis.label.set(color=INK, fontsize=9)
    return figure, row


def _legend(figure: "Figure", axes: "Axes") -> None:
    """Names the lines below the figure, each once, which makes the figure higher."""
    lines, labels = axes.get_legend_handles_labels()
    if labels:
        longest = max(map(len, labels))
        columns = 4 if longest <= 18 else 2 if longest <= 45 else 1
        rows = -(-len(labels) // columns)
        figure.set_figheight(figure.get_figheight() + 0.2 * rows)
        style: dict[str, Any] = {"frameon": False, "fontsize": 8, "labelcolor": INK}
        figure.legend(lines, labels, loc="outside lower center", ncols=columns, **style)


def _file(task: str) -> str:
    """A name of a file that no other task has."""
    known = {"/": "_"}
    return "".join(
        letter if letter.isalnum() or letter in "-." else known.get(letter, f"~{ord(letter):x}")
        for letter in task
    )


def _drawn(groups: Sequence[Group], has_line: Callable[[Result], bool]) -> list[Sequence[Result]]:
    drawn = (list(filter(has_line, group.results)) for group in groups)
    return [results for results in drawn if results]


def _counted(groups: Sequence[Group]) -> list[Sequence[Result]]:
    return [group.counted for group in groups if group.counted]


def _compared(groups: Sequence[Group]) -> list[Sequence[Result]]:
    return [group.counted for own in by_label(groups).values() for group in own]
