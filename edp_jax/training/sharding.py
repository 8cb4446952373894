"""Seeds over devices: every device trains its share of the seeds, and nothing else moves between them."""

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec


def seed_mesh(num_seeds: int) -> Mesh:
    """A mesh with one axis, "seed", over the largest number of local devices that divides the number of seeds."""
    devices = jax.devices()
    used = max(d for d in range(1, len(devices) + 1) if num_seeds % d == 0)
    return Mesh(np.array(devices[:used]), ("seed",))  # Auto axes: jax.make_mesh's Explicit ones reject the batch gather


def over_seeds(mesh: Mesh) -> NamedSharding:
    """Arrays [S, ...]: axis 0 split over the mesh."""
    return NamedSharding(mesh, PartitionSpec("seed"))


def replicated(mesh: Mesh) -> NamedSharding:
    """Arrays every device holds in full: the dataset, the settings."""
    return NamedSharding(mesh, PartitionSpec())
