"""The file .onnx: a policy for ONNX runtimes, which need neither JAX nor this package.

The metadata is a property of the model, and stands at the end of the file. What is before it is the
graph, which the metadata's digest is taken over.
"""

import json
import os
from collections.abc import Mapping
from typing import Any

import jax
import jax.export
import numpy as np

from edp_jax.errors import not_installed
from edp_jax.export import metadata as meta
from edp_jax.export import onnx_convert
from edp_jax.export.policy import OBSERVATION, Interface, Run
from edp_jax.export.program import Program
from edp_jax.files import parse_json, write_bytes
from edp_jax.types import InputError

PROPERTY, GRAPH_BYTES = "edp_jax", "graph_bytes"
ACTION = "action"  # name of the output
TOLERANCE = 1e-5  # of half the action box
_CHECKED = 8  # observations
_OTHER_FILES = "session.model_external_initializers_file_folder_path"


def write(path: str, program: Program, metadata: Mapping[str, Any]) -> None:
    """Writes a policy, after a comparison of its actions with JAX's.

    Args:
      path: of the file.
      program: of the policy.
      metadata: from `metadata.describe`.

    Raises:
      InputError: the file cannot be written, a package is missing, ONNX cannot express the policy,
        or acts otherwise.
    """
    (batch,) = jax.export.symbolic_shape("b")
    inputs = program.inputs(batch)
    model = onnx_convert.convert(
        lambda inputs: program.function(program.params, inputs), inputs, batch, ACTION
    )
    import onnx

    graph = model.SerializeToString(deterministic=True)
    sealed = meta.seal({**metadata, GRAPH_BYTES: len(graph)}, [graph])
    described = onnx.ModelProto()
    onnx.helper.set_model_props(described, {PROPERTY: json.dumps(sealed)})
    content = graph + described.SerializeToString(deterministic=True)  # protobuf joins the two
    _compare(path, program, content)
    write_bytes(path, content)


def read(path: str) -> tuple[Interface, Run, dict[str, Any]]:
    """Reads a policy.

    Args:
      path: of the file.

    Returns:
      What it takes and gives, the function, and its metadata.

    Raises:
      InputError: a package is missing.
      Exception: the file is damaged, of another version, or something else.
    """
    with open(path, "rb") as file:
        content = file.read()
    session = _session(path, content)
    metadata = parse_json(session.get_modelmeta().custom_metadata_map.get(PROPERTY, "null"))
    size = metadata.get(GRAPH_BYTES) if isinstance(metadata, dict) else None
    interface = meta.check(metadata, [content[:size]])
    meta.check_inputs(interface, {each.name: each.shape for each in session.get_inputs()})

    def run(inputs: Mapping[str, Any]) -> np.ndarray:
        return session.run([ACTION], {name: np.asarray(each) for name, each in inputs.items()})[0]

    return interface, run, metadata


def _session(path: str, content: bytes) -> Any:
    """A session of onnxruntime on one thread: policies are too small for more."""
    try:
        import onnxruntime
    except ImportError as error:
        raise not_installed(f"policy {path!r}", error, "export") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors
    options.add_session_config_entry(_OTHER_FILES, os.devnull)  # a model may not read any
    return onnxruntime.InferenceSession(content, options, ["CPUExecutionProvider"])


def _compare(path: str, program: Program, content: bytes) -> None:
    """Refuses a file whose actions are not those of JAX, on random observations and numbers."""
    units, interface = program.file.units, program.interface
    rng = np.random.RandomState(0)
    normal = rng.standard_normal((_CHECKED, interface.observation_dim))
    observation = units.observation_mean + units.observation_std * normal
    inputs = {
        OBSERVATION: np.asarray(observation, np.float32),
        **interface.random(rng, _CHECKED),
    }
    with jax.default_matmul_precision("float32"):  # as ONNX runtimes multiply on a CPU
        expected = np.asarray(program.compiled()(inputs))
    (found,) = _session(path, content).run([ACTION], inputs)
    half = np.asarray(units.action_high - units.action_low) / 2
    error = np.max(np.abs(found - expected) / half)
    if not error <= TOLERANCE:
        raise InputError(
            f"--format=onnx: its actions differ from JAX's by {error:.1e} of the action box, more "
            f"than {TOLERANCE:.0e}; use --format=jax"
        )
