"""How members are laid out over devices."""

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
