"""Several processes that train one run together: what they exchange.

A run can be spread over P processes, usually one per host of a cluster; each trains R / P of the R
members. The functions below that exchange something are collective: every process has to call them,
in the same order, or the others wait for it. In a run of one process they do nothing but call what
they are given.
"""

import collections
import contextlib
import hashlib
import io
import json
import os
import sys
from collections.abc import Callable
from typing import Any, TypeVar, cast

import jax
import numpy as np
from jax.experimental import multihost_utils

from edp_jax.types import InputError

T = TypeVar("T")
_MESSAGE_BYTES = 2048


class Stopped(Exception):
    """A signal asked the run to stop; its state is saved."""


_SHARED = (InputError, Stopped)


def connect(
    coordinator_address: str | None, num_processes: int | None, process_id: int | None
) -> None:
    """Connects this process with the others of its run. Call it before anything else uses JAX.

    Args:
      coordinator_address: HOST:PORT of process 0. On TPU pods and under Slurm or Open MPI this and
        the other arguments may be None; JAX asks the cluster for them.
      num_processes: P.
      process_id: which one this is, from 0 to P - 1.

    Raises:
      InputError: the processes cannot be connected, or the cluster does not say what is None.
    """
    try:
        jax.distributed.initialize(coordinator_address, num_processes, process_id)
    except (IndexError, TypeError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0].rstrip(".")[:100]
        raise InputError(
            f"config.distributed=True: {reason}; where TPU, Slurm or Open MPI do not tell, set"
            " --config.coordinator_address=HOST:PORT of process 0, --config.num_processes and,"
            " different in each, --config.process_id"
        ) from error


def exit_together(code: int) -> None:
    """Waits for the other processes and ends this one. Returns at once where there are no others.

    The process ends without Python's usual teardown, because the libraries that connect processes
    were seen to abort a run there after all its work was done. Collective.

    Args:
      code: exit code of the process.
    """
    if jax.distributed.is_initialized():
        sys.stdout.flush()
        sys.stderr.flush()
        jax.distributed.shutdown()
        os._exit(code)


def is_process_zero() -> bool:
    """Whether this is process 0, which writes the files of the run. Not collective."""
    return jax.process_index() == 0


def only_process_zero_prints() -> contextlib.AbstractContextManager:
    """A context in which the other processes print nothing to stdout. Not collective."""
    if is_process_zero():
        return contextlib.nullcontext()
    return contextlib.redirect_stdout(io.StringIO())


def check_devices() -> None:
    """Checks that all processes have the same number of devices. Not collective.

    Raises:
      InputError: a process has more or fewer than process 0.
    """
    counts = collections.Counter(device.process_index for device in jax.devices())
    for index, count in sorted(counts.items()):
        if count != counts[0]:
            raise InputError(
                f"process {index} has {count} devices, process 0 has {counts[0]}; "
                "start all with the same command"
            )


def run_in_all(action: Callable[[], T]) -> T:
    """Runs `action` in every process and makes them fail together. Collective.

    Without it a process that fails would leave the others waiting in their next collective call.

    Args:
      action: what to run; it must not call anything collective.

    Returns:
      What `action` returned in this process.

    Raises:
      InputError, Stopped: `action` raised it in at least one process. All processes raise the error
        of the first of them. Other errors are raised only where they happened.
    """
    if jax.process_count() == 1:
        return action()
    error_text, result = "", None
    try:
        result = action()
    except _SHARED as error:
        error_text = f"{[isinstance(error, kind) for kind in _SHARED].index(True)}{error}"
    for text in _all_gather_texts(error_text):
        if text:
            raise _SHARED[int(text[0])](text[1:])
    return cast(T, result)


def run_in_zero(action: Callable[[], T]) -> T:
    """Runs `action` in process 0 only; where it raises, all processes do. Collective.

    Args:
      action: what to run; what it returns JSON can hold, in at most 2,000 characters.

    Returns:
      What it returned, in all processes.
    """
    if jax.process_count() == 1:
        return action()
    result = run_in_all(action if is_process_zero() else lambda: None)
    return json.loads(_all_gather_texts(json.dumps(result))[0])


def run_in_zero_first(action: Callable[[], T]) -> T:
    """Runs `action` in process 0, then in all others, which find its files made. Collective."""
    nothing: Callable[[], Any] = lambda: None  # noqa: E731
    in_zero = run_in_all(action if is_process_zero() else nothing)
    in_others = run_in_all(nothing if is_process_zero() else action)
    return in_zero if is_process_zero() else in_others


def check_same_in_all(what: str, value: Any) -> None:
    """Checks that a value is the same in all processes. Collective.

    Args:
      what: the name of the value in the message.
      value: anything that JSON can hold.

    Raises:
      InputError: a process has another value than process 0.
    """
    digest = hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
    digests = _all_gather_texts(digest)
    different = [index for index, other in enumerate(digests) if other != digests[0]]
    if different:
        raise InputError(
            f"process {different[0]}: its {what} differs from that of process 0; "
            "start all with the same command"
        )


def all_gather(own: np.ndarray) -> np.ndarray:
    """Joins numpy arrays of all processes along axis 0. Collective.

    Args:
      own: this process' part [R / P, ...], of the same shape and type in all.

    Returns:
      All parts [R, ...] in the order of the processes, bit for bit.
    """
    if jax.process_count() == 1:
        return own
    flat = np.ascontiguousarray(own).reshape(len(own), -1)
    as_bytes = flat.view(np.uint8)  # JAX would make float64 float32
    gathered = multihost_utils.process_allgather(as_bytes, tiled=True)
    return np.asarray(gathered).view(own.dtype).reshape(-1, *own.shape[1:])


def fetch(tree: Any) -> Any:
    """Copies arrays from the devices of all processes into numpy. Collective.

    Args:
      tree: a tree of JAX arrays [R, ...], of which a process holds R / P members.

    Returns:
      The tree with whole numpy arrays, the same in every process.
    """
    if jax.process_count() == 1:
        return jax.device_get(tree)
    return multihost_utils.process_allgather(tree, tiled=True)


def _all_gather_texts(own: str) -> list[str]:
    """The texts of all processes, in their order."""
    padded = own.encode()[:_MESSAGE_BYTES].ljust(_MESSAGE_BYTES, b"\0")
    return [
        row.tobytes().rstrip(b"\0").decode(errors="ignore")
        for row in all_gather(np.frombuffer(padded, np.uint8)[None])
    ]
