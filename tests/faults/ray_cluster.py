"""Sweeps on a Ray cluster of a head and two nodes on this machine. Run by hand; needs ray, psutil.

python tests/faults/ray_cluster.py deaths DIR     a worker and a node die under six runs
python tests/faults/ray_cluster.py overhead DIR   what 500 runs cost that do nothing

The first trains six tiny runs undisturbed, then again as a sweep. Meanwhile it kills the worker of
one run and then a whole node. All six have to finish, those that were hit from a checkpoint, and
with the parameters of the undisturbed runs, bit for bit.
"""

import contextlib
import os
import pathlib
import resource
import shutil
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import psutil
from ray.cluster_utils import Cluster

ROOT = pathlib.Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))
os.environ["PYTHONPATH"] = str(ROOT)  # of the nodes, too

from edp_jax import configuration  # noqa: E402
from edp_jax.configuration import build  # noqa: E402
from edp_jax.runs import Run  # noqa: E402
from experiments import board, jobs, launchers, sweep  # noqa: E402

STEPS, CHECKPOINT = 40_000, 2_000
SUITE = f"""
SHORT = dict(num_steps={STEPS}, checkpoint_every={CHECKPOINT}, hidden_dims=(16, 16))
DIFFUSION = dict(SHORT, num_timesteps=10, sampler_calls=2)
LEARNERS = dict(edp_td3=DIFFUSION, bc_diffusion=DIFFUSION, td3_bc=SHORT)

def get_suite():
    return [
        (name, {{task!r}}, dict(values, seeds=(seed,)))
        for name, values in LEARNERS.items()
        for seed in (0, 1)
    ]
"""
NOTHING = """
import json, sys
folder = sys.argv[-1].removeprefix("--workdir=")
json.dump({"finished": True, "num_steps": 1}, open(folder + "/summary.json", "w"))
"""


def start_cluster(cpus: int) -> tuple[Cluster, list]:
    """A head without room for runs, and two nodes with some cores each."""
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False}
    )
    nodes = []
    while len(nodes) < 2:
        with contextlib.suppress(Exception):  # Ray gives a node 30 seconds to start
            nodes.append(cluster.add_node(num_cpus=cpus))
    return cluster, nodes


def deaths(folder: pathlib.Path) -> None:
    """Kills a worker and a node under six runs, and compares them with undisturbed ones."""
    folder.mkdir(parents=True, exist_ok=True)
    suite = folder / "suite.py"
    suite.write_text(SUITE.format(task=str(write_dataset(folder / "tiny.npz"))))
    command = [sys.executable, "-m", "experiments.sweep", f"--suite={suite}"]
    alone = folder / "undisturbed"
    subprocess.run([*command, f"--out={alone}"], cwd=ROOT, check=True)

    cluster, nodes = start_cluster(2)
    out = folder / "disturbed"
    shutil.rmtree(out, ignore_errors=True)
    options = [f"--out={out}", "--launcher=ray", f"--address={cluster.address}"]
    with subprocess.Popen([*command, *options], cwd=ROOT) as driver:
        worker = wait_for(lambda: find_run(out, nodes[0]))
        print(f"killing worker {worker.ppid()} of {worker.cmdline()[-1]}", flush=True)
        os.kill(worker.ppid(), signal.SIGKILL)
        wait_for(lambda: not worker.is_running())
        print("its run has ended with it", flush=True)
        on_node = wait_for(lambda: find_run(out, nodes[1]))
        print(f"stopping the node of {on_node.cmdline()[-1]}", flush=True)
        cluster.remove_node(nodes[1], allow_graceful=False)
        wait_for(lambda: not on_node.is_running())
        print("its run has ended with it", flush=True)
    assert driver.returncode == 0, driver.returncode
    cluster.shutdown()
    compare(alone, out)


def find_run(out: pathlib.Path, node) -> psutil.Process | None:
    """A run on a node that has saved a checkpoint and is less than half done."""
    (raylet,) = node.all_processes["raylet"]
    for process in psutil.Process(raylet.process.pid).children(recursive=True):
        with contextlib.suppress(psutil.Error, IndexError, FileNotFoundError, ValueError):
            workdir = process.cmdline()[-1].removeprefix("--workdir=")
            if workdir.startswith(str(out)) and process.ppid() != raylet.process.pid:
                rows = pathlib.Path(workdir, "metrics.csv").read_text().splitlines()
                if 2 * CHECKPOINT <= int(rows[-1].partition(",")[0]) < STEPS / 2:
                    return process
    return None


def wait_for(condition):
    """Asks until the answer is true, and returns it."""
    while not (answer := condition()):
        time.sleep(0.1)
    return answer


def compare(alone: pathlib.Path, out: pathlib.Path) -> None:
    """Compares the runs of two folders, bit for bit, and tells where each began anew."""
    resumed = 0
    for workdir in sorted(alone.iterdir()):
        if not workdir.is_dir():
            continue
        starts = [start["step"] for start in Run(out / workdir.name).starts]
        first, second = (leaves(each / workdir.name) for each in (alone, out))
        assert len(first) == len(second) > 0
        for a, b in zip(first, second, strict=True):
            np.testing.assert_array_equal(a, b)
        for name in ("metrics.csv",):
            assert (workdir / name).read_bytes() == (out / workdir.name / name).read_bytes(), name
        resumed += starts[-1] > 0
        print(f"{workdir.name}: the same {len(first)} arrays; starts at {starts}", flush=True)
    assert resumed >= 2, resumed
    print(f"all is equal; {resumed} runs were resumed", flush=True)


def leaves(workdir: pathlib.Path) -> list[np.ndarray]:
    """All arrays of the last checkpoint of a run."""
    run = Run(workdir)
    settings = configuration.resolve(run.config)
    dataset = build.load_dataset(settings, str(workdir), lambda line: None)
    state = run.state(build.make_algorithm(settings, dataset))
    assert state.step.tolist() == [STEPS]
    return [np.asarray(leaf) for leaf in jax.tree.leaves((state.step, state.networks))]


def overhead(folder: pathlib.Path, number: int = 500) -> None:
    """Measures what runs cost that do nothing."""
    cluster, _ = start_cluster(1)
    listed = [
        jobs.Job(f"run{i}", str(folder / "nothing" / f"run{i}"), 1, ("-c", NOTHING))
        for i in range(number)
    ]
    before = memory()
    options = launchers.Options(address=cluster.address)
    began = time.monotonic()
    with launchers.ray(listed, jobs.Needs(), options) as pending, board.Board() as shown:
        under_way = dict(zip(listed, pending, strict=True))
        rows = sweep.follow(listed, under_way, lambda: None, shown)
    seconds = time.monotonic() - began
    assert all(row.state == jobs.FINISHED for row in rows)
    began = time.monotonic()
    for _ in range(10):
        subprocess.run([sys.executable, "-P", "-c", "import json"], check=True)
    bare = (time.monotonic() - began) / 10
    print(f"{number} runs, two at a time, in {seconds:.1f} s: {seconds / number:.3f} s per run")
    print(f"a process that does nothing takes {bare:.3f} s")
    print(f"memory of the driver: {before:.0f} MB before, at most {memory():.0f} MB")
    cluster.shutdown()


def memory() -> float:
    """The most memory that this process has used so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def write_dataset(path: pathlib.Path) -> pathlib.Path:
    """Writes 400 random steps."""
    rng = np.random.default_rng(0)
    np.savez(
        path,
        observations=rng.normal(size=(400, 11)),
        actions=rng.uniform(-1, 1, (400, 3)),
        rewards=rng.normal(size=400),
        terminals=np.arange(400) % 20 == 19,
        timeouts=np.zeros(400, bool),
        action_low=-np.ones(3),
        action_high=np.ones(3),
    )
    return path


if __name__ == "__main__":
    kind, where = sys.argv[1:]
    {"deaths": deaths, "overhead": overhead}[kind](pathlib.Path(where).absolute())
