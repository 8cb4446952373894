"""Members over devices: every device trains its share of the members, and nothing else moves between them.

R members on the devices of P processes; a member is whole on one device, a process holds R / P members that follow each other.
"""

import os
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec, Sharding

from edp_jax.types import InputError

MAX_CPU_DEVICES = 8  # each holds a copy of the dataset


def split_cpu(num_members: int) -> None:
    """Gives the CPU backend virtual devices to share the members: call it before anything runs on JAX.

    Small matmuls gain little from several threads: independent seeds on devices of their own are faster than the same seeds
    vmapped on one device, as long as the devices are not many more than the cores. A device count in XLA_FLAGS is left as it is.
    """
    if "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
        jax.config.update("jax_num_cpu_devices", cpu_devices(num_members, os.cpu_count() or 1))


def cpu_devices(num_members: int, num_cores: int) -> int:
    """The fewest devices that keep all cores busy with the same number of members each; at most `MAX_CPU_DEVICES`."""
    divisors = [d for d in range(1, MAX_CPU_DEVICES + 1) if num_members % d == 0]
    return next((d for d in divisors if d >= num_cores), divisors[-1])


def check_members(num_members: int) -> None:
    """Refuses a number of members that the processes cannot share evenly.

    Raises:
      InputError: see above.
    """
    if num_members % jax.process_count():
        raise InputError(
            f"{num_members} seeds (times points of the sweep) on {jax.process_count()} processes: each takes the same number; "
            f"set --config.seeds so that it is a multiple of {jax.process_count()}"
        )


def idle_devices(num_members: int) -> str | None:
    """A line that tells of devices without members; None where all work."""
    used, there = seed_mesh(num_members).size, len(jax.devices())
    if used == there:
        return None
    each = num_members // used
    return f"{num_members} members on {there} devices: {used} work, with {each} each; a multiple of {there} members would use all"


def seed_mesh(num_members: int) -> Mesh:
    """A mesh with one axis, "seed": in each process the largest number of devices that divides its share of the members."""
    used = _largest_divisor(num_members // jax.process_count(), jax.local_device_count())
    of_process = [
        [d for d in jax.devices() if d.process_index == process][:used]
        for process in range(jax.process_count())
    ]
    return Mesh(
        np.concatenate(of_process), ("seed",)
    )  # Auto axes: jax.make_mesh's Explicit ones reject the batch gather


def over_seeds(mesh: Mesh) -> NamedSharding:
    """Arrays [R, ...]: axis 0 split over the mesh."""
    return NamedSharding(mesh, PartitionSpec("seed"))


def replicated(mesh: Mesh) -> NamedSharding:
    """Arrays every device holds in full: the dataset, the settings."""
    return NamedSharding(mesh, PartitionSpec())


def put(tree: Any, sharding: Sharding) -> Any:
    """Host arrays, the same in every process, onto the devices."""
    if sharding.is_fully_addressable:
        return jax.device_put(tree, sharding)
    return jax.tree.map(
        lambda x: jax.make_array_from_callback(np.shape(x), sharding, lambda index: x[index]), tree
    )


def own_members(num_members: int) -> slice:
    """Which members this process holds."""
    share = num_members // jax.process_count()
    return slice(jax.process_index() * share, (jax.process_index() + 1) * share)


def own_part(tree: Any) -> Any:
    """The part [R / P, ...] of arrays [R, ...], laid out by `over_seeds`, that this process holds; on the same devices."""
    if jax.process_count() == 1:
        return tree

    def of(x: jax.Array) -> jax.Array:
        shards = sorted(x.addressable_shards, key=lambda shard: shard.index[0].start or 0)
        devices = Mesh(np.array([shard.device for shard in shards]), ("seed",))
        shape = (sum(len(shard.data) for shard in shards), *x.shape[1:])
        return jax.make_array_from_single_device_arrays(
            shape, over_seeds(devices), [shard.data for shard in shards]
        )

    return jax.tree.map(of, tree)


def _largest_divisor(number: int, limit: int) -> int:
    return max(d for d in range(1, limit + 1) if number % d == 0)
