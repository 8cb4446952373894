"""Seeds over devices: every device trains its share of the seeds, and nothing else moves between them."""

import os

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

MAX_CPU_DEVICES = 8  # each holds a copy of the dataset


def split_cpu(num_seeds: int) -> None:
    """Gives the CPU backend one virtual device per seed, up to `MAX_CPU_DEVICES`; call it before anything runs on JAX.

    Small matmuls gain little from several threads: independent seeds on devices of their own train about twice as fast on
    two cores as the same seeds vmapped on one device. A device count in XLA_FLAGS is left as it is.
    """
    if "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
        jax.config.update("jax_num_cpu_devices", _largest_divisor(num_seeds, MAX_CPU_DEVICES))


def seed_mesh(num_seeds: int) -> Mesh:
    """A mesh with one axis, "seed", over the largest number of devices that divides the number of seeds."""
    devices = jax.devices()
    used = _largest_divisor(num_seeds, len(devices))
    return Mesh(np.array(devices[:used]), ("seed",))  # Auto axes: jax.make_mesh's Explicit ones reject the batch gather


def over_seeds(mesh: Mesh) -> NamedSharding:
    """Arrays [S, ...]: axis 0 split over the mesh."""
    return NamedSharding(mesh, PartitionSpec("seed"))


def replicated(mesh: Mesh) -> NamedSharding:
    """Arrays every device holds in full: the dataset, the settings."""
    return NamedSharding(mesh, PartitionSpec())


def _largest_divisor(number: int, limit: int) -> int:
    return max(d for d in range(1, limit + 1) if number % d == 0)
