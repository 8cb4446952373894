"""From a JAX function to an ONNX model.

The function is traced, and its jaxpr is run on stand-ins. What depends on no input is computed at
once: tables of the sampler, embeddings of the timestep. Loops are unrolled. What is left becomes
nodes, each once, however often it occurs: the product of the observation with the first layer is
made in one of the sampler's calls and used in all.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.extend.core import Literal

from edp_jax.export.onnx_graph import Graph
from edp_jax.export.onnx_rules import ELEMENTWISE, FUNCTIONS, RULES, elementwise, take
from edp_jax.export.onnx_values import Tensor, Value
from edp_jax.types import InputError

UNCHANGED = ("stop_gradient", "copy", "copy_p", "optimization_barrier")
CPU = "cpu"  # the processor whose way is taken where a function has several
NESTED = ("jaxpr", "call_jaxpr", "fun_jaxpr")  # where primitives keep the function that they call


def convert(
    function: Callable[[dict[str, Any]], Any],
    inputs: Mapping[str, jax.ShapeDtypeStruct],
    batch: Any,
    name: str,
) -> Any:
    """Converts a function to an ONNX model.

    Args:
      function: of a dictionary of arrays [B, ...]; it gives one array [B, ...].
      inputs: its arguments; all float32.
      batch: the symbol that stands for B in their shapes.
      name: of the output.

    Returns:
      The onnx.ModelProto.

    Raises:
      InputError: the function has an operation that is not known here, or onnx is not installed.
    """
    closed = jax.make_jaxpr(function)(dict(inputs))
    names = sorted(inputs)  # as JAX orders a dictionary
    graph = Graph(batch, names[0])
    arguments = [Tensor(each, inputs[each].shape) for each in names]
    constants = [np.asarray(value) for value in closed.consts]
    (output,) = _run(graph, closed.jaxpr, [*constants, *arguments])
    shapes = {each: inputs[each].shape for each in inputs}
    return graph.model(shapes, name, output, closed.out_avals[0].shape)


def _run(graph: Graph, jaxpr: Any, arguments: Sequence[Value]) -> list[Value]:
    """Runs a jaxpr on stand-ins.

    Args:
      graph: gets the nodes.
      jaxpr: open; its constants come before its arguments.
      arguments: values of its constants and arguments.

    Raises:
      InputError: it has an operation without a rule.
    """
    values = dict(zip([*jaxpr.constvars, *jaxpr.invars], arguments, strict=True))

    def read(variable: Any) -> Value:
        if isinstance(variable, Literal):
            kind: Any = variable.aval
            return np.asarray(variable.val, kind.dtype)
        return values[variable]

    for equation in jaxpr.eqns:
        outputs = _apply(graph, equation, [read(variable) for variable in equation.invars])
        values |= dict(zip(equation.outvars, outputs, strict=True))
    return [read(variable) for variable in jaxpr.outvars]


def _apply(graph: Graph, equation: Any, inputs: list[Value]) -> list[Value]:
    name = equation.primitive.name
    if name == "scan":
        return _scan(graph, equation, inputs)
    if name == "platform_index":  # of `jax.lax.platform_dependent`
        choices = equation.params["platforms"]
        return [
            np.asarray(next(i for i, each in enumerate(choices) if each is None or CPU in each))
        ]
    if name == "cond" and isinstance(inputs[0], np.ndarray):
        branch = equation.params["branches"][int(inputs[0])]
        return _run(graph, branch.jaxpr, [*map(np.asarray, branch.consts), *inputs[1:]])
    if inner := next((equation.params[key] for key in NESTED if key in equation.params), None):
        rule = FUNCTIONS.get(inner.jaxpr.debug_info.func_name)
        if rule is not None and (output := rule(graph, inputs)) is not None:
            return [output]
        constants = [np.asarray(value) for value in inner.consts]
        return _run(graph, inner.jaxpr, [*constants, *inputs])
    known = [value for value in inputs if isinstance(value, np.ndarray)]
    if len(known) == len(inputs) and (name in ELEMENTWISE or _is_fixed(equation)):
        return _compute(equation, known)
    if name in UNCHANGED:
        return inputs
    if name in ELEMENTWISE:
        return [elementwise(graph, equation, inputs)]
    if name not in RULES:
        raise InputError(
            f"--format=onnx: the policy has an operation {name!r:.40} that is not known there; use "
            "--format=jax"
        )
    return RULES[name](graph, equation, inputs)


def _is_fixed(equation: Any) -> bool:
    """Whether all shapes of an equation are numbers."""
    variables = [*equation.invars, *equation.outvars]
    return all(isinstance(size, int) for each in variables for size in each.aval.shape)


def _compute(equation: Any, inputs: list[np.ndarray]) -> list[Value]:
    """The results of a primitive all of whose inputs are known."""
    if equation.primitive.name in ELEMENTWISE:
        inputs = list(np.broadcast_arrays(*inputs))
    else:
        shapes = [variable.aval.shape for variable in equation.invars]
        inputs = [np.broadcast_to(*each) for each in zip(inputs, shapes, strict=True)]
    outputs = equation.primitive.bind(*map(jax.numpy.asarray, inputs), **equation.params)
    several = outputs if equation.primitive.multiple_results else [outputs]
    return [np.asarray(each) for each in several]


def _scan(graph: Graph, equation: Any, inputs: list[Value]) -> list[Value]:
    """A loop, unrolled; it may not give a value per turn."""
    params = equation.params
    body, first = params["jaxpr"], params["num_consts"]
    last = first + params["num_carry"]
    fixed, carry, rows = inputs[:first], inputs[first:last], inputs[last:]
    if len(equation.outvars) != params["num_carry"]:
        raise InputError("--format=onnx: a loop that gives a value per turn; use --format=jax")
    turns = range(params["length"])
    constants = [np.asarray(value) for value in body.consts]
    for turn in reversed(turns) if params["reverse"] else turns:
        own = [take(graph, row, 0, turn) for row in rows]
        carry = _run(graph, body.jaxpr, [*constants, *fixed, *carry, *own])
    return carry
