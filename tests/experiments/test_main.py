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
from experiments import launch as command_line

ROOT = pathlib.Path(__file__).parents[2]
TINY = (
    "--config.hidden_dims=(8,8)",
    "--config.num_timesteps=10",
    "--config.sampler_calls=2",
    "--config.batch_size=8",
)
RUN = tuple(
    f"--config.{s}"
    for s in ("num_steps=6", "eval_every=3", "log_every=3", "eval_episodes=2", "seeds=(0,1)")
)
FILES = {
    *("config.json", "metrics.csv", "evaluations.csv", "times.csv", "summary.json"),
    *("learning_curve.png", "checkpoints", "policy"),
}


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


def command(workdir, data_dir, *arguments, config="configs/edp_td3.py"):
    chosen = f"--config={config}:hopper-medium-v2"
    folders = (f"--workdir={workdir}", f"--config.data_dir={data_dir}")
    return [sys.executable, "-m", "experiments.main", chosen, *folders, *TINY, *arguments]


def launch(*arguments, **keywords):
    typed = command(*arguments, **keywords)
    return subprocess.run(typed, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)


def test_a_run_leaves_all_its_files_and_says_when_it_is_finished(type_main, tmp_path, data_dir):
    workdir = tmp_path / "run"
    first = launch(workdir, data_dir, *RUN)
    assert first.returncode == 0, first.stderr
    assert FILES <= set(os.listdir(workdir))
    assert "compiling" in first.stdout and "100.0 %" in first.stdout and "updates/s" in first.stdout
    assert str(workdir / "policy") in first.stdout

    summary = json.loads((workdir / "summary.json").read_text())
    assert (summary["task"], summary["algorithm"]) == ("hopper-medium-v2", "edp_td3")
    assert (summary["num_steps"], summary["seeds"]) == (6, [0, 1])
    assert summary["num_evaluations"] == 2 and len(summary["per_seed"]["oms"]) == 2
    config = json.loads((workdir / "config.json").read_text())
    assert config["dataset"]["summary"]["transitions"] == 60
    assert len(config["dataset"]["sha256"]) == 64
    assert config["config"]["seeds"] == [0, 1] and config["starts"][0]["versions"]["jax"]
    assert edp_jax.load_policy(str(workdir / "policy"))(np.zeros(11)).shape == (3,)

    def type_again(*changed):
        return type_main(*command(workdir, data_dir, *RUN, *changed)[3:])

    again = type_again()
    assert again.code == 0 and "finished already" in again.stdout
    assert "python -m experiments.evaluate --workdir=" in again.stdout

    other = type_again("--config.eta=0.5")
    assert other.code == 2
    assert "eta=1.0, not 0.5" in other.stderr and "new --workdir" in other.stderr

    changed = ("--config.num_steps=8", "--config.eval_every=4", "--config.num_candidates=3")
    longer = type_again(*changed)
    assert longer.code == 0, longer.stderr
    assert "going on from update 6" in longer.stdout


def test_a_signal_saves_and_the_same_command_goes_on(type_main, tmp_path, data_dir):
    workdir = tmp_path / "run"
    arguments = ("--config.eval_every=1000000", "--config.log_every=10", "--config.eval_episodes=1")
    typed = command(workdir, data_dir, *arguments, "--config.num_steps=1000000")
    process = subprocess.Popen(typed, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 200
    while not (workdir / "metrics.csv").exists() and time.monotonic() < deadline:
        time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 75
    assert "the same command goes on" in output
    steps = int((workdir / "metrics.csv").read_text().splitlines()[-1].split(",")[0])
    assert {"summary.json", "policy", "learning_curve.png"} <= set(os.listdir(workdir))
    assert json.loads((workdir / "summary.json").read_text())["finished"] is False
    longer = command(workdir, data_dir, *arguments, f"--config.num_steps={steps + 10}")
    resumed = type_main(*longer[3:])
    assert resumed.code == 0, resumed.stderr
    assert f"going on from update {steps:,}" in resumed.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--config.num_step=3",), "did you mean 'num_steps'?"),
        (("--config.num_steps=many",), "many"),
        (("--config.expectile=0.9",), "edp_td3 does not read expectile"),
        (("--config.sweep.expectile=(0.9,)",), "edp_td3 does not read expectile"),
        (
            ("--config.batch_size=61",),
            "batch_size=61 is larger than the dataset: hopper-medium-v2 has 60 transitions",
        ),
        (("nonsense",), "'nonsense' is not a flag"),
    ],
)
def test_bad_commands_exit_with_2_one_line_and_no_folder(
    type_main, tmp_path, data_dir, arguments, says
):
    typed = command(tmp_path / "run", data_dir, *arguments)[3:]
    result = type_main(*typed)
    assert result.code == 2
    error = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(error) == 1 and says in error[0] and len(error[0]) <= 307
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "run").exists()


def test_a_truncated_file_is_refused(type_main, tmp_path, data_dir):
    path = data_dir / "hopper_medium-v2.hdf5"
    path.write_bytes(path.read_bytes()[:2000])
    result = type_main(*command(tmp_path / "run", data_dir)[3:])
    assert result.code == 2 and str(path) in result.stderr and "Traceback" not in result.stderr
    assert not (tmp_path / "run").exists()


def test_an_override_before_the_file_is_refused(type_main, tmp_path):
    workdir = f"--workdir={tmp_path / 'run'}"
    result = type_main("--config.num_steps=5", "--config=configs/edp_td3.py", workdir)
    expected = "error: --config=NAME[:TASK] must stand before every --config.KEY=VALUE\n"
    assert (result.code, result.stderr) == (2, expected)


@pytest.mark.parametrize("name", ["edp_td4", "configs/edp_td4.py", "elsewhere/edp_td3.py"])
def test_a_missing_configuration_is_refused_with_the_names_there_are(type_main, tmp_path, name):
    result = type_main(f"--config={name}", f"--workdir={tmp_path / 'run'}")
    assert result.code == 2
    assert result.stderr.startswith(f"error: --config={name}: no such file, and no learner of that")
    assert "edp_td3" in result.stderr and result.stderr.count("\n") == 1


def test_a_blank_between_config_and_its_name_is_fine(type_main, tmp_path):
    workdir = f"--workdir={tmp_path / 'run'}"
    result = type_main("--config", "edp_td3:missing.npz", workdir)
    assert result.code == 2 and "missing.npz': there is no such file" in result.stderr


def test_a_file_that_makes_no_configuration_of_ours_is_refused(type_main, tmp_path):
    other = tmp_path / "other.py"
    other.write_text(
        "from ml_collections import ConfigDict\n\n\ndef get_config(task=None):\n"
        "    return ConfigDict({'learning_rate': 0.1})\n"
    )
    result = type_main(f"--config={other}", f"--workdir={tmp_path / 'run'}")
    assert result.code == 2 and result.stderr.count("\n") == 1
    assert "does not make a configuration of a run" in result.stderr


def test_the_settings_of_a_task_that_is_none_are_refused():
    command = [sys.executable, "-m", "experiments.settings", "edp_td3", "hopper-medum-v2"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "hopper-medium-v2" in done.stderr


def test_missing_flags_are_named_with_the_usage(type_main):
    result = type_main()
    assert (result.code, result.stderr) == (
        2,
        "error: --config is missing: give --config=edp_td3[:TASK] --workdir=DIR; --help lists all "
        "flags\n",
    )


def test_help_describes_the_program_and_its_flags(type_main):
    result = type_main("--help")
    assert result.code == 0 and result.stderr == ""
    for words in ("Trains one learner", "--config:", "--workdir:", "--config.KEY=VALUE", "edp_iql"):
        assert words in result.stdout
    assert "chex" not in result.stdout and "orbax" not in result.stdout


def test_short_names_work_anywhere_also_beside_packages_named_as_ours(tmp_path):
    """The user's own `configs` and `experiments` are neither read nor in the way."""
    for name in ("configs", "experiments"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise ImportError('a stranger')")
    write_dataset(tmp_path / "own.hdf5")
    program = "import sys; sys.path.insert(0, sys.argv.pop(1)); from experiments import main"
    typed = ["--config=edp_td3:own.hdf5", "--workdir=run", "--config.env_id=none", *TINY]
    done = subprocess.run(
        [sys.executable, "-c", f"{program}; main.command()", str(ROOT), *typed]
        + ["--config.num_steps=2", "--config.log_every=2"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "summary.json").exists()


def test_every_learner_has_a_configuration_file():
    assert command_line.config_names() == sorted(edp_jax.algorithms.REGISTRY)
