"""Which cores and devices of a machine a run may use, so that no two runs use the same.

A core or device is taken by locking a file of its name. The operating system frees it when the
process that took it ends, however it ends, so runs of several sweeps and of any launcher keep clear
of each other.
"""

import contextlib
import fcntl
import glob
import os
import tempfile
from collections.abc import Iterator, Sequence


def cores() -> list[str]:
    """The numbers of the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return [str(core) for core in sorted(os.sched_getaffinity(0))]
    return [str(core) for core in range(os.cpu_count() or 1)]


def gpus() -> list[str]:
    """The names of the NVIDIA GPUs that this process may use."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name for name in visible.split(",") if name not in ("", "-1")]
    return [str(number) for number in range(len(glob.glob("/dev/nvidia[0-9]*")))]


def shares(names: Sequence[str], share: float) -> list[str]:
    """What can be taken of devices where a run takes only a share of one.

    Args:
      names: of the devices.
      share: of a device per run; 1 and more count as a whole one.

    Returns:
      "0.0", "0.1", ... for the two halves of device 0, and so on; the names themselves where only
      one run fits on a device.
    """
    parts = int(1 / min(1.0, share))
    return list(names) if parts == 1 else [f"{name}.{n}" for name in names for n in range(parts)]


@contextlib.contextmanager
def lease(kind: str, names: Sequence[str], count: int) -> Iterator[list[str]]:
    """Takes some of what nobody has taken, for the time of the block.

    Args:
      kind: "core" or "gpu".
      names: what there is. A device as a whole is free while none of its `shares` is taken.
      count: how many are wanted.

    Yields:
      The names of `count` of them, or an empty list where fewer are free.
    """
    with contextlib.ExitStack() as held:
        taken: list[str] = []
        for name in names:
            if len(taken) == count:
                break
            with contextlib.suppress(BlockingIOError):
                held.enter_context(_taken(kind, name))
                taken.append(name)
        if len(taken) < count:
            held.close()
            taken = []
        yield taken


@contextlib.contextmanager
def _taken(kind: str, name: str) -> Iterator[None]:
    """Takes a core, a device or a share of one; raises BlockingIOError where somebody has it."""
    device, _, part = name.partition(".")
    with _locked(f"{kind}_{device}", fcntl.LOCK_SH if part else fcntl.LOCK_EX):
        with _locked(f"{kind}_{name}", fcntl.LOCK_EX) if part else contextlib.nullcontext():
            yield


@contextlib.contextmanager
def _locked(name: str, how: int) -> Iterator[None]:
    folder = os.path.join(tempfile.gettempdir(), f"edp_jax_leases_{os.getuid()}")
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, name), "a") as file:
        fcntl.flock(file, how | fcntl.LOCK_NB)
        yield
