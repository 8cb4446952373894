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
      "0.0", "0.1", ... for the two halves of device 0, and so on.
    """
    return [f"{name}.{part}" for name in names for part in range(int(1 / min(1.0, share)))]


@contextlib.contextmanager
def lease(kind: str, names: Sequence[str], count: int) -> Iterator[list[str]]:
    """Takes some of what nobody has taken, for the time of the block.

    Args:
      kind: "core" or "gpu".
      names: what there is.
      count: how many are wanted.

    Yields:
      The names of `count` of them, or an empty list where fewer are free.
    """
    folder = os.path.join(tempfile.gettempdir(), f"edp_jax_leases_{os.getuid()}")
    os.makedirs(folder, exist_ok=True)
    with contextlib.ExitStack() as held:
        taken: list[str] = []
        for name in names:
            if len(taken) == count:
                break
            file = held.enter_context(open(os.path.join(folder, f"{kind}_{name}"), "a"))
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                taken.append(name)
        if len(taken) < count:
            held.close()
            taken = []
        yield taken
