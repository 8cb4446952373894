"""How learners and lines look in the figures of a report."""

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

from edp_jax.reports.groups import Group

INK, FAINT = "#30363d", "#d0d7de"  # of text and of lines of the grid; the page may replace them
# Middle tones, which can be told apart on white and on black
_COLORS = (
    *("#2f7ed8", "#d9534f", "#2e9e62", "#9b6fd0", "#d08a1d", "#1aa3b5"),
    *("#c8579e", "#8a8f98", "#8a7a3a", "#5b6ee1"),
)
_DASHES = ("solid", (0, (5, 2)), (0, (1, 1.5)))
SEED_OPACITY = 0.8  # of the thin lines: less is hard to see on black
_LONGEST_NAME = 45  # characters of a learner's name in a figure


class Style(NamedTuple):
    """How a learner looks in every figure."""

    name: str
    color: str
    dash: Any


def styles(groups: Sequence[Group]) -> dict[str, Style]:
    """The name, the colour and the dashes of each learner, the same in all figures.

    Long names are cut, and numbered in their order where they are then alike.
    """
    labels = sorted({group.label for group in groups})
    long = _LONGEST_NAME
    cut = [label if len(label) <= long else f"{label[: long - 3]}..." for label in labels]
    names = [
        f"{name} #{cut[: index + 1].count(name)}" if cut.count(name) > 1 else name
        for index, name in enumerate(cut)
    ]
    looks = itertools.cycle(itertools.product(_DASHES, _COLORS))
    return {
        label: Style(name, color, dash)
        for label, name, (dash, color) in zip(labels, names, looks, strict=False)
    }
