"""Bytes that a program for a TPU moves to and from the memory of the chip, read from its text.

XLA's own `cost_analysis` says something else: it counts the body of a loop once, all of a dataset
where a few rows are gathered, and what stays in the memory inside the chip (S(1) in a layout).
"""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

_BYTES = {"pred": 1, "bf16": 2, "f16": 2}
_ARRAY = re.compile(r"(pred|bf16|[fsu](?:8|16|32|64))\[([\d,]*)\](?:\{([^}]*)\})?")
_NAMES = re.compile(r"%([\w.\-]+)")
_FREE = (
    *("parameter", "constant", "tuple", "get-tuple-element", "bitcast", "iota", "partition-id"),
    *("while", "after-all"),
)


class Instruction(NamedTuple):
    """A line of a computation."""

    name: str
    kind: str  # the type of its result
    operation: str
    operands: list[str]
    rest: str  # the whole line


def memory_bytes(text: str, repeats: Sequence[int] = ()) -> float:
    """Counts what is read from and written to the memory of one chip, without padding.

    Args:
      text: of a program compiled for a TPU (`Compiled.as_text`).
      repeats: how often the loops run whose number of steps is an argument, from the outermost on.

    Returns:
      Bytes in all.
    """
    computations, entry = _parse(text)

    def count(name: str, repeats: Sequence[int]) -> float:
        kinds = {line.name: line.kind for line in computations[name]}
        total = 0.0
        for line in computations[name]:
            if line.operation == "while":
                called = dict(re.findall(r"(condition|body)=%([\w.\-]+)", line.rest))
                condition, body = called["condition"], called["body"]
                steps = _steps(computations[condition])
                inner = repeats if steps else repeats[1:]
                total += (steps or repeats[0]) * count(body, inner)
            else:
                total += _moved(line, kinds, computations)
        return total

    return count(entry, repeats)


def _steps(condition: Sequence[Instruction]) -> int:
    """The steps of a loop whose condition compares with a constant; 0 where it does not."""
    found = [re.search(r"s32\[\]\S* constant\((\d+)\)", line.rest) for line in condition]
    return next((int(match[1]) for match in found if match), 0)


def _moved(
    line: Instruction, kinds: dict[str, str], computations: dict[str, list[Instruction]]
) -> float:
    if line.operation in _FREE or line.operation.endswith("-done"):
        return 0
    if line.operation.endswith("-start"):  # (from, to, ...) or (to, from, ...)
        ends = list(_arrays(line.kind))[:2]
        return min(size for size, _ in ends) * sum(outside for _, outside in ends)
    called = re.search(r"calls=%([\w.\-]+)", line.rest)
    parts = _parts(computations[called[1]] if called else [line], kinds)
    types = [line.kind, *(kinds.get(name, "") for name in line.operands)]
    return sum(
        min(size, parts.get(index, size))
        for index, kind in enumerate(types)
        for size, outside in _arrays(kind)
        if outside
    )


def _parts(fusion: Sequence[Instruction], kinds: dict[str, str]) -> dict[int, int]:
    """Of arrays that are read or written only in part, the bytes of that part.

    Args:
      fusion: the instructions of one, or a single instruction.
      kinds: types of what stands around it.

    Returns:
      The bytes by place: 0 is the result, 1 the first operand.
    """
    lines, parts = {line.name: line for line in fusion}, {}
    kinds = kinds | {line.name: line.kind for line in fusion}

    def size(name: str) -> int:
        return sum(size for size, _ in _arrays(kinds[name]))

    def place(name: str) -> int | None:
        if name not in lines:
            return 1 + fusion[0].operands.index(name)
        while lines[name].operation == "bitcast":
            name = lines[name].operands[0]
        found = re.search(r" parameter\((\d+)\)", lines[name].rest)
        return 1 + int(found[1]) if found else None

    for line in fusion:
        if line.operation in ("gather", "dynamic-slice", "slice"):
            if (index := place(line.operands[0])) is not None:
                parts[index] = parts.get(index, 0) + size(line.name)
        elif line.operation == "dynamic-update-slice":
            parts[0] = size(line.operands[1])
            if (index := place(line.operands[0])) is not None:
                parts[index] = 0
    return parts


def _arrays(kind: str) -> Iterator[tuple[int, bool]]:
    """The bytes of every array of a type, and whether it lies in the memory outside the chip."""
    for dtype, shape, layout in _ARRAY.findall(kind):
        size = _BYTES.get(dtype) or int(dtype[1:]) // 8
        for length in filter(None, shape.split(",")):
            size *= int(length)
        yield size, "S(" not in layout


def _parse(text: str) -> tuple[dict[str, list[Instruction]], str]:
    """The computations of a module by name, and the name of the one that is called first."""
    computations: dict[str, list[Instruction]] = {}
    entry, lines = "", []
    for row in text.splitlines():
        if begin := re.match(r"(ENTRY )?%([\w.\-]+) \(.*\{$", row):
            lines = computations.setdefault(begin[2], [])
            entry = begin[2] if begin[1] else entry
        elif found := re.match(r"\s+(?:ROOT )?%([\w.\-]+) = (.*)", row):
            kind, rest = _split_kind(found[2])
            operation, _, behind = rest.partition("(")
            operands = _NAMES.findall(behind.partition(")")[0])
            lines.append(Instruction(found[1], kind, operation, operands, row))
    return computations, entry


def _split_kind(text: str) -> tuple[str, str]:
    """Parts "TYPE operation(...)" at the blank behind the type, which may be a tuple."""
    depth = 0
    for index, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if letter == " " and not depth:
            return text[:index], text[index + 1 :]
    return text, ""
