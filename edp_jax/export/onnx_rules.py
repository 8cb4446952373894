"""What the primitives of a jaxpr are in ONNX: one rule for each."""

import string
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from edp_jax.export.onnx_graph import Graph
from edp_jax.export.onnx_values import Value, combine, joint_shape, same_rank, scaled
from edp_jax.types import InputError

ELEMENTWISE = {
    **{"add": "Add", "sub": "Sub", "mul": "Mul", "div": "Div", "max": "Max", "min": "Min"},
    **{"neg": "Neg", "abs": "Abs", "exp": "Exp", "log": "Log", "sqrt": "Sqrt", "erf": "Erf"},
    **{"tanh": "Tanh", "logistic": "Sigmoid", "sin": "Sin", "cos": "Cos", "floor": "Floor"},
    **{"gt": "Greater", "lt": "Less", "ge": "GreaterOrEqual", "le": "LessOrEqual", "eq": "Equal"},
    **{"and": "And", "or": "Or", "not": "Not"},
}
REDUCTIONS = {"reduce_sum": "ReduceSum", "reduce_max": "ReduceMax", "reduce_min": "ReduceMin"}


def elementwise(graph: Graph, equation: Any, inputs: list[Value]) -> Value:
    """An element-wise operation: a combination, or else a node."""
    name = equation.primitive.name
    if equation.outvars[0].aval.dtype == np.float32:
        if (combined := combine(name, inputs)) is not None:
            return combined
    return graph.add(ELEMENTWISE[name], inputs, joint_shape(same_rank(inputs)))


def _mish(graph: Graph, inputs: list[Value]) -> Value | None:
    """x tanh(log(1 + e^x)), which is v tanh(log sigmoid(v)) with v = -x.

    Runtimes have no fast Softplus or Mish, and the sign becomes one of the product before.
    """
    if isinstance(inputs[0], np.ndarray) or (v := combine("neg", inputs)) is None:
        return None
    logarithm = graph.add("Log", [graph.add("Sigmoid", [v], v.shape)], v.shape)
    return graph.add("Mul", [v, graph.add("Tanh", [logarithm], v.shape)], v.shape)


def _clip(graph: Graph, inputs: list[Value]) -> Value | None:
    """Kept between two numbers; a multiple is kept between multiples of them."""
    value, *bounds = inputs
    numbers = [bound for bound in bounds if isinstance(bound, np.ndarray) and bound.size == 1]
    is_float = all(bound.dtype == np.float32 for bound in numbers)
    if isinstance(value, np.ndarray) or not len(bounds) == len(numbers) == 2 or not is_float:
        return None
    value, factor = graph.multiple(value)
    low, high = (np.asarray(bound.item() / factor, np.float32) for bound in numbers)
    clipped = graph.add("Clip", [value, *((low, high) if factor > 0 else (high, low))], value.shape)
    return scaled(clipped, factor)


def take(graph: Graph, value: Value, axis: int, index: int) -> Value:
    """The entry of an axis at a known place."""
    index = 0 if value.shape[axis] == 1 else index
    if isinstance(value, np.ndarray):
        return np.asarray(np.take(value, index, axis))
    shape = (*value.shape[:axis], *value.shape[axis + 1 :])
    return graph.add("Gather", [value, np.array(index)], shape, axis=axis)


def _broadcast(graph: Graph, equation: Any, inputs: list[Value]) -> list[Value]:
    """Axes of length 1 in place of the new ones."""
    value, places = inputs[0], equation.params["broadcast_dimensions"]
    shape = [1] * len(equation.params["shape"])
    for place, size in zip(places, value.shape, strict=True):
        shape[place] = size
    if isinstance(value, np.ndarray):
        return [value.reshape(shape)]
    new = [axis for axis in range(len(shape)) if axis not in places]
    return [graph.add("Unsqueeze", [value, np.array(new)], shape)] if new else [value]


def _squeeze(graph: Graph, equation: Any, inputs: list[Value]) -> list[Value]:
    axes = equation.params["dimensions"]
    shape = [size for axis, size in enumerate(inputs[0].shape) if axis not in axes]
    return [graph.add("Squeeze", [inputs[0], np.array(axes, np.int64)], shape)]


def _reshape(graph: Graph, equation: Any, inputs: list[Value]) -> list[Value]:
    value = graph.whole(inputs[0], equation.invars[0].aval.shape)
    return [graph.reshape(value, equation.outvars[0].aval.shape)]


def _transpose(graph: Graph, equation: Any, inputs: list[Value]) -> list[Value]:
    order = [int(axis) for axis in equation.params["permutation"]]
    return [_permute(graph, inputs[0], order)]


def _permute(graph: Graph, value: Value, order: Sequence[int]) -> Value:
    if list(order) == sorted(order):
        return value
    if isinstance(value, np.ndarray):
        return np.transpose(value, order)
    return graph.add("Transpose", [value], [value.shape[axis] for axis in order], perm=tuple(order))


def _slice(graph: Graph, equation: Any, inputs: list[Value]) -> list[Value]:
    params = equation.params
    starts, ends = params["start_indices"], params["limit_indices"]
    strides = params["strides"] or (1,) * len(starts)
    return [_cut(graph, inputs[0], starts, ends, strides)]


def _cut(graph: Graph, value: Value, starts: Any, ends: Any, strides: Any) -> Value:
    """A slice; axes along which the value is constant, or which stay whole, are left alone."""
    axes, shape = [], list(value.shape)
    for axis, size in enumerate(value.shape):
        is_whole = starts[axis] == 0 and ends[axis] == size and strides[axis] == 1
        if not is_whole and size != 1:
            axes.append(axis)
            shape[axis] = len(range(starts[axis], ends[axis], strides[axis]))
    if not axes:
        return value
    bounds = [np.array([int(each[axis]) for axis in axes]) for each in (starts, ends, strides)]
    return graph.add("Slice", [value, bounds[0], bounds[1], np.array(axes), bounds[2]], shape)


def _split(graph: Graph, equation: Any, inputs: list[Value]) -> list[Value]:
    axis, sizes = equation.params["axis"], [int(size) for size in equation.params["sizes"]]
    parts, rank, start = [], len(inputs[0].shape), 0
    for size in sizes:
        starts, ends = [0] * rank, list(inputs[0].shape)
        starts[axis], ends[axis] = start, start + size
        parts.append(_cut(graph, inputs[0], starts, ends, [1] * rank))
        start += size
    return parts


def _concatenate(graph: Graph, equation: Any, inputs: list[Value]) -> list[Value]:
    shapes = [variable.aval.shape for variable in equation.invars]
    parts = [graph.whole(*each) for each in zip(inputs, shapes, strict=True)]
    axis = equation.params["dimension"]
    return [graph.add("Concat", parts, equation.outvars[0].aval.shape, axis=axis)]


def _select(graph: Graph, equation: Any, inputs: list[Value]) -> list[Value]:
    which, *cases = inputs
    if isinstance(which, np.ndarray) and (which.all() or not which.any()):
        return [cases[int(which.flat[0])]]
    which, *cases = same_rank(inputs)
    return [graph.add("Where", [which, cases[1], cases[0]], joint_shape([which, *cases]))]


def _cast(graph: Graph, equation: Any, inputs: list[Value]) -> list[Value]:
    if equation.invars[0].aval.dtype == equation.params["new_dtype"]:
        return inputs
    return [graph.cast(inputs[0], equation.params["new_dtype"])]


def _reduce(graph: Graph, equation: Any, inputs: list[Value]) -> list[Value]:
    value = graph.whole(inputs[0], equation.invars[0].aval.shape)
    op, axes = REDUCTIONS[equation.primitive.name], np.array(equation.params["axes"], np.int64)
    return [graph.add(op, [value, axes], equation.outvars[0].aval.shape, keepdims=0)]


def _argmax(graph: Graph, equation: Any, inputs: list[Value]) -> list[Value]:
    value = graph.whole(inputs[0], equation.invars[0].aval.shape)
    (axis,) = equation.params["axes"]
    found = graph.add("ArgMax", [value], equation.outvars[0].aval.shape, axis=axis, keepdims=0)
    return [graph.cast(found, equation.params["index_dtype"])]


def _square(graph: Graph, equation: Any, inputs: list[Value]) -> list[Value]:
    return [graph.add("Mul", [inputs[0], inputs[0]], inputs[0].shape)]


def _rsqrt(graph: Graph, equation: Any, inputs: list[Value]) -> list[Value]:
    root = graph.add("Sqrt", inputs, inputs[0].shape)
    return [graph.add("Reciprocal", [root], root.shape)]


def _power(graph: Graph, equation: Any, inputs: list[Value]) -> list[Value]:
    exponent = np.array(equation.params["y"], np.float32)
    return [graph.add("Pow", [inputs[0], exponent], inputs[0].shape)]


def _dot(graph: Graph, equation: Any, inputs: list[Value]) -> list[Value]:
    """A product of matrices; any other sum over products by its letters."""
    ((left,), (right,)), batches = _only(equation.params["dimension_numbers"])
    shapes = [variable.aval.shape for variable in equation.invars]
    a, b = (graph.whole(*each) for each in zip(inputs, shapes, strict=True))
    shape = equation.outvars[0].aval.shape
    if not batches[0] and len(b.shape) == 2 and (left, right) == (len(a.shape) - 1, 0):
        if isinstance(b, np.ndarray):
            return [graph.product(a, b, shape)]
        return [graph.add("MatMul", [a, b], shape)]
    letters = iter(string.ascii_lowercase)
    of_a = [next(letters) for _ in a.shape]
    of_b = [next(letters) for _ in b.shape]
    of_b[right] = of_a[left]
    for one, other in zip(*batches, strict=True):
        of_b[other] = of_a[one]
    shared = [of_a[axis] for axis in batches[0]]
    free = [letter for letter in of_a if letter not in (*shared, of_a[left])]
    free += [letter for letter in of_b if letter not in (*shared, of_a[left])]
    equation_text = f"{''.join(of_a)},{''.join(of_b)}->{''.join([*shared, *free])}"
    return [graph.add("Einsum", [a, b], shape, equation=equation_text)]


def _only(numbers: Any) -> Any:
    contracted, batches = numbers
    if len(contracted[0]) != 1:
        raise InputError("--format=onnx: a product over several axes; use --format=jax")
    return contracted, batches


def _gather(graph: Graph, equation: Any, inputs: list[Value]) -> list[Value]:
    """One entry of an axis, the same everywhere or another one for each entry of other axes."""
    value, index = inputs
    numbers = equation.params["dimension_numbers"]
    (axis,) = (int(each) for each in numbers.start_index_map)
    if tuple(numbers.collapsed_slice_dims) != (axis,):
        raise InputError("--format=onnx: entries of several axes are picked; use --format=jax")
    if not numbers.operand_batching_dims and isinstance(index, np.ndarray) and index.size == 1:
        return [take(graph, value, axis, int(index.item()))]
    value = graph.whole(value, equation.invars[0].aval.shape)
    index = graph.whole(index, equation.invars[1].aval.shape)
    batch = [int(each) for each in numbers.operand_batching_dims]
    own = [int(each) for each in numbers.start_indices_batching_dims]
    rest = [each for each in range(len(value.shape)) if each not in (axis, *batch)]
    others = [each for each in range(len(index.shape) - 1) if each not in own]
    value = _permute(graph, value, [*batch, axis, *rest])
    index = graph.cast(_permute(graph, index, [*own, *others, len(index.shape) - 1]), np.int64)
    shape = [*index.shape[:-1], *value.shape[len(batch) + 1 :]]
    found = graph.add("GatherND", [value, index], shape, batch_dims=len(batch))
    order = np.argsort([*own, *others]).tolist()
    return [_permute(graph, found, [*order, *range(len(order), len(shape))])]


RULES: dict[str, Callable[[Graph, Any, list[Value]], list[Value]]] = {
    "broadcast_in_dim": _broadcast,
    "squeeze": _squeeze,
    "reshape": _reshape,
    "transpose": _transpose,
    "slice": _slice,
    "split": _split,
    "concatenate": _concatenate,
    "select_n": _select,
    "convert_element_type": _cast,
    "argmax": _argmax,
    "square": _square,
    "rsqrt": _rsqrt,
    "integer_pow": _power,
    "dot_general": _dot,
    "gather": _gather,
    **dict.fromkeys(REDUCTIONS, _reduce),
}

# functions that a graph can say better than by their primitives: None where it cannot
FUNCTIONS: dict[str, Callable[[Graph, list[Value]], Value | None]] = {"mish": _mish, "clip": _clip}
