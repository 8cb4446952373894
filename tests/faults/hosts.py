"""Runs that several processes of this machine share: one dies; what their checkpoints cost."""

import os
import socket
import subprocess
import sys
import time

from tests.faults.bench import ROOT, Bench, Ended

DEVICES = 4  # in all, however many processes there are: the numbers are the same then
SETTINGS = {"seeds": "(0,1,2,3,4,5,6,7)", "num_steps": "100000"}
EVERY = 20  # updates between two evaluations; the last update of a run always has one


def deaths(bench: Bench) -> str:
    """Four processes; one is killed. Two go on, then one: to what one process leaves."""
    folder = bench.folder / "shared" / "checkpoints"
    processes = _start(bench, 4, {})
    bench.until(processes[0], lambda: any(folder.glob("[4-9]0")))
    processes[2].kill()
    began = time.monotonic()
    ended = _wait(bench, processes)
    seconds = time.monotonic() - began
    wrong = [each.code for each in ended if each.code in (0, None)]
    saved = max(int(path.name) for path in folder.iterdir() if path.name.isdigit())
    first = (saved // EVERY + 1) * EVERY
    for number, end in ((2, first), (1, first + EVERY)):
        ended = _wait(bench, _start(bench, number, {"num_steps": str(end)}))
        wrong += [each.printed[-300:] for each in ended if each.code]
    flags = {"XLA_FLAGS": f"--xla_force_host_platform_device_count={DEVICES}"}
    bench.run("alone", SETTINGS | {"num_steps": str(first + EVERY)}, environment=flags)
    wrong += bench.differences("shared", "alone")
    told = (
        f"4 processes, one killed after update {saved}: the others ended {seconds:.0f} s later; "
        f"2 and then 1 went on to update {first + EVERY}"
    )
    return told + (f"; FAULT: {wrong}" if wrong else ": the files are those of one process")


def saves(bench: Bench, members: int = 256) -> str:
    """Four processes save the states of many members of EDP-TD3, of the paper's size."""
    address, began = _free_address(), time.monotonic()
    command = [sys.executable, "-c", _SAVE, address, str(bench.folder / "saved"), str(members)]
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT), "XLA_FLAGS": ""}
    processes = [
        subprocess.Popen([*command, str(index)], env=environment, stdout=subprocess.PIPE, text=True)
        for index in range(4)
    ]
    printed = [process.communicate(timeout=1200)[0] for process in processes]
    if any(process.returncode for process in processes):
        return f"FAULT: {[process.returncode for process in processes]}"
    files = [path for path in (bench.folder / "saved").rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files)
    return (
        f"{members} members, 4 processes: {printed[0].splitlines()[-1]}; two checkpoints have "
        f"{size / 1e6:.0f} MB in {len(files)} files; {time.monotonic() - began:.0f} s in all"
    )


_SAVE = """
import sys, time
import jax, jax.numpy as jnp
from edp_jax import TaskSpec, algorithms
from edp_jax.training import hosts, loop, sharding
from edp_jax.training.checkpoint import Checkpoints
address, folder, members, index = sys.argv[1:]
hosts.connect(address, 4, int(index))
learner = algorithms.make("edp_td3", algorithms.settings("edp_td3"), TaskSpec(17, 6))
state = loop.init_members(learner, range(int(members)))

def noisy(leaf):  # zeros and copies would take no room on the disk
    if not jnp.issubdtype(leaf.dtype, jnp.floating):
        return leaf
    return jnp.sin(jnp.arange(leaf.size, dtype=leaf.dtype)).reshape(leaf.shape)

layout = sharding.over_members(sharding.member_mesh(int(members)))
fill = jax.jit(lambda tree: jax.tree.map(noisy, tree), out_shardings=layout)
state = state.replace(networks=fill(state.networks))
checkpoints, told = Checkpoints(folder, None), []
for step in (1, 2):
    began = time.monotonic()
    checkpoints.save(step, state)
    told.append(f"{time.monotonic() - began:.1f} s")
began = time.monotonic()
checkpoints.restore(state)
print("saved in " + " and ".join(told) + f", read in {time.monotonic() - began:.1f} s")
checkpoints.close()
hosts.exit_together(0)
"""


def _start(bench: Bench, number: int, settings: dict[str, str]) -> list[subprocess.Popen]:
    shared = SETTINGS | settings
    if number > 1:
        shared |= {"distributed": "True", "num_processes": str(number)}
        shared |= {"coordinator_address": _free_address()}
    flags = f"--xla_force_host_platform_device_count={DEVICES // number}"
    own = [{"process_id": str(index)} if number > 1 else {} for index in range(number)]
    return [
        bench.start(
            "shared", shared | each, environment={"XLA_FLAGS": flags}, log=f"process{index}"
        )
        for index, each in enumerate(own)
    ]


def _wait(bench: Bench, processes: list[subprocess.Popen]) -> list[Ended]:
    return [bench.wait(f"process{index}", process) for index, process in enumerate(processes)]


def _free_address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"
