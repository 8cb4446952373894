"""Several processes that train one run together: what they agree on and what they hand to each other. P processes, R members.

Every function is a meeting: all processes call it, in the same order. With one process each does the plain thing.
"""

import collections
import contextlib
import hashlib
import io
import json
import os
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from edp_jax.types import InputError

T = TypeVar("T")
_LONGEST = 2048  # bytes of a message


class Stopped(Exception):
    """A signal asked the run to stop; its state is saved."""


_SHARED = (InputError, Stopped)


def connect(
    coordinator_address: str | None, num_processes: int | None, process_id: int | None
) -> None:
    """Joins the other processes; call it before anything runs on JAX. TPU pods, Slurm and Open MPI say what is left None.

    Raises:
      InputError: there is nobody to join, or not enough is known.
    """
    try:
        jax.distributed.initialize(coordinator_address, num_processes, process_id)
    except (IndexError, TypeError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise InputError(
            f"config.distributed=True: {reason}; where TPU, Slurm or Open MPI do not tell, set --config.coordinator_address="
            f"HOST:PORT of process 0, --config.num_processes and, different in each, --config.process_id"
        ) from error


def leave(code: int) -> None:
    """Ends a process that has joined others, once all have come here; where it has joined none, does nothing.

    Nothing is left to do then, so it exits without the teardown of Python and its libraries: somewhere there, or in parting, a
    process of a finished run has been seen to abort.
    """
    if jax.distributed.is_initialized():
        sys.stdout.flush()
        sys.stderr.flush()
        jax.distributed.shutdown()
        os._exit(code)


def is_first() -> bool:
    """Whether this is the process that writes the files; no meeting."""
    return jax.process_index() == 0


def quiet_but_first() -> contextlib.AbstractContextManager:
    """Only process 0 prints to stdout; no meeting."""
    return contextlib.nullcontext() if is_first() else contextlib.redirect_stdout(io.StringIO())


def check_devices() -> None:
    """Checks that all processes have as many devices, without which they cannot meet; no meeting itself.

    Raises:
      InputError: one has more or fewer than process 0.
    """
    counts = collections.Counter(device.process_index for device in jax.devices())
    for index, count in sorted(counts.items()):
        if count != counts[0]:
            raise InputError(
                f"process {index} has {count} devices, process 0 has {counts[0]}; start all with the same command"
            )


def agreed(action: Callable[[], T]) -> T:
    """`action()` in every process; where it raises InputError or Stopped in one, all raise what the first of them did."""
    if jax.process_count() == 1:
        return action()
    result, said = None, ""
    try:
        result = action()
    except _SHARED as error:
        said = f"{[isinstance(error, kind) for kind in _SHARED].index(True)}{error}"
    for text in _all_texts(said):
        if text:
            raise _SHARED[int(text[0])](text[1:])
    return result


def first_agreed(action: Callable[[], None]) -> None:
    """`action()` in process 0 only; what it raises, all raise."""
    agreed(action if is_first() else lambda: None)


def first_before_others(action: Callable[[], T]) -> T:
    """`action()` in process 0, then in all others: what it leaves on a shared disk is made once."""
    first = agreed(action if is_first() else lambda: None)
    others = agreed((lambda: None) if is_first() else action)
    return first if is_first() else others


def check_alike(what: str, value: Any) -> None:
    """Checks that a JSON value is the same in all processes.

    Raises:
      InputError: it is not.
    """
    digests = _all_texts(hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest())
    different = [index for index, digest in enumerate(digests) if digest != digests[0]]
    if different:
        raise InputError(
            f"process {different[0]}: its {what} differs from that of process 0; start all with the same command"
        )


def of_first(value: bool) -> bool:
    """The value of process 0."""
    return bool(gather(np.array([value]))[0])


def fetch(tree: Any) -> Any:
    """Arrays on the devices of all processes -> numpy arrays, whole in every process."""
    return (
        jax.device_get(tree)
        if jax.process_count() == 1
        else multihost_utils.process_allgather(tree, tiled=True)
    )


def gather(own: np.ndarray) -> np.ndarray:
    """numpy arrays [R / P, ...] of each process -> [R, ...] in every process, of any type, bit for bit."""
    if jax.process_count() == 1:
        return own
    flat = (
        np.ascontiguousarray(own).reshape(len(own), -1).view(np.uint8)
    )  # JAX would make float64 float32
    return (
        multihost_utils.process_allgather(flat, tiled=True)
        .view(own.dtype)
        .reshape(-1, *own.shape[1:])
    )


def _all_texts(own: str) -> list[str]:
    """The texts of all processes, in their order."""
    padded = own.encode()[:_LONGEST].ljust(_LONGEST, b"\0")
    return [
        row.tobytes().rstrip(b"\0").decode(errors="ignore")
        for row in gather(np.frombuffer(padded, np.uint8)[None])
    ]
