"""The picture of a benchmark: one panel for each part that was measured."""

import io
from collections.abc import Mapping
from typing import Any

from edp_jax.runs.plots import figure_class

_OURS, _PAPER = "#1f5fa8", "#c9a227"


def draw(results: Mapping[str, Any]) -> bytes:
    """Draws a PNG of the content of benchmark.json."""
    panels = [panel for panel in _PANELS if panel[0] in results]
    columns = 1 if len(panels) == 1 else 2
    rows = max(1, -(-len(panels) // columns))
    figure = figure_class("benchmark.png")(
        figsize=(13.0, 3.6 * rows), dpi=110, layout="constrained"
    )
    figure.suptitle(describe(results), fontsize=10)
    grid = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes, (part, title, panel) in zip(grid, panels, strict=False):
        panel(axes, results[part])
        axes.set_title(title, loc="left", fontsize=11, fontweight="bold")
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_axisbelow(True)
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    return picture.getvalue()


def describe(results: Mapping[str, Any]) -> str:
    """Writes the title: what the rates can be compared with, and whose policy was asked."""
    policy = results.get("policy")
    others = any(part in results for part, *_ in _PANELS if part != "latency")
    sizes = {**results["sizes"], **({} if others else {"max_calls": 0})}  # latency: which ways
    titles = [describe_sizes(sizes)] if others or not policy else []
    if policy:
        dims = f"observation {policy['observation_dim']}, action {policy['action_dim']}"
        titles.append(f"policy: {policy['title']}, {dims}")
    return "; ".join(titles)


def describe_sizes(sizes: Mapping[str, Any]) -> str:
    """Writes the sizes of the rates that are measured without a run."""
    dims = f"observation {sizes['observation_dim']}, action {sizes['action_dim']}"
    cut_down = ", networks or samplers cut down: not to be compared with others"
    is_cut_down = any(sizes[name] for name in ("width", "depth", "max_calls"))
    return f"{dims}, batch {sizes['batch_size']}" + (cut_down if is_cut_down else "")


def _rates(axes: Any, entries: Mapping[str, Mapping]) -> None:
    rates = {name: entry["updates_per_second"] for name, entry in entries.items()}
    _bars(axes, rates, "Updates per second")


def _precision(axes: Any, entries: Mapping[str, Mapping]) -> None:
    rates = {
        f"{seeds}, {name}": entry["updates_per_second"]
        for seeds, ways in entries.items()
        for name, entry in ways.items()
    }
    _bars(axes, rates, "Updates per second, all seeds")


def _latency(axes: Any, ways: Mapping[str, Mapping]) -> None:
    """One observation: the median, with a line up to the 99th percentile."""
    forms = list(dict.fromkeys(form for entries in ways.values() for form in entries))
    for number, form in enumerate(forms):
        found = [
            (place + 0.25 * (number - 1), entries[form])
            for place, entries in enumerate(ways.values())
            if "median_ms" in entries.get(form, {})
        ]
        places, entries = [place for place, _ in found], [entry for _, entry in found]
        medians = [entry["median_ms"] for entry in entries]
        high = [entry.get("p99_ms", entry["median_ms"]) for entry in entries]
        (points,) = axes.plot(medians, places, "o", label=form)
        axes.hlines(places, medians, high, color=points.get_color())
    axes.set_yticks(range(len(ways)), [_with_score(*item) for item in ways.items()])
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlabel("Milliseconds for one observation: median to 99th percentile")
    _legend_above(axes, len(forms))


def _with_score(way: str, forms: Mapping[str, Mapping]) -> str:
    score = next((entry["score"] for entry in forms.values() if "score" in entry), None)
    return way if score is None else f"{way}: score {score:.1f}"


def _time_to_score(axes: Any, tasks: Mapping[str, Mapping]) -> None:
    """The runs that have reached the goal of their task."""
    seconds = {
        f"{name}, {task}": entry["seconds"]
        for task, entries in tasks.items()
        for name, entry in entries.items()
        if name != "skipped" and entry.get("reached")
    }
    _bars(axes, seconds, "Seconds from the command to the score")


def _ablations(axes: Any, ablations: Mapping[str, Mapping]) -> None:
    """The paper's speed comparison: its numbers beside those of this machine."""

    def rates(part: str) -> list[float]:
        return [entry.get(part, {}).get("updates_per_second", 0.0) for entry in ablations.values()]

    series = (
        (-0.2, rates("training"), _OURS, "this machine"),
        (0.2, rates("paper"), _PAPER, "the paper, on its own machine"),
    )
    for offset, values, color, label in series:
        places = [i + offset for i in range(len(values))]
        bars = axes.barh(places, values, height=0.38, color=color, label=label)
        numbers = [f"{value:.4g}" if value else "" for value in values]
        axes.bar_label(bars, numbers, padding=3, fontsize=8)
    axes.set_yticks(range(len(ablations)), list(ablations))
    axes.invert_yaxis()
    axes.set_xlabel("Updates per second")
    axes.legend(frameon=False, fontsize=8.5)


def _seeds(axes: Any, entries: list[Mapping]) -> None:
    measured = [entry for entry in entries if "error" not in entry]
    rates = {entry["seeds"]: entry["updates_per_second"] for entry in measured}
    _line(axes, rates, "Seeds", "Updates per second, all seeds")


def _batch(axes: Any, batches: Mapping[str, Mapping]) -> None:
    rows = {int(size): int(size) * entry["updates_per_second"] for size, entry in batches.items()}
    _line(axes, rows, "Batch size", "Transitions per second")


def _curves(axes: Any, curves: Mapping[str, Mapping]) -> None:
    """Milliseconds per update against each setting, as multiples of its smallest value."""
    for setting, entries in curves.items():
        values = [int(value) for value in entries]
        multiples = [value / values[0] for value in values]
        times = [1e3 / entry["updates_per_second"] for entry in entries.values()]
        label = f"{setting}, {values[0]} to {values[-1]}"
        axes.plot(multiples, times, marker="o", label=label)
    labels = {"xlabel": "Multiple of the smallest value", "ylabel": "Milliseconds per update"}
    axes.set(xscale="log", ylim=(0, None), **labels)
    axes.legend(frameon=False, fontsize=8.5)


def _sampling(axes: Any, sizes: Mapping[str, Mapping]) -> None:
    rates = {int(size): entry["actions_per_second"] for size, entry in sizes.items()}
    _line(axes, rates, "Observations per call", "Actions per second")


def _roofline(axes: Any, roofline: Mapping) -> None:
    fractions = {name: 100 * entry["of_matmul"] for name, entry in roofline["learners"].items()}
    limit = 100 * roofline["chain"]["flops_per_second"] / roofline["matmul"]["flops_per_second"]
    _bars(axes, fractions, "Per cent of the rate of large matrix products")
    axes.axvline(
        limit, color="#555555", linewidth=1.1, linestyle=(0, (5, 3)), label="products of 256 rows"
    )
    _legend_above(axes)


def _legend_above(axes: Any, columns: int = 1) -> None:
    """A legend at the right of the title, where no line can be."""
    place: dict[str, Any] = {"loc": "lower right", "bbox_to_anchor": (1.0, 1.0)}
    axes.legend(frameon=False, fontsize=8.5, ncols=columns, **place)


def _bars(axes: Any, values: Mapping[str, float], label: str) -> None:
    bars = axes.barh(list(values), list(values.values()), color=_OURS)
    axes.bar_label(bars, [f"{value:.3g}" for value in values.values()], padding=3, fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel(label)


def _line(axes: Any, values: Mapping[int, float], x_label: str, y_label: str) -> None:
    axes.plot(list(values), list(values.values()), color=_OURS, marker="o", linewidth=2.0)
    axes.set_xscale("log")
    axes.set_xticks(list(values), [str(x) for x in values])
    axes.minorticks_off()
    axes.set_ylim(0, 1.1 * max(values.values()))
    axes.set(xlabel=x_label, ylabel=y_label)
    axes.grid(axis="y", color="#dddddd", linewidth=0.7)


_PANELS = (
    ("learners", "Training, every learner", _rates),
    ("ablations", "What the paper's speed comes from", _ablations),
    ("seeds", "Seeds trained together", _seeds),
    ("batch", "Batch size", _batch),
    ("curves", "What an update costs", _curves),
    ("stream", "Where the data are", _rates),
    ("sampling", "Choosing actions", _sampling),
    ("precision", "Numbers in which matrices are multiplied", _precision),
    ("latency", "Choosing one action, by format", _latency),
    ("time_to_score", "Training up to a score", _time_to_score),
    ("command_buffers", "What is recorded as CUDA graphs", _rates),
    ("roofline", "How near the machine's limit", _roofline),
)
