"""An ONNX graph under construction.

A value may have the length 1 on an axis along which it is constant. ONNX broadcasts such axes by
itself in element-wise operations; `Graph.whole` does it elsewhere.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from edp_jax.errors import not_installed

OPSET, IR_VERSION = 18, 9  # read by onnxruntime 1.16 and later
BATCH = "B"


class Tensor(NamedTuple):
    """An output of a node, or an input of the graph."""

    name: str
    shape: tuple[Any, ...]  # the size of the batch is an expression of JAX


Value = np.ndarray | Tensor


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

    def add(
        self, op: str, inputs: Sequence[Value], shape: Sequence[Any], **attributes: Any
    ) -> Tensor:
        """Adds a node, unless there is an equal one, and returns its output."""
        names = [
            value.name if isinstance(value, Tensor) else self._constant(value) for value in inputs
        ]
        key = (op, *names, *sorted(attributes.items()))
        if key not in self._made:
            self._made[key] = f"{op}_{len(self.nodes)}"
            node = self._onnx.helper.make_node(op, names, [self._made[key]], **attributes)
            self.nodes.append(node)
        return Tensor(self._made[key], tuple(shape))

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

        graph = helper.make_graph(
            self.nodes,
            "policy",
            [described(*each) for each in inputs.items()],
            [described(name, shape)],
            list(self._constants.values()),
        )
        opsets = [helper.make_opsetid("", OPSET)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)

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

    def reshape(self, value: Tensor, shape: Sequence[Any]) -> Tensor:
        """The value, whose axes have their full length, in another shape."""
        sizes = np.array([-1 if size == self._batch else int(size) for size in shape], np.int64)
        return self.add("Reshape", [value, sizes], shape)
