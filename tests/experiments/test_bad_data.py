"""Data that is of no use: one line, exit code 2, and nothing changed on disk."""

import os
import pathlib
import re
import subprocess
import sys

import h5py
import numpy as np
import pytest

from edp_jax import data

ROOT = pathlib.Path(__file__).parents[2]
NAME = "hopper_medium-v2.hdf5"


def arrays(size=40, observation_dim=11) -> dict:
    rng = np.random.default_rng(0)
    return {
        "observations": rng.normal(size=(size, observation_dim)).astype(np.float32),
        "actions": rng.uniform(-1, 1, (size, 3)).astype(np.float32),
        "rewards": rng.normal(size=size).astype(np.float32),
        "terminals": np.arange(size) % 20 == 19,
        "timeouts": np.zeros(size, bool),
    }


def hdf5(folder, content, name=NAME) -> None:
    with h5py.File(folder / name, "w") as file:
        for key, value in content.items():
            file[key] = value


def with_value(key, index, value) -> dict:
    content = arrays()
    content[key][index] = value
    return content


def truncated(folder) -> None:
    hdf5(folder, arrays())
    os.truncate(folder / NAME, 3000)


def python_objects(folder) -> None:
    np.savez(folder / "mine.npz", **arrays() | {"rewards": np.array([{}] * 40, object)})


def snapshot(folder) -> dict:
    """Every path below `folder`, files with their content and time of change."""
    paths = sorted(folder.rglob("*"))
    return {
        path: (path.stat().st_mtime_ns, path.read_bytes()) if path.is_file() else None
        for path in paths
    }


# What is written into the data folder, the task (by default hopper-medium-v2), what the line says.
CASES = {
    "truncated HDF5": (truncated, None, "truncated or damaged at 3000 bytes"),
    "missing key": (
        lambda f: hdf5(f, {k: v for k, v in arrays().items() if k != "actions"}),
        None,
        "no key 'actions'",
    ),
    "unequal lengths": (
        lambda f: hdf5(f, arrays() | {"rewards": np.zeros(39)}),
        None,
        "unequal length .*rewards 39",
    ),
    "observations of another size": (
        lambda f: hdf5(f, arrays(observation_dim=5)),
        None,
        "5 observation and 3 action columns",
    ),
    "NaN": (
        lambda f: hdf5(f, with_value("observations", 7, np.nan)),
        None,
        "holds 11 values that are NaN .* the first in row 7",
    ),
    "infinity": (
        lambda f: hdf5(f, with_value("rewards", 9, np.inf)),
        None,
        "holds 1 values that are NaN or infinite.* row 9",
    ),
    "action outside": (
        lambda f: hdf5(f, with_value("actions", (3, 1), 1.5)),
        None,
        "1 action values outside .* 1.5 in row 3, column 1",
    ),
    "no transitions": (lambda f: hdf5(f, arrays(0)), None, "0 transitions, at least 2"),
    "one transition": (lambda f: hdf5(f, arrays(1)), None, "1 transitions, at least 2"),
    "not HDF5": (lambda f: (f / NAME).write_text("<html>"), None, r"not an HDF5 file \(6 bytes\)"),
    "own HDF5 without timeouts": (
        lambda f: hdf5(f, {k: v for k, v in arrays().items() if k != "timeouts"}, "mine.hdf5"),
        "{folder}/mine.hdf5",
        "nothing tells which steps were the last before a time limit",
    ),
    "not npz": (
        lambda f: (f / "mine.npz").write_text("a,b"),
        "{folder}/mine.npz",
        r"not a complete .npz file \(3 bytes\)",
    ),
    "Python objects": (
        python_objects,
        "{folder}/mine.npz",
        "Python objects, which are never unpickled",
    ),
    "a file that is not there": (lambda f: None, "{folder}/mine.npz", "there is no such file"),
    "no network": (
        lambda f: None,
        None,
        "download of http://127.0.0.1:1/gym_mujoco_v2/hopper_medium-v2.hdf5: .*refused"
        ".*put the file at '{folder}/gym_mujoco_v2/hopper_medium-v2.hdf5'",
    ),
    "name with dots": (lambda f: None, "../hopper-medium-v2", "no such task"),
    "name with dots inside": (lambda f: None, "builtin/../hopper-medium", "no such task"),
    "Minari id with dots": (lambda f: None, "minari:../hopper-v0", "not an id"),
}


def refused(type_main, folder, task, says, **keywords) -> None:
    """The command exits with 2 and one line that says why; all below `folder` is as it was."""
    before = snapshot(folder)
    result = type_main(
        f"--config=configs/edp_td3.py:{task}",
        f"--workdir={folder / 'run'}",
        f"--config.data_dir={folder / 'data'}",
        "--config.batch_size=8",
        **keywords,
    )
    assert result.code == 2, result
    assert re.fullmatch(f"error: .*{says}.*\n", result.stderr), result.stderr
    assert snapshot(folder) == before


@pytest.mark.parametrize("case", CASES)
def test_nothing_changes_and_the_line_says_what_is_wrong(tmp_path, type_main, case):
    write, task, says = CASES[case]
    folder = tmp_path / "data"
    folder.mkdir()
    write(folder)
    refused(
        type_main,
        tmp_path,
        (task or "hopper-medium-v2").format(folder=folder),
        says.replace("{folder}", str(folder)),
    )


@pytest.mark.parametrize(
    ("task", "size", "server", "says"),
    [
        ("walker2d-medium-v2", 1_000, {"cuts": [500, 0, 0, 0]}, "ends early, after 500 bytes"),
        ("walker2d-medium-v2", 1_000, {"status": 404}, "the server answers 404"),
        (
            "kitchen-complete-v0",
            1_000,
            {},
            "the server has 1,000 bytes, the file should have 556,544",
        ),
        ("kitchen-complete-v0", 556_544, {}, "its sha256 is [0-9a-f]*, not cd797c38cd52"),
    ],
)
def test_a_download_that_cannot_become_the_file(
    tmp_path, type_main, serve, task, size, server, says
):
    refused(type_main, tmp_path, task, says, d4rl_url=serve(bytes(size), **server).url)


@pytest.mark.parametrize("task", ["hopper-medium-v2", "builtin/hopper-medium"])
def test_a_data_folder_that_cannot_be_written(tmp_path, type_main, task):
    (tmp_path / "data").write_text("")
    refused(
        type_main, tmp_path, task, "cannot be written to; give another one as --config.data_dir"
    )


def tasks(*arguments):
    command = [sys.executable, "-m", "experiments.tasks", *arguments]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )


def test_all_tasks_are_listed_with_what_is_on_disk(tmp_path):
    hdf5(tmp_path, arrays())
    result = tasks(f"--data_dir={tmp_path}")
    assert result.returncode == 0, result.stderr
    lines = {line.split()[0]: line.split() for line in result.stdout.splitlines()}
    size = f"{(tmp_path / NAME).stat().st_size / 1e6:.1f}"
    assert lines["hopper-medium-v2"] == [
        "hopper-medium-v2",
        size,
        "MB",
        "hopper",
        "-20.2723,",
        "3234.3",
        NAME,
    ]
    assert lines["kitchen-mixed-v0"][1] == "-" and lines["kitchen-mixed-v0"][-1].startswith(
        "kitchen/"
    )
    assert lines["builtin/hopper-medium"][1] == "-"
    last = result.stdout.splitlines()[-1]
    assert all(reader.usage in last for reader in data.READERS.values())


@pytest.mark.parametrize(
    ("flag", "says"),
    [
        ("reward_rule=step_cost", "reward_rule='step_cost' changes nothing: "),
        ("reward_rule=cost", "reward_rule=cost must be one of stored, success_at_end, step_cost"),
    ],
)
def test_what_a_format_does_not_read_is_refused_here_too(tmp_path, flag, says):
    np.savez(tmp_path / "mine.npz", **arrays())
    result = tasks(str(tmp_path / "mine.npz"), f"--{flag}")
    assert result.returncode == 2 and says in result.stderr and not result.stdout


def test_a_reader_of_the_list_may_leave_early(tmp_path):
    command = [sys.executable, "-u", "-m", "experiments.tasks", f"--data_dir={tmp_path}"]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=ROOT, **options) as process:
        assert process.stdout.readline().startswith("data folder: ")
        process.stdout.close()
        assert process.stderr.read() == ""


def test_one_task_is_summed_up_and_bad_ones_exit_with_2(tmp_path):
    hdf5(tmp_path, arrays())
    result = tasks("hopper-medium-v2", f"--data_dir={tmp_path}")
    assert result.returncode == 0, result.stderr
    assert "  40 transitions in 2 episodes, 2 terminals, 0 timeouts\n" in result.stdout
    assert "reference scores: -20.2723, 3234.3" in result.stdout
    truncated(tmp_path)
    for arguments, says in (
        (("hopper-medium-v2", f"--data_dir={tmp_path}"), "truncated"),
        (("a", "b"), "'b' is not a flag"),
    ):
        result = tasks(*arguments)
        assert result.returncode == 2 and result.stdout == ""
        assert (
            result.stderr.startswith("error: ")
            and says in result.stderr
            and result.stderr.count("\n") == 1
        )
