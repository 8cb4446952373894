"""Tables of a report: values with what it takes to show them as text, HTML, Markdown and csv."""

import csv
import html
import io
import math
import numbers
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

NOTHING = "–"  # stands where there is no value
_LONG = 60  # characters of a cell that may have several lines


class Column(NamedTuple):
    """A column; its cells hold one value, or a tuple with one value for each of `parts`."""

    name: str
    text: Callable[[Any], str] = str  # how a cell is shown
    parts: tuple[str, ...] = ("",)  # what each value is, behind the name in a csv file
    numeric: bool = False


class Table(NamedTuple):
    """A table with a heading, and a note that tells what its numbers are."""

    name: str  # of its csv file
    title: str
    note: str
    columns: tuple[Column, ...]
    rows: list[tuple[Any, ...]]


def words(name: str) -> Column:
    """A column of text; a cell may also be a sequence of words or a number as it is."""

    def text(value: Any) -> str:
        return ", ".join(map(str, value)) if isinstance(value, tuple | list) else str(value)

    return Column(name, text)


def number(name: str, digits: int = 1, sign: bool = False) -> Column:
    """A column of single numbers; large ones get a comma, very large ones a power of ten."""
    return Column(name, lambda value: _number(value, digits, sign), numeric=True)


def with_error(name: str, digits: int = 1) -> Column:
    """A column of means, each with its standard error over seeds where there is one."""

    def text(cell: tuple[float, float]) -> str:
        mean, error = (_number(value, digits) for value in cell)
        return mean if error == NOTHING else f"{mean} ± {error}"

    return Column(name, text, ("", " standard error"), numeric=True)


def interval(name: str, digits: int = 1) -> Column:
    """A column of numbers, each with the ends of its interval."""

    def text(cell: tuple[float, float, float]) -> str:
        value, low, high = (_number(part, digits) for part in cell)
        return value if low == NOTHING else f"{value} [{low}, {high}]"

    return Column(name, text, ("", " low", " high"), numeric=True)


def span(name: str) -> Column:
    """A column of counts that may differ from seed to seed: the least and the most."""

    def text(cell: tuple[int, int]) -> str:
        least, most = (_number(part, 0) for part in cell)
        return least if least == most else f"{least} to {most}"

    return Column(name, text, (" least", " most"), numeric=True)


def as_csv(table: Table) -> str:
    """The table with all digits, one column per number; nothing where there is no value."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([column.name + part for column in table.columns for part in column.parts])
    for row in table.rows:
        cells: list[str] = []
        for column, value in zip(table.columns, row, strict=True):
            if column.numeric:
                cells += ["" if _missing(part) else repr(part) for part in _parts(column, value)]
            else:
                cells.append(column.text(value))
        writer.writerow(cells)
    return buffer.getvalue()


def as_markdown(table: Table) -> str:
    """The table as one of Markdown."""
    lines = [[column.name for column in table.columns]]
    lines.append(["---:" if column.numeric else "---" for column in table.columns])
    lines += [_texts(table, row) for row in table.rows]
    return "\n".join(f"| {' | '.join(map(plain_markdown, line))} |" for line in lines)


def plain_markdown(text: str) -> str:
    """Text that Markdown shows as it is, in one line, also inside a table."""
    text = " ".join(text.split()).replace("<", "&lt;")
    return "".join(f"\\{letter}" if letter in "|*`\\" else letter for letter in text)


def as_html(table: Table) -> str:
    """The table as one of HTML; cells of numbers tell what to sort them by."""
    heads = "".join(
        f'<th{_kind(column)}><button type="button">{html.escape(column.name)}</button></th>'
        for column in table.columns
    )
    body = []
    for row in table.rows:
        cells = []
        for column, value, text in zip(table.columns, row, _texts(table, row), strict=True):
            first = _parts(column, value)[0] if column.numeric else None
            by = "" if _missing(first) else f' data-value="{first!r}"'
            long = len(text) > _LONG and " " in text  # and not the name of a folder
            kind = _kind(column) or (' class="long"' if long else "")
            cells.append(f"<td{kind}{by}>{html.escape(text)}</td>")
        body.append(f"<tr>{''.join(cells)}</tr>")
    rows = "\n".join(body)
    return f"<table>\n<thead><tr>{heads}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table>"


def _texts(table: Table, row: Sequence[Any]) -> list[str]:
    return [column.text(value) for column, value in zip(table.columns, row, strict=True)]


def _parts(column: Column, value: Any) -> tuple[Any, ...]:
    parts = tuple(value) if len(column.parts) > 1 else (value,)
    return tuple(map(_plain, parts))


def _plain(value: Any) -> int | float | None:
    """A number as Python's own, counts without a decimal point."""
    if value is None:
        return None
    return int(value) if isinstance(value, numbers.Integral) else float(value)


def _kind(column: Column) -> str:
    return ' class="number"' if column.numeric else ""


def _missing(value: Any) -> bool:
    return value is None or math.isnan(value)


def _number(value: float | None, digits: int, sign: bool = False) -> str:
    if value is None or math.isnan(value):
        return NOTHING
    if abs(value) >= 1e7:
        return f"{value:.2e}"
    return f"{value:{'+' if sign else ''},.{digits}f}"
