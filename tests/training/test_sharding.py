"""How members are laid out over devices."""

import os
import pathlib
import subprocess
import sys

import pytest

from edp_jax.training import sharding


@pytest.mark.parametrize(
    ("members", "cores", "devices"),
    [
        (1, 2, 1),
        (2, 2, 2),
        (3, 2, 3),  # two would leave one with twice the work
        (4, 2, 2),
        (6, 4, 6),
        (7, 16, 7),
        (11, 2, 1),  # eleven copies of the dataset are too many
        (64, 64, 8),
    ],
)
def test_virtual_devices_keep_all_cores_busy_with_equal_shares(members, cores, devices):
    assert sharding.cpu_devices(members, cores) == devices


def test_the_cores_of_a_process_may_be_fewer_than_those_of_the_machine(monkeypatch):
    monkeypatch.delenv("NPROC", raising=False)
    monkeypatch.setattr("os.sched_getaffinity", lambda process: {3, 5, 7}, raising=False)
    assert sharding.usable_cores() == 3
    monkeypatch.setenv("NPROC", "2")
    assert sharding.usable_cores() == 2


POD = """
import jax
from edp_jax.training import sharding
from edp_jax.training.members import grid
from experiments import ahead
from tests.algorithms.builders import SPEC, tiny_settings

task = ahead.Task("edp_td3", tiny_settings("edp_td3"), SPEC, num_transitions=40, batch_size=4)
mesh = sharding.member_mesh(128, jax.devices())
members = grid(range(32), {"eta": (0.0, 1.0), "tau": (0.1, 0.2)})
compiled = ahead.training(task, members, mesh).lower().compile()
print(mesh.size, ahead.count_collectives(compiled.as_text()))
print({leaf.shard_shape((128, 1))[0] for leaf in jax.tree.leaves(compiled.output_shardings)})
"""


def test_a_pod_of_64_devices_needs_no_collectives():
    """32 seeds at four points of a sweep: two members on each device."""
    root = pathlib.Path(__file__).parents[2]
    own = os.environ["XLA_FLAGS"]  # of two numbers of devices the last one counts
    flags = f"{own} --xla_force_host_platform_device_count=64"
    environment = os.environ | {"XLA_FLAGS": flags, "PYTHONPATH": str(root)}
    command = [sys.executable, "-c", POD]
    done = subprocess.run(
        command, env=environment, cwd=root, capture_output=True, text=True, timeout=500
    )
    assert done.stdout == "64 0\n{2}\n", done.stderr
