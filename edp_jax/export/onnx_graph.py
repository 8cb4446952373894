"""An ONNX graph under construction.

ONNX broadcasts axes of length 1 by itself in element-wise operations; `Graph.whole` does it
elsewhere. A runtime spends a third of a microsecond on the smallest node. So what is a sum of
multiples stays a `Combination` until some other node reads it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edp_jax.errors import not_installed
from edp_jax.export.onnx_values import Combination, Tensor, Value, scaled

OPSET, IR_VERSION = 18, 9  # read by onnxruntime 1.16 and later
BATCH = "B"


class Graph:
    """Nodes and constants of an ONNX graph under construction."""

    def __init__(self, batch: Any, batched: str):
        """Begins a graph whose batch has the symbolic size `batch`, as has the input `batched`."""
        try:
            import onnx
        except ImportError as error:
            raise not_installed("--format=onnx", error, "export") from error
        self._onnx, self._batch, self._batched = onnx, batch, batched
        self.nodes: list[Any] = []
        self._constants: dict[Any, Any] = {}
        self._made: dict[Any, str] = {}
        self._products: dict[Tensor, tuple[Value, np.ndarray]] = {}

    def add(
        self, op: str, inputs: Sequence[Value], shape: Sequence[Any], **attributes: Any
    ) -> Tensor:
        """Adds a node, unless there is an equal one, and returns its output."""
        names = [self._name(value) for value in inputs]
        key = (op, *names, *sorted(attributes.items()))
        if key not in self._made:
            self._made[key] = f"{op}_{len(self.nodes)}"
            node = self._onnx.helper.make_node(op, names, [self._made[key]], **attributes)
            self.nodes.append(node)
        return Tensor(self._made[key], tuple(shape))

    def product(self, a: Value, b: np.ndarray, shape: Sequence[Any]) -> Value:
        """The product of a [..., I] and a matrix b [I, O]."""
        tensor, factor = self.multiple(a)
        made = self.add("MatMul", [tensor, b], shape)
        self._products[made] = tensor, b
        return scaled(made, factor)

    def multiple(self, value: Value) -> tuple[Value, float]:
        """A value that needs no node for its factor, and the number to multiply it by."""
        if not isinstance(value, Combination):
            return value, 1.0
        costly = [term for term in value.terms if term not in self._products] or value.terms
        factor = max((value.terms[term] for term in costly), key=abs)
        return self._settle(value, factor), factor

    def whole(self, value: Value, shape: Sequence[Any]) -> Value:
        """The value with all axes at their full length."""
        shape = tuple(shape)
        if value.shape == shape:
            return value
        if isinstance(value, np.ndarray) and self._batch not in shape:
            return np.broadcast_to(value, shape)
        return self.add("Expand", [value, self._dynamic(shape)], shape)

    def model(
        self, inputs: Mapping[str, Any], name: str, output: Value, shape: Sequence[Any]
    ) -> Any:
        """The finished model, an onnx.ModelProto.

        Args:
          inputs: shapes of the graph's inputs, by name.
          name: of its output.
          output: the value that it gives.
          shape: of the output.
        """
        helper, float32 = self._onnx.helper, self._onnx.TensorProto.FLOAT
        self.add("Identity", [self.whole(output, shape)], shape)
        self.nodes[-1].output[0] = name

        def described(name: str, shape: Sequence[Any]) -> Any:
            axes = [BATCH if size == self._batch else int(size) for size in shape]
            return helper.make_tensor_value_info(name, float32, axes)

        nodes = _needed(self.nodes, name)
        read = {each for node in nodes for each in node.input}
        graph = helper.make_graph(
            nodes,
            "policy",
            [described(*each) for each in inputs.items()],
            [described(name, shape)],
            [each for each in self._constants.values() if each.name in read],
        )
        opsets = [helper.make_opsetid("", OPSET)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)

    def _name(self, value: Value) -> str:
        settled = self._settle(value) if isinstance(value, Combination) else value
        return settled.name if isinstance(settled, Tensor) else self._constant(settled)

    def _settle(self, value: Combination, factor: float = 1.0) -> Tensor:
        """Adds the nodes of a combination divided by a factor; it then stands for their output."""
        constant, parts = value.constant / factor, []
        products = (each for each in reversed(self._products) if each in value.terms)
        newest = next(products, None)  # older ones may serve several combinations
        for term, weight in value.terms.items():
            added = constant if term == newest and _fits(constant, term) else np.zeros(())
            parts.append(self._times(term, weight / factor, added))
            constant = constant - added
        if constant.any():
            parts.append(constant.astype(np.float32))
        made = parts[0] if len(parts) == 1 else self.add("Sum", parts, value.shape)
        value.terms, value.constant = {made: factor}, np.zeros((1,) * len(value.shape))
        return made

    def _times(self, term: Tensor, weight: float, constant: np.ndarray) -> Tensor:
        """A tensor times a number, plus a constant that `_fits` it."""
        if weight == 1.0 and not constant.any():
            return term
        if term not in self._products:
            return self.add("Mul", [term, np.asarray(weight, np.float32)], term.shape)
        a, b = self._products[term]
        if len(term.shape) != 2:
            return self.add("MatMul", [a, np.float32(weight) * b], term.shape)
        added = [constant.astype(np.float32)] if constant.any() else []
        return self.add("Gemm", [a, b, *added], term.shape, alpha=weight)

    def _constant(self, value: np.ndarray) -> str:
        value = np.ascontiguousarray(value).reshape(value.shape)
        key = (value.dtype.str, value.shape, value.tobytes())
        if key not in self._constants:
            name = f"constant_{len(self._constants)}"
            self._constants[key] = self._onnx.numpy_helper.from_array(value, name)
        return self._constants[key].name

    def _dynamic(self, shape: Sequence[Any]) -> Value:
        """A shape as an array; the size of the batch is that of an input."""
        sizes = [-1 if size == self._batch else int(size) for size in shape]
        if -1 not in sizes:
            return np.array(sizes, np.int64)
        size = self.add("Shape", [Tensor(self._batched, ())], (1,), start=0, end=1)
        parts = [size if each == -1 else np.array([each], np.int64) for each in sizes]
        return self.add("Concat", parts, (len(parts),), axis=0)

    def cast(self, value: Value, dtype: Any) -> Tensor:
        """The value in another type."""
        to = self._onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        return self.add("Cast", [value], value.shape, to=to)

    def reshape(self, value: Value, shape: Sequence[Any]) -> Tensor:
        """The value, whose axes have their full length, in another shape."""
        sizes = np.array([-1 if size == self._batch else int(size) for size in shape], np.int64)
        return self.add("Reshape", [value, sizes], shape)


def _fits(constant: np.ndarray, term: Tensor) -> bool:
    """Whether a node for a product of matrices can add the constant to it."""
    sizes = zip(constant.shape, term.shape, strict=True)
    return len(term.shape) == 2 and all(size in (1, full) for size, full in sizes)


def _needed(nodes: Sequence[Any], output: str) -> list[Any]:
    """The nodes that an output depends on, in their order."""
    wanted, needed = {output}, []
    for node in reversed(nodes):
        if not wanted.isdisjoint(node.output):
            wanted.update(node.input)
            needed.append(node)
    return needed[::-1]
