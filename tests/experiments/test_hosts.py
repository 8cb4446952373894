"""One run in two real processes, stopped and taken up again, against the same run in one."""

import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import time

import h5py
import numpy as np
import pytest

from edp_jax import InputError, configuration
from experiments import main

ROOT = pathlib.Path(__file__).parents[2]
RUN = (
    *(
        "--config.hidden_dims=(8,8)",
        "--config.num_timesteps=10",
        "--config.sampler_calls=2",
        "--config.batch_size=8",
    ),
    *(
        "--config.seeds=(0,1)",
        "--config.log_every=10",
        "--config.eval_every=50",
        "--config.checkpoint_every=50",
    ),
    "--config.eval_episodes=2",
)


def start(workdir, *arguments) -> subprocess.Popen:
    data = f"--config.data_dir={workdir.parent}"
    command = [
        sys.executable,
        "-m",
        "experiments.main",
        "--config=edp_td3:hopper-medium-v2",
        f"--workdir={workdir}",
    ]
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen([*command, data, *RUN, *arguments], cwd=ROOT, **output)


def start_both(workdir, *arguments) -> list[subprocess.Popen]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    shared = (
        "--config.data_placement=host",
        "--config.distributed=True",
        "--config.num_processes=2",
    )
    shared += (f"--config.coordinator_address={address}",)
    return [start(workdir, *shared, f"--config.process_id={index}", *arguments) for index in (0, 1)]


def wait_for(*processes) -> tuple[list[int], list[str]]:
    printed = [process.communicate(timeout=500)[0] for process in processes]
    return [process.returncode for process in processes], printed


@pytest.mark.slow
def test_two_processes_leave_what_one_leaves(tmp_path, monkeypatch):
    """The data of the two stay on the host, those of the one go to its devices."""
    # one device each, two in the single process; and fusions as users have them: only with these
    # are programs for data on the host and on the device the same to the last bit
    left_out = ("device_count", "fusion_emitters")
    flags = os.environ["XLA_FLAGS"].split()
    flags = [flag for flag in flags if not any(name in flag for name in left_out)]
    monkeypatch.setenv("XLA_FLAGS", " ".join(flags))
    rng = np.random.default_rng(0)
    with h5py.File(tmp_path / "hopper_medium-v2.hdf5", "w") as file:
        file["observations"] = rng.normal(size=(60, 11)).astype(np.float32)
        file["actions"] = rng.uniform(-1, 1, (60, 3)).astype(np.float32)
        file["rewards"] = rng.normal(size=60).astype(np.float32)
        file["terminals"] = np.arange(60) % 20 == 19
    one, two = tmp_path / "one", tmp_path / "two"

    processes = start_both(two, "--config.num_steps=1000000")
    while not (two / "metrics.csv").exists() and all(
        process.poll() is None for process in processes
    ):
        time.sleep(0.2)
    processes[1].send_signal(signal.SIGTERM)  # only one hears it
    codes, printed = wait_for(*processes)
    assert codes == [75, 75], "\n".join(printed)
    assert "the same command goes on" in printed[0]
    done = int((two / "metrics.csv").read_text().splitlines()[-1].split(",")[0])
    end = (done // 50 + 1) * 50  # where an evaluation is due anyway: the last step always has one

    codes, printed = wait_for(*start_both(two, f"--config.num_steps={end}"))
    assert codes == [0, 0], "\n".join(printed)
    assert f"going on from update {done:,}" in printed[0] and "100.0 %" in printed[0]
    assert "updates" not in printed[1]  # process 0 speaks for all

    for folder in (
        two,
        one,
    ):  # the last updates of the shared run, and all of the other, in one process
        codes, printed = wait_for(start(folder, f"--config.num_steps={end + 50}"))
        assert codes == [0], "\n".join(printed)
    for name in ("metrics.csv", "evaluations.csv", "policy/policy.json"):
        assert (two / name).read_bytes() == (one / name).read_bytes(), name
    with (
        np.load(two / "policy" / "params.npz") as shared,
        np.load(one / "policy" / "params.npz") as alone,
    ):
        assert set(shared) == set(alone)
        for name in alone:
            np.testing.assert_array_equal(shared[name], alone[name])
    assert {"summary.json", "learning_curve.png", "config.json"} <= {
        path.name for path in two.iterdir()
    }

    codes, printed = wait_for(
        *start_both(two, "--config.num_steps=10")
    )  # less than is done already
    assert codes == [2, 2]
    assert all(
        len(re.findall("^error: config.num_steps=10: .* holds", text, re.MULTILINE)) == 1
        for text in printed
    )


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"num_processes": 2}, "num_processes=2 says nothing without --config.distributed=True"),
        (
            {"distributed": True, "coordinator_address": "10.0.0.1"},
            "coordinator_address='10.0.0.1' must be HOST:PORT",
        ),
        (
            {"distributed": True, "num_processes": 2, "process_id": 2},
            "process_id=2 must be below num_processes=2",
        ),
    ],
)
def test_processes_that_do_not_fit_together_are_refused(changes, says):
    config = configuration.make_config("edp_td3", "hopper-medium-v2", **changes)
    with pytest.raises(InputError, match=says):
        main.join_processes(config)
