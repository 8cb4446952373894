"""Members over devices: every device trains its share of them, and nothing moves between devices.

R members lie on the devices of P processes. A member is whole on one device; a process holds R / P
members that follow each other.
"""

import collections
import os
from collections.abc import Sequence
from typing import Any, cast

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec, Sharding

from edp_jax.types import Array, InputError

MAX_CPU_DEVICES = 8  # each holds a copy of the dataset


def split_cpu(num_members: int) -> None:
    """Divides the CPU into virtual devices that share the members. Call it before JAX is used.

    A small network's matrix products gain little from several threads. Members on devices of their
    own train faster than the same members on one device, as long as there are not many more devices
    than cores. Where XLA_FLAGS sets a number of devices, that number stays.

    Args:
      num_members: members that this process trains.
    """
    if "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
        jax.config.update("jax_num_cpu_devices", cpu_devices(num_members, usable_cores()))


def usable_cores() -> int:
    """Returns the number of cores that this process may use.

    The variable NPROC says it, which XLA reads as well; else `taskset` and Slurm may limit them.
    """
    threads = os.environ.get("NPROC", "")
    if threads.isdecimal() and int(threads):
        return int(threads)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cpu_devices(num_members: int, num_cores: int) -> int:
    """Returns the fewest devices that keep all cores busy with equal shares of the members.

    Where no number of devices up to `MAX_CPU_DEVICES` does, it is the largest that gives equal
    shares.
    """
    divisors = [d for d in range(1, MAX_CPU_DEVICES + 1) if num_members % d == 0]
    return next((d for d in divisors if d >= num_cores), divisors[-1])


def check_members(num_members: int, processes: int | None = None) -> None:
    """Checks that the processes, by default those of this run, can share the members evenly.

    Raises:
      InputError: they cannot.
    """
    processes = jax.process_count() if processes is None else processes
    if num_members % processes:
        raise InputError(
            f"{num_members} seeds (times points of the sweep) on {processes} processes: each takes "
            f"the same number; set --config.seeds so that it is a multiple of {processes}"
        )


def idle_devices(num_members: int) -> str | None:
    """Returns a line about devices that no member uses; None where all are used."""
    used, there = member_mesh(num_members).size, len(jax.devices())
    if used == there:
        return None
    each = num_members // used
    return (
        f"{num_members} members on {there} devices: {used} work, with {each} each; "
        f"a multiple of {there} members would use all"
    )


def member_mesh(num_members: int, devices: Sequence[Any] | None = None) -> Mesh:
    """Returns the devices that train, as a mesh with the one axis "member".

    In each process they are as many as its share of the members can be divided by.

    Args:
      num_members: R.
      devices: that there are, the same number in each process; None: those of this run.
    """
    by_process = collections.defaultdict(list)
    for device in jax.devices() if devices is None else devices:
        by_process[device.process_index].append(device)
    share = num_members // len(by_process)
    used = max(d for d in range(1, len(by_process[0]) + 1) if share % d == 0)
    chosen = [by_process[process][:used] for process in sorted(by_process)]
    # `Mesh` has Auto axes; with the Explicit ones of `jax.make_mesh` a gather of rows is refused
    return Mesh(np.concatenate(chosen), ("member",))


def over_members(mesh: Mesh) -> NamedSharding:
    """The layout of arrays [R, ...] whose axis 0 is split over the devices."""
    return NamedSharding(mesh, PartitionSpec("member"))


def replicated(mesh: Mesh) -> NamedSharding:
    """The layout of arrays that every device holds in full."""
    return NamedSharding(mesh, PartitionSpec())


def put(tree: Any, sharding: Sharding) -> Any:
    """Copies host arrays, which are the same in every process, onto the devices."""
    if sharding.is_fully_addressable:
        return jax.device_put(tree, sharding)

    def copy(array: Any) -> jax.Array:
        return jax.make_array_from_callback(
            np.shape(array), sharding, lambda index: np.asarray(array)[index]
        )

    return jax.tree.map(copy, tree)


def own_members(num_members: int) -> slice:
    """Which members this process trains."""
    share = num_members // jax.process_count()
    return slice(jax.process_index() * share, (jax.process_index() + 1) * share)


def own_part(tree: Any) -> Any:
    """Takes the members of this process out of arrays that `over_members` laid out.

    Args:
      tree: arrays [R, ...].

    Returns:
      Arrays [R / P, ...], on the same devices; nothing is copied.
    """
    if jax.process_count() == 1:
        return tree

    def part(array: jax.Array) -> jax.Array:
        shards = sorted(array.addressable_shards, key=lambda shard: shard.index[0].start or 0)
        mesh = Mesh(np.array([shard.device for shard in shards]), ("member",))
        shape = (sum(len(shard.data) for shard in shards), *array.shape[1:])
        return jax.make_array_from_single_device_arrays(
            shape, over_members(mesh), [shard.data for shard in shards]
        )

    return jax.tree.map(part, tree)


def first_value(array: Array) -> int:
    """Returns an integer that all members [R] have in common; no process asks another for it."""
    return int(np.asarray(cast(jax.Array, array).addressable_shards[0].data)[0])
