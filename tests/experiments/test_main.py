"""The command as a user types it, on a tiny dataset in D4RL's layout."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import h5py
import numpy as np
import pytest

import edp_jax

ROOT = pathlib.Path(__file__).parents[2]
TINY = (
    "--config.hidden_dims=(8,8)",
    "--config.num_timesteps=10",
    "--config.sampler_calls=2",
    "--config.batch_size=8",
)


def write_dataset(path, size=60):
    rng = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        file["observations"] = rng.normal(size=(size, 11)).astype(np.float32)
        file["actions"] = rng.uniform(-1, 1, (size, 3)).astype(np.float32)
        file["rewards"] = rng.normal(size=size).astype(np.float32)
        file["terminals"] = np.arange(size) % 20 == 19
        file["timeouts"] = np.zeros(size, bool)


@pytest.fixture
def data_dir(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    write_dataset(folder / "hopper_medium-v2.hdf5")
    return folder


def command(workdir, data_dir, *arguments, task="hopper-medium-v2"):
    config = f"--config=configs/edp_td3.py:{task}"
    return [
        *(
            sys.executable,
            "-m",
            "experiments.main",
            config,
            f"--workdir={workdir}",
            f"--config.data_dir={data_dir}",
        ),
        *(*TINY, *arguments),
    ]


def launch(*arguments, **keywords):
    return subprocess.run(
        command(*arguments, **keywords),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


RUN = tuple(
    f"--config.{s}"
    for s in ("num_steps=6", "eval_every=3", "log_every=3", "eval_episodes=2", "seeds=(0,1)")
)


def test_a_run_leaves_all_its_files_and_says_when_it_is_finished(tmp_path, data_dir):
    workdir = tmp_path / "run"
    first = launch(workdir, data_dir, *RUN)
    assert first.returncode == 0, first.stderr
    files = {
        "config.json",
        "metrics.csv",
        "evaluations.csv",
        "summary.json",
        "learning_curve.png",
        "checkpoints",
        "policy",
    }
    assert files <= set(os.listdir(workdir))
    assert "compiling" in first.stdout and "100.0 %" in first.stdout and "updates/s" in first.stdout

    summary = json.loads((workdir / "summary.json").read_text())
    assert (summary["task"], summary["num_steps"], summary["seeds"]) == (
        "hopper-medium-v2",
        6,
        [0, 1],
    )
    assert summary["num_evaluations"] == 2 and len(summary["per_seed"]["oms"]) == 2
    config = json.loads((workdir / "config.json").read_text())
    assert (
        config["dataset"]["summary"]["transitions"] == 60 and len(config["dataset"]["sha256"]) == 64
    )
    assert config["config"]["seeds"] == [0, 1] and config["starts"][0]["versions"]["jax"]
    assert edp_jax.load_policy(str(workdir / "policy"))(np.zeros(11)).shape == (3,)

    again = launch(workdir, data_dir, *RUN)
    assert again.returncode == 0 and "finished already" in again.stdout

    other = launch(workdir, data_dir, *RUN, "--config.eta=0.5")
    assert other.returncode == 2
    assert "eta=1.0, not 0.5" in other.stderr and "new --workdir" in other.stderr


def test_a_signal_saves_and_the_same_command_goes_on(tmp_path, data_dir):
    workdir = tmp_path / "run"
    arguments = ("--config.eval_every=1000000", "--config.log_every=10", "--config.eval_episodes=1")
    process = subprocess.Popen(
        command(workdir, data_dir, *arguments, "--config.num_steps=1000000"),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 200
    while not (workdir / "metrics.csv").exists() and time.monotonic() < deadline:
        time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 75
    assert "the same command goes on" in output
    steps = int((workdir / "metrics.csv").read_text().splitlines()[-1].split(",")[0])
    resumed = launch(workdir, data_dir, *arguments, f"--config.num_steps={steps + 10}")
    assert resumed.returncode == 0, resumed.stderr
    assert f"going on from update {steps:,}" in resumed.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--config.num_step=3",), "did you mean 'num_steps'?"),
        (("--config.num_steps=many",), "many"),
        (
            ("--config.batch_size=61",),
            "batch_size=61 is larger than the dataset: hopper-medium-v2 has 60 transitions",
        ),
        (("nonsense",), "'nonsense' is not a flag"),
    ],
)
def test_bad_commands_exit_with_2_one_line_and_no_folder(tmp_path, data_dir, arguments, says):
    result = launch(tmp_path / "run", data_dir, *arguments)
    assert result.returncode == 2
    error = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(error) == 1 and says in error[0]
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "run").exists()


def test_a_truncated_file_is_refused(tmp_path, data_dir):
    path = data_dir / "hopper_medium-v2.hdf5"
    path.write_bytes(path.read_bytes()[:2000])
    result = launch(tmp_path / "run", data_dir)
    assert (
        result.returncode == 2 and str(path) in result.stderr and "Traceback" not in result.stderr
    )
    assert not (tmp_path / "run").exists()


def test_an_override_before_the_file_is_refused(type_main, tmp_path):
    result = type_main(
        "--config.num_steps=5", "--config=configs/edp_td3.py", f"--workdir={tmp_path / 'run'}"
    )
    assert (result.code, result.stderr) == (
        2,
        "error: --config=FILE[:TASK] must stand before every --config.KEY=VALUE\n",
    )


def test_a_missing_config_file_is_refused(tmp_path):
    arguments = [
        sys.executable,
        "-m",
        "experiments.main",
        "--config=configs/edp_td4.py",
        f"--workdir={tmp_path / 'run'}",
    ]
    result = subprocess.run(
        arguments, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert result.returncode == 2 and "configs/edp_td4.py: cannot be loaded" in result.stderr
