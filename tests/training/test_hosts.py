"""Two real processes on this machine: what they exchange."""

import os
import pathlib
import socket
import subprocess
import sys
import types

import jax
import numpy as np
import pytest

from edp_jax import InputError
from edp_jax.training import hosts, sharding

ROOT = pathlib.Path(__file__).parents[2]

SCRIPT = """
import sys
import jax
import numpy as np
from edp_jax import InputError
from edp_jax.algorithms.base import AgentState, TrainState
from edp_jax.training import hosts, sharding
from edp_jax.training.checkpoint import Checkpoints

index = int(sys.argv[2])
# Gloo writes to the process's own stdout, in the middle of lines
sys.stdout = open(sys.argv[3], "w", encoding="utf-8")
hosts.connect(sys.argv[1], 2, index)

def attempt(action):
    try:
        return action()
    except (InputError, hosts.Stopped) as error:
        return type(error).__name__, str(error)

def refuse():
    raise InputError(f"process {index} refuses \u00e9")

def stop():
    if index == 1:
        raise hosts.Stopped

print(attempt(lambda: hosts.run_in_all(lambda: index)))
print(attempt(lambda: hosts.run_in_all(refuse)))
print(attempt(lambda: hosts.run_in_all(stop)))
print(attempt(lambda: hosts.run_in_zero(refuse)))
print(attempt(lambda: hosts.run_in_zero_first(lambda: ("loaded by", index))))
print(attempt(lambda: hosts.check_same_in_all("value", {"b": 1, "a": [2]})))
print(attempt(lambda: hosts.check_same_in_all("value", index)))
print(attempt(lambda: hosts.run_in_zero(lambda: [index, "\u00e9", None, 0.1])))
own = np.array([[np.pi, np.nan]]) + index
print(hosts.all_gather(own).tolist(), hosts.all_gather(own).dtype)

mesh = sharding.member_mesh(6)
array = sharding.put(np.arange(12.0).reshape(6, 2), sharding.over_members(mesh))
keys = jax.jit(jax.vmap(jax.random.key), out_shardings=sharding.over_members(mesh))(np.arange(6))
own, own_keys = sharding.own_part((array, keys))
print(mesh.size, own.tolist(), jax.random.key_data(own_keys)[:, 1].tolist())
print(sharding.own_members(6))
print(sharding.first_value(jax.jit(lambda x: x[:, 0].astype(int))(array)))
print(hosts.fetch(array).tolist() == np.arange(12.0).reshape(6, 2).tolist())
print(sharding.idle_devices(6))
print(attempt(lambda: sharding.check_members(5)))
with hosts.only_process_zero_prints():
    print("only the first")

def make(value):
    params = {"w": jax.numpy.full((2, 3), value)}
    networks = {"policy": TrainState(params, params, ())}
    return AgentState(params["w"][:, 0].astype(int), jax.numpy.stack([jax.random.key(3)] * 2),
                      networks, params["w"][:, 0].astype(int))

def state(value):
    layout = sharding.over_members(sharding.member_mesh(2))
    return jax.jit(make, out_shardings=layout)(value)

def full(*_, **__):
    raise OSError(28, "No space left on device")

checkpoints = Checkpoints(sys.argv[4], None)
checkpoints.save(7, state(1.5), {"rows": 4})
restored, like = (
    each.networks["policy"].params["w"] for each in (checkpoints.restore(state(0.0)), state(0.0))
)
print(hosts.fetch(restored).tolist(), restored.sharding == like.sharding)
print(checkpoints.notes)
if index == 0:
    checkpoints._manager.save = full
print(attempt(lambda: checkpoints.save(8, state(2.5)))[1].partition("saved")[2][:40])
"""


def free_address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def test_two_processes_agree_and_share(monkeypatch, tmp_path):
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=2")
    command, address = [sys.executable, "-c", SCRIPT], free_address()
    folder = str(tmp_path / "checkpoints")
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": ROOT}
    processes = [
        subprocess.Popen([*command, address, str(i), str(tmp_path / str(i)), folder], **pipes)
        for i in (0, 1)
    ]
    errors = [process.communicate(timeout=400)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], errors[0] + errors[1]
    members = (
        "[[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]] [0, 1, 2]",
        "[[6.0, 7.0], [8.0, 9.0], [10.0, 11.0]] [3, 4, 5]",
    )
    for index in (0, 1):
        assert (tmp_path / str(index)).read_text(encoding="utf-8").splitlines() == [
            str(index),
            "('InputError', 'process 0 refuses é')",
            "('Stopped', '')",
            "('InputError', 'process 0 refuses é')",
            f"('loaded by', {index})",
            "None",
            "('InputError', 'process 1: its value differs from that of process 0; "
            "start all with the same command')",
            "[0, 'é', None, 0.1]",
            f"{[[np.pi, np.nan], [np.pi + 1, np.nan]]} float64",
            f"2 {members[index]}",  # three members each on two devices: one device works
            f"slice({3 * index}, {3 * index + 3}, None)",
            f"{6 * index}",
            "True",
            "6 members on 4 devices: 2 work, with 3 each; a multiple of 4 members would use all",
            "('InputError', '5 seeds (times points of the sweep) on 2 processes: each takes the "
            "same number; set --config.seeds so that it is a multiple of 2')",
            *(["only the first"] if index == 0 else []),
            "[[1.5, 1.5, 1.5], [1.5, 1.5, 1.5]] True",
            "{'rows': 4}" if index == 0 else "{}",
            " ([Errno 28] No space left on device); s",
        ]
    assert sorted(os.listdir(folder)) == ["7"]


def test_one_process_does_the_plain_thing(capsys):
    assert (
        hosts.is_process_zero()
        and hosts.run_in_all(lambda: 3) == 3
        and hosts.run_in_zero_first(lambda: 4) == 4
    )
    with pytest.raises(InputError, match="not this"):
        hosts.run_in_zero(lambda: (_ for _ in ()).throw(InputError("not this")))
    own = np.arange(3.0)
    assert hosts.all_gather(own) is own and hosts.run_in_zero(lambda: 7) == 7
    with hosts.only_process_zero_prints():
        print("heard")
    assert capsys.readouterr().out == "heard\n"


def test_processes_with_different_numbers_of_devices_are_refused(monkeypatch):
    hosts.check_devices()
    devices = [types.SimpleNamespace(process_index=index) for index in (0, 0, 1)]
    monkeypatch.setattr(jax, "devices", lambda: devices)
    with pytest.raises(
        InputError,
        match="process 1 has 1 devices, process 0 has 2; start all with the same command",
    ):
        hosts.check_devices()


def test_whoever_cannot_be_joined_is_named():
    jax.devices()
    with pytest.raises(
        InputError, match=r"config.distributed=True: .*--config.coordinator_address=HOST:PORT"
    ) as error:
        hosts.connect(
            None, None, None
        )  # JAX is running already, and nobody says where the others are
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("members", "says"),
    [
        (8, None),
        (16, None),
        (9, "9 members on 8 devices: 3 work, with 3 each; a multiple of 8 members would use all"),
        (7, "7 members on 8 devices: 7 work, with 1 each; a multiple of 8 members would use all"),
    ],
)
def test_idle_devices_are_told(members, says):
    if len(jax.devices()) != 8:
        pytest.skip("needs XLA_FLAGS=--xla_force_host_platform_device_count=8")
    assert sharding.idle_devices(members) == says
