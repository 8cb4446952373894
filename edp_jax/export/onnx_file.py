"""The file .onnx: a policy for ONNX runtimes, which need neither JAX nor this package.

The metadata is a property of the model, and stands at the end of the file. What is before it is the
graph, which the metadata's digest is taken over. Both are compared before anything else reads them.
"""

import functools
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

_KEY = b"\x0a\x07edp_jax\x12"  # of the property: its name, and that the value follows
ACTION = "action"  # name of the output
TOLERANCE = 1e-4  # of half the action box; rounding of chains with few calls reaches 2e-5
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
    graph = model.SerializeToString(deterministic=True)
    content = graph + _property(json.dumps(meta.seal(metadata, [graph])).encode())
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
    graph, text = _split(content)
    metadata = parse_json(text)
    interface = meta.check(metadata, [graph])
    session = functools.cache(functools.partial(_session, path, content))
    inputs_of_one = session(single=True).get_inputs()
    meta.check_inputs(interface, {each.name: each.shape for each in inputs_of_one})

    def run(inputs: Mapping[str, Any]) -> np.ndarray:
        chosen = session(single=len(inputs[OBSERVATION]) == 1)
        return chosen.run([ACTION], {name: np.asarray(each) for name, each in inputs.items()})[0]

    interface.check_function(lambda run, inputs: run(inputs), run)
    return interface, run, metadata


def _property(text: bytes) -> bytes:
    """The metadata as protobuf encodes a property: field 14 of the model, of a key and a value."""
    entry = _KEY + _varint(len(text)) + text
    return b"\x72" + _varint(len(entry)) + entry


def _varint(number: int) -> bytes:
    """A number as protobuf encodes it: 7 bits per byte, the lowest first."""
    more = number >> 7
    return bytes([number & 0x7F | 0x80]) + _varint(more) if more else bytes([number])


def _split(content: bytes) -> tuple[bytes, bytes]:
    """The graph and the metadata that a file consists of.

    Raises:
      ValueError: it does not consist of these two.
    """
    start = content.rfind(_KEY) + len(_KEY)
    for digits in range(1, 6):
        text = content[start + digits :]
        if content.endswith(ending := _property(text)):
            return content[: -len(ending)], text
    raise ValueError("it is no model with metadata of edp_jax at its end")


def _session(path: str, content: bytes, *, single: bool) -> Any:
    """A session of onnxruntime on one thread: policies are too small for more.

    A single observation needs so little memory that none has to be given back on the way, which
    takes a twentieth of the time.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise not_installed(f"policy {path!r}", error, "export") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.enable_mem_reuse = not single
    options.log_severity_level = 3  # errors
    options.add_session_config_entry(_OTHER_FILES, os.devnull)  # a model may not read any
    return onnxruntime.InferenceSession(content, options, ["CPUExecutionProvider"])


def _compare(path: str, program: Program, content: bytes) -> None:
    """Refuses a file whose actions are not those of JAX, on random observations and numbers."""
    units, interface = program.file.units, program.interface
    rng = np.random.RandomState(0)
    normal = rng.standard_normal((_CHECKED, interface.observation_dim))
    observation = units.denormalize(normal)
    inputs = {
        OBSERVATION: np.asarray(observation, np.float32),
        **interface.random(rng, _CHECKED),
    }
    with jax.default_matmul_precision("float32"):  # as ONNX runtimes multiply on a CPU
        expected = np.asarray(program.compiled()(inputs))
    (found,) = _session(path, content, single=False).run([ACTION], inputs)
    half = np.asarray(units.action_high - units.action_low) / 2
    error = np.max(np.abs(found - expected) / half)
    if not error <= TOLERANCE:
        raise InputError(
            f"--format=onnx: its actions differ from JAX's by {error:.1e} of half the action box, "
            f"more than {TOLERANCE:.0e}; use --format=jax"
        )
