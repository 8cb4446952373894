"""What a function becomes in ONNX: few nodes, and the same numbers."""

import collections

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from edp_jax.export import onnx_convert
from edp_jax.export.onnx_values import Combination, Tensor, combine
from edp_jax.ops import mish

X, Y = Tensor("x", ("b", 2)), Tensor("y", ("b", 2))
WEIGHTS = np.random.RandomState(0).normal(size=(3, 2)).astype(np.float32)


def constant(*numbers: float) -> np.ndarray:
    return np.array([numbers], np.float32)


def test_sums_of_multiples_are_one_combination():
    """(3 x - 2 (y - x)) / -2 + (1, 2), of which each step is one operation: -2.5 x + y + (1, 2)."""
    three_x = combine("mul", [constant(3.0), X])
    difference = combine("mul", [combine("sub", [Y, X]), constant(2.0, 2.0)])
    halved = combine("div", [combine("sub", [three_x, difference]), np.array(-2.0)])
    found = combine("add", [halved, constant(1.0, 2.0)])
    assert isinstance(found, Combination) and found.terms == {X: -2.5, Y: 1.0}
    np.testing.assert_array_equal(found.constant, [[1.0, 2.0]])
    assert found.shape == ("b", 2)


def test_what_cancels_is_constant():
    for found in (combine("sub", [X, X]), combine("mul", [np.array(0.0), X])):
        np.testing.assert_array_equal(found, [[0.0]])
    cancelled = combine("add", [combine("neg", [X]), combine("add", [X, constant(1.0, 2.0)])])
    np.testing.assert_array_equal(cancelled, [[1.0, 2.0]])
    assert cancelled.dtype == np.float32


@pytest.mark.parametrize(
    ("operation", "values"),
    [
        ("mul", [X, Y]),
        ("mul", [X, constant(1.0, 2.0)]),
        ("div", [constant(1.0), X]),
        ("div", [X, constant(0.0)]),
        ("max", [X, constant(1.0)]),
    ],
)
def test_other_operations_are_none(operation, values):
    assert combine(operation, values) is None


def converted(function, width=3):
    """Operations of the function's graph by name, and the graph as a function of x [B, width]."""
    pytest.importorskip("onnx", reason="the package onnx is not installed")
    runtime = pytest.importorskip("onnxruntime", reason="the package onnxruntime is not installed")
    (batch,) = jax.export.symbolic_shape("b")
    inputs = {"x": jax.ShapeDtypeStruct((batch, width), np.float32)}
    model = onnx_convert.convert(lambda inputs: function(inputs["x"]), inputs, batch, "y")
    session = runtime.InferenceSession(model.SerializeToString())
    nodes = collections.Counter(node.op_type for node in model.graph.node)
    del nodes["Identity"]  # gives the output its name
    return dict(nodes), lambda x: session.run(["y"], {"x": np.asarray(x, np.float32)})[0]


def test_a_layer_is_a_product_and_four_more_nodes():
    """Also where e^x is larger than float32, and where log(1 + e^x) is 0 in it."""
    bias = np.array([0.5, -1.0], np.float32)
    nodes, run = converted(lambda x: mish(bias + x @ WEIGHTS) @ WEIGHTS.T)
    assert nodes == {"Gemm": 1, "Sigmoid": 1, "Log": 1, "Tanh": 1, "Mul": 1, "MatMul": 1}
    _, alone = converted(lambda x: mish(x))
    x = np.append(np.linspace(-30.0, 30.0, 601), [-1000.0, -100.0, 100.0, 1000.0, 0.0])
    expected = x * np.tanh(np.logaddexp(0.0, x))
    found = alone(x.reshape(-1, 3)).ravel()
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=2e-6)
    rows = np.random.RandomState(1).normal(size=(4, 3))
    hidden = rows @ WEIGHTS + bias
    expected = hidden * np.tanh(np.logaddexp(0.0, hidden)) @ WEIGHTS.T
    np.testing.assert_allclose(run(rows), expected, rtol=1e-5, atol=1e-6)


def test_a_step_of_a_sampler_needs_no_node_for_what_a_product_can_do():
    """x0 = clip((x - 0.6 eps) / 0.8) with eps = h W + b, as a multiple of x + Gemm(h)."""
    square = np.random.RandomState(2).normal(size=(3, 3)).astype(np.float32)

    def step(x):
        eps = jnp.tanh(x) @ square + 0.1
        x0 = jnp.clip((x - 0.6 * eps) / 0.8, -1.0, 1.0)
        return (0.5 * x + 0.5 * x0) @ square

    nodes, run = converted(step)
    assert nodes == {"Tanh": 1, "Gemm": 2, "Sum": 2, "Clip": 1, "Mul": 1}
    x = np.random.RandomState(3).normal(size=(5, 3))
    x0 = np.clip((x - 0.6 * (np.tanh(x) @ square + 0.1)) / 0.8, -1, 1)
    np.testing.assert_allclose(run(x), (0.5 * x + 0.5 * x0) @ square, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("number", [-2.0, 0.5])
def test_multiples_are_clipped_as_they_are(number):
    nodes, run = converted(lambda x: jnp.clip(number * x, -1.0, 0.25))
    x = np.array([[-3.0, 0.0, 0.1], [3.0, -0.1, 1.0]])
    np.testing.assert_allclose(run(x), np.clip(number * x, -1.0, 0.25), rtol=1e-6)
    assert nodes == {"Clip": 1, "Mul": 1}  # the factor is left for the end


def test_sums_are_right_whatever_they_are_read_by():
    """Products of other ranks, constants wider than a product, sums that are read twice."""
    wide, column = np.float32([[1.0, -2.0, 3.0]]), WEIGHTS[:, :1]
    functions = {
        "wide": (lambda np, x: 2.0 * (x @ column) + wide),
        "twice": (lambda np, x: (x - 0.5) * (x - 0.5) + 2.0 * np.tanh(3.0 * (x - 0.5))),
        "two products": (lambda np, x: 0.3 * (x @ WEIGHTS) - 2.0 * (np.tanh(x) @ WEIGHTS) + 1.0),
        "three axes": (lambda np, x: (3.0 * ((x[None] * wide[:, None]) @ WEIGHTS) - 1.0).sum(0)),
        "vectors": (lambda np, x: (x - wide) / (2.0 * wide) - x),
        "no product": (lambda np, x: np.maximum(2.0 * x - 1.0, -x)),
    }
    x = np.random.RandomState(4).normal(size=(2, 3)).astype(np.float32)
    for name, function in functions.items():
        _, run = converted(lambda x, function=function: function(jnp, x))
        expected = function(np, x)
        np.testing.assert_allclose(run(x), expected, rtol=1e-5, atol=1e-5, err_msg=name)


def test_what_nothing_reads_is_left_out():
    nodes, run = converted(lambda x: (jnp.exp(x), jnp.tanh(x @ WEIGHTS))[1])
    assert nodes == {"MatMul": 1, "Tanh": 1}
