"""What stands for an array while a function becomes a graph: see `Value`."""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np


class Tensor(NamedTuple):
    """An output of a node, or an input of the graph."""

    name: str
    shape: tuple[Any, ...]  # the size of the batch is an expression of JAX


@dataclasses.dataclass(eq=False)
class Combination:
    """The sum of float32 tensors times numbers, plus a constant; it has no node yet."""

    terms: dict[Tensor, float]  # not empty
    constant: np.ndarray  # float64, as many axes as `shape`
    shape: tuple[Any, ...]


# A value may have the length 1 on an axis along which it is constant.
Value = np.ndarray | Tensor | Combination


def scaled(tensor: Tensor, factor: float) -> Value:
    """A tensor times a number."""
    if factor == 1.0:
        return tensor
    return Combination({tensor: factor}, np.zeros((1,) * len(tensor.shape)), tensor.shape)


def joint_shape(values: Sequence[Value]) -> tuple[Any, ...]:
    """The shape that values of the same rank broadcast to."""
    sizes = zip(*(value.shape for value in values), strict=True)
    return tuple(next((s for s in each if not isinstance(s, int) or s != 1), 1) for each in sizes)


def same_rank(values: Sequence[Value]) -> list[Value]:
    """The values, of which numbers [] count as arrays with axes of length 1."""
    rank = max(len(value.shape) for value in values)
    return [
        value if len(value.shape) == rank else np.reshape(np.asarray(value), (1,) * rank)
        for value in values
    ]


def combine(operation: str, values: Sequence[Value]) -> Value | None:
    """The result of an operation as a combination, where it is one.

    0 times what is infinite counts as 0: the rows of a sampler's table have many zeros.

    Args:
      operation: a primitive of JAX, on float32.
      values: its arguments, not all constant.

    Returns:
      A combination, or a constant where all its terms have cancelled; None for other operations.
    """
    first, *others = same_rank(values)
    if operation == "neg":
        return _sum([(first, -1.0)])
    if operation in ("add", "sub"):
        return _sum([(first, 1.0), (others[0], 1.0 if operation == "add" else -1.0)])
    if operation == "mul" and isinstance(first, np.ndarray):
        first, others = others[0], [first]
    if operation in ("mul", "div") and isinstance(factor := others[0], np.ndarray):
        number = float(factor.flat[0])
        if np.all(factor == number) and (operation == "mul" or number):
            return _sum([(first, number if operation == "mul" else 1.0 / number)], factor)
    return None


def _sum(parts: Sequence[tuple[Value, float]], *alike: Value) -> Value:
    """Adds up values, each times a number.

    The result has the shape to which these values, and those in `alike`, broadcast together.
    """
    shape = joint_shape([*(value for value, _ in parts), *alike])
    terms: dict[Tensor, float] = {}
    constant = np.zeros((1,) * len(shape))
    for value, number in parts:
        if isinstance(value, np.ndarray):
            constant = constant + number * value.astype(np.float64)
            continue
        if isinstance(value, Combination):
            own, constant = value.terms, constant + number * value.constant
        else:
            own = {value: 1.0}
        for term, weight in own.items():
            terms[term] = terms.get(term, 0.0) + number * weight
    terms = {term: weight for term, weight in terms.items() if weight}
    return Combination(terms, constant, shape) if terms else constant.astype(np.float32)
