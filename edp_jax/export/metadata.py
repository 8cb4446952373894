"""What the file of a policy says of itself, and the check that nothing in it has changed."""

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from edp_jax import acting
from edp_jax.export.policy import Interface
from edp_jax.export.program import Program
from edp_jax.files import plain

FORMAT = 1  # of .edp and .onnx files; counts up when older ones can no longer be read
KIND = "edp_jax policy"
DISTRIBUTIONS = {
    acting.NOISE: "standard normal",
    acting.STEP_NOISE: "standard normal",
    acting.CHOICE_NOISE: "standard Gumbel",
}


def describe(program: Program, about: Mapping[str, Any]) -> dict[str, Any]:
    """What there is to say of a policy.

    Args:
      program: of the policy.
      about: more of it: of the run that it comes from, and of its dataset.

    Returns:
      Plain values; `seal` adds the digest.
    """
    interface = program.interface
    return plain(
        {
            "kind": KIND,
            "format": FORMAT,
            "algorithm": program.file.algorithm,
            **about,
            "interface": dataclasses.asdict(interface),
            "random_numbers": {name: DISTRIBUTIONS[name] for name in interface.random_numbers},
            "acting": program.acting,
            "units": vars(program.file.units),
        }
    )


def seal(metadata: Mapping[str, Any], parts: Iterable[bytes]) -> dict[str, Any]:
    """The metadata with a digest of them and of the other parts of the file."""
    return {**metadata, "sha256": _digest(metadata, parts)}


def check(metadata: Any, parts: Iterable[bytes]) -> Interface:
    """Compares a file with the format and the digest that it was written with.

    Returns:
      The interface of its policy.

    Raises:
      ValueError: it is no policy, of another version, or has changed.
    """
    if not isinstance(metadata, dict) or metadata.get("kind") != KIND:
        raise ValueError("it holds no policy of edp_jax")
    if metadata.get("format") != FORMAT:
        raise ValueError(f"its format is {metadata.get('format')!r:.20}, not {FORMAT}")
    unsealed = {name: value for name, value in metadata.items() if name != "sha256"}
    if metadata.get("sha256") != _digest(unsealed, parts):
        raise ValueError("its content does not fit its sha256")
    interface = dict(metadata["interface"])
    shapes = interface.pop("random_numbers").items()
    return Interface(**interface, random_numbers={name: tuple(shape) for name, shape in shapes})


def check_inputs(interface: Interface, found: Mapping[str, Iterable[Any]]) -> None:
    """Compares what the metadata say that a program takes with what it takes.

    Args:
      interface: from `check`.
      found: shapes of the program's inputs [B, ...] by name.

    Raises:
      ValueError: they differ.
    """
    own = {name: tuple(shape)[1:] for name, shape in found.items()}
    if own != interface.inputs:
        raise ValueError(f"its program takes {own}, its metadata say {interface.inputs}")


def _digest(metadata: Mapping[str, Any], parts: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for part in (json.dumps(metadata, sort_keys=True).encode(), *parts):
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()
