"""The file .edp: a policy as a program of `jax.export`, its parameters, and what it is.

It is a zip file without compression: metadata.json, program.bin, and an .npy file per parameter.
Nothing in it is Python. The program has the batch's size as a symbol, and is there for the
platforms `PLATFORMS`.
"""

import contextlib
import functools
import io
import json
import os
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import jax
import jax.export
import numpy as np
from flax import traverse_util

from edp_jax.errors import not_installed
from edp_jax.export import metadata as meta
from edp_jax.export.policy import Interface, Run
from edp_jax.export.program import Program
from edp_jax.files import parse_json, read_array, write_bytes
from edp_jax.types import Array, InputError

PLATFORMS = ("cpu", "cuda", "tpu")
_BEGINNING = b"PK\x03\x04"  # of a zip file with nothing before its first part
_HEADERS, _END = 30 + 46, 22  # bytes that a zip file has per part besides two names, and at its end
METADATA, PROGRAM, PARAMS = "metadata.json", "program.bin", "params/"
_CHECK_OF_SIZES = "stablehlo.custom_call @shape_assertion("  # of the batch; XLA makes it itself


def write(path: str, program: Program, metadata: Mapping[str, Any]) -> None:
    """Writes a policy; the same policy always gives the same bytes.

    Args:
      path: of the file.
      program: of the policy.
      metadata: from `metadata.describe`.

    Raises:
      InputError: the file cannot be written, or a package is missing.
    """
    params = traverse_util.flatten_dict(program.params, sep="/")
    members = {PROGRAM: _serialize(program, params)}
    for name in sorted(params):
        content = io.BytesIO()
        np.lib.format.write_array(content, np.asarray(params[name]), allow_pickle=False)
        members[f"{PARAMS}{name}.npy"] = content.getvalue()
    sealed = meta.seal(metadata, _parts(members))
    members = {METADATA: json.dumps(sealed, indent=2).encode(), **members}
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as archive:
        for name, part in members.items():
            archive.writestr(zipfile.ZipInfo(name), part)
    write_bytes(path, content.getvalue())


def read(path: str) -> tuple[Interface, Run, dict[str, Any]]:
    """Reads a policy.

    Args:
      path: of the file.

    Returns:
      What it takes and gives, the function, and its metadata.

    Raises:
      InputError: a package is missing, or the file is for other platforms.
      Exception: the file is damaged, of another version, or something else.
    """
    with open(path, "rb") as file:
        if file.read(len(_BEGINNING)) != _BEGINNING:
            raise ValueError("it is no zip file")
    with np.load(path, allow_pickle=False) as stored:
        for member in stored.zip.infolist():
            if member.compress_type != zipfile.ZIP_STORED:
                raise ValueError("it is compressed")
        parts = {member.filename: member for member in stored.zip.infolist()}
        if _size(parts.values()) != os.path.getsize(path):
            raise ValueError("it holds more or less than its parts")
        members = {name: stored.zip.read(name) for name in stored.zip.namelist()}
        metadata = parse_json(members.pop(METADATA))
        interface = meta.check(metadata, _parts(members))
        names = [name for name in stored.files if name.startswith(PARAMS)]
        params = {name.removeprefix(PARAMS): read_array(stored, name) for name in names}
    try:
        exported = jax.export.deserialize(bytearray(members[PROGRAM]))
    except ImportError as error:
        raise not_installed(f"policy {path!r}", error, "export") from error
    if (platform := jax.export.default_export_platform()) not in exported.platforms:
        raise InputError(
            f"policy {path!r}: is there for {', '.join(exported.platforms)}, not for {platform}; "
            "set JAX_PLATFORMS=cpu, or load the policy/ folder of its run"
        )
    _check_program(exported, interface)
    run = jax.jit(functools.partial(exported.call, params))
    interface.check_function(jax.eval_shape, run)
    return interface, run, metadata


def _check_program(exported: jax.export.Exported, interface: Interface) -> None:
    """Refuses a program with other inputs than its metadata say, or that calls foreign code.

    Raises:
      ValueError: it does.
    """
    (_, inputs), _ = jax.tree.unflatten(exported.in_tree, exported.in_avals)
    meta.check_inputs(interface, {name: each.shape for name, each in inputs.items()})
    text = exported.mlir_module()
    if text.count("custom_call") != text.count(_CHECK_OF_SIZES):
        raise ValueError("its program calls code that is not in the file")


def _serialize(program: Program, params: Mapping[str, Any]) -> bytes:
    """The function (parameters by name, inputs by name) -> actions, for any size of a batch."""

    def function(params: dict[str, Array], inputs: dict[str, Array]) -> Array:
        return program.function(traverse_util.unflatten_dict(params, sep="/"), inputs)

    (batch,) = jax.export.symbolic_shape("b")
    like = {name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for name, leaf in params.items()}
    export = jax.export.export(jax.jit(function), platforms=PLATFORMS)
    with _without_paths():
        exported = export(like, program.inputs(batch))
    try:
        return bytes(exported.serialize())
    except ImportError as error:
        raise not_installed("--format=jax", error, "export") from error


@contextlib.contextmanager
def _without_paths() -> Iterator[None]:
    """Keeps the paths of this machine's source files out of the program."""
    option = "jax_traceback_in_locations_limit"
    before = getattr(jax.config, option)
    jax.config.update(option, 0)
    try:
        yield
    finally:
        jax.config.update(option, before)


def _size(members: Iterable[zipfile.ZipInfo]) -> int:
    """Bytes of a zip file that has these parts, not compressed, and nothing else."""
    sizes = (_HEADERS + 2 * len(each.filename) + each.file_size for each in members)
    return sum(sizes) + _END


def _parts(members: Mapping[str, bytes]) -> Iterator[bytes]:
    """What the digest is taken over: names and contents, in the order of the names."""
    for name in sorted(members):
        yield name.encode()
        yield members[name]
