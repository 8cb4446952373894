"""Tables, JSON, optional writers and the progress line."""

import csv
import json
import sys
import types

import numpy as np
import pytest

from edp_jax.training import writers
from edp_jax.training.members import grid
from edp_jax.types import InputError


def test_metric_rows_have_one_row_per_seed():
    rows = writers.metric_rows(
        10,
        grid((3, 5), {}),
        {"critic/loss": np.array([0.5, 1.5]), "critic/q_mean": np.array([2.0, 4.0])},
    )
    assert rows == [
        {"step": 10, "seed": 3, "critic/loss": 0.5, "critic/q_mean": 2.0},
        {"step": 10, "seed": 5, "critic/loss": 1.5, "critic/q_mean": 4.0},
    ]


def test_evaluation_rows_have_one_row_per_seed_and_episode():
    returns, lengths = np.array([[1.0, 2.0]]), np.array([[7, 8]])
    rows = writers.evaluation_rows(10, grid((3,), {}), returns, lengths, 10 * returns)
    assert rows == [
        {"step": 10, "seed": 3, "episode": 0, "return": 1.0, "length": 7, "score": 10.0},
        {"step": 10, "seed": 3, "episode": 1, "return": 2.0, "length": 8, "score": 20.0},
    ]
    assert [
        row["score"] for row in writers.evaluation_rows(10, grid((3,), {}), returns, lengths, None)
    ] == [None, None]


def test_table_is_plain_csv_with_the_columns_of_the_first_row(tmp_path):
    path = tmp_path / "metrics.csv"
    table = writers.CsvTable(str(path))
    table.append([{"step": 1, "seed": 0, "loss": np.float32(0.1), "score": None}])
    table.append([{"step": 2, "loss": np.float64(1 / 3), "seed": 0, "score": 1e-20}])
    assert path.read_text() == "step,seed,loss,score\n1,0,0.1,\n2,0,0.3333333333333333,1e-20\n"


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_floats_read_back_to_the_same_value(tmp_path, dtype):
    values = np.random.default_rng(0).normal(size=100).astype(dtype) * dtype(10.0) ** np.arange(
        -20, 30, 0.5
    ).astype(dtype)
    path = tmp_path / "metrics.csv"
    writers.CsvTable(str(path)).append(
        writers.metric_rows(1, grid(range(100), {}), {"loss": values})
    )
    with open(path, newline="") as file:
        np.testing.assert_array_equal(
            np.array([row["loss"] for row in csv.DictReader(file)]).astype(dtype), values
        )


def test_reopened_table_goes_on_without_a_second_header(tmp_path):
    path = tmp_path / "metrics.csv"
    writers.CsvTable(str(path)).append([{"step": 1, "seed": 0}])
    writers.CsvTable(str(path)).append([{"step": 2, "seed": 0}])
    assert path.read_text() == "step,seed\n1,0\n2,0\n"


def test_other_columns_are_refused_and_nothing_is_written(tmp_path):
    path = tmp_path / "metrics.csv"
    table = writers.CsvTable(str(path))
    table.append([{"step": 1, "seed": 0, "loss": 1.0}])
    with pytest.raises(InputError, match="metrics.csv.*differ.*loss, other; use a new --workdir"):
        table.append([{"step": 2, "seed": 0, "loss": 1.0}, {"step": 2, "seed": 0, "other": 1.0}])
    assert path.read_text() == "step,seed,loss\n1,0,1.0\n"


def test_interrupted_and_resumed_table_equals_the_uninterrupted_one(tmp_path):
    def write(table: writers.CsvTable, steps) -> None:
        for step in steps:
            table.append(
                writers.metric_rows(
                    step, grid((0, 1), {}), {"loss": np.sin([step, step + 0.5]).astype(np.float32)}
                )
            )

    whole, resumed = tmp_path / "whole.csv", tmp_path / "resumed.csv"
    write(writers.CsvTable(str(whole)), range(10, 101, 10))
    write(writers.CsvTable(str(resumed)), range(10, 71, 10))
    with open(resumed, "a") as file:
        file.write("80,0,0.12")
    writers.truncate(str(resumed), 40)
    assert resumed.read_text() == "".join(
        line + "\n" for line in whole.read_text().splitlines()[: 1 + 2 * 4]
    )
    write(writers.CsvTable(str(resumed)), range(50, 101, 10))
    assert resumed.read_bytes() == whole.read_bytes()


def test_restart_without_a_checkpoint_keeps_only_the_header(tmp_path):
    path = tmp_path / "metrics.csv"
    writers.CsvTable(str(path)).append([{"step": 5, "seed": 0}])
    writers.truncate(str(path), 0)
    assert path.read_text() == "step,seed\n"


def test_truncate_without_a_table_or_without_a_whole_header(tmp_path):
    path = tmp_path / "metrics.csv"
    writers.truncate(str(path), 10)
    path.write_text("step,se")
    writers.truncate(str(path), 10)
    assert not list(tmp_path.iterdir())


def test_json_holds_numpy_values_and_no_nan(tmp_path):
    path = tmp_path / "summary.json"
    value = {
        "a": np.float32(0.5),
        "b": np.array([[1, 2]]),
        "c": (float("nan"), np.inf),
        "d": np.bool_(True),
    }
    writers.write_json(str(path), value)
    assert json.loads(path.read_text()) == {"a": 0.5, "b": [[1, 2]], "c": [None, None], "d": True}
    assert [entry.name for entry in tmp_path.iterdir()] == ["summary.json"]


def test_json_that_cannot_be_written_leaves_the_old_file(tmp_path):
    path = tmp_path / "summary.json"
    path.write_text("old")
    with pytest.raises(TypeError):
        writers.write_json(str(path), {"a": object()})
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["summary.json"]


def test_tensorboard_gets_each_seed_in_its_own_folder(tmp_path, monkeypatch):
    calls = []

    class SummaryWriter:
        def __init__(self, folder, purge_step):
            self.folder = folder
            calls.append((folder, purge_step))

        def add_scalar(self, name, value, step):
            calls.append((self.folder, name, value, step))

        def close(self):
            calls.append((self.folder, "closed"))

    monkeypatch.setitem(
        sys.modules, "tensorboardX", types.SimpleNamespace(SummaryWriter=SummaryWriter)
    )
    (writer,) = writers.open_writers(
        ("tensorboard",), str(tmp_path), grid((3, 5), {}), {}, first_step=40
    )
    writer.write(50, grid((3, 5), {}), {"critic/loss": np.array([0.5, 1.5])})
    writer.close()
    first, second = (
        str(tmp_path / "tensorboard" / "seed_3"),
        str(tmp_path / "tensorboard" / "seed_5"),
    )
    assert calls == [
        (first, 41),
        (second, 41),
        (first, "critic/loss", 0.5, 50),
        (second, "critic/loss", 1.5, 50),
        (first, "closed"),
        (second, "closed"),
    ]


def test_tensorboard_writes_event_files(tmp_path):
    pytest.importorskip("tensorboardX")
    (writer,) = writers.open_writers(
        ("tensorboard",), str(tmp_path), grid((0,), {}), {}, first_step=0
    )
    writer.write(1, grid((0,), {}), {"critic/loss": np.array([0.5])})
    writer.close()
    assert len(list((tmp_path / "tensorboard" / "seed_0").glob("events.out.tfevents.*"))) == 1


def test_wandb_goes_on_in_the_same_run(tmp_path, monkeypatch):
    calls = []

    class Run:
        def log(self, values, step):
            calls.append((values, step))

        def finish(self):
            calls.append("finished")

    def init(**options):
        calls.append(options)
        return Run()

    monkeypatch.setitem(sys.modules, "wandb", types.SimpleNamespace(init=init))
    for _ in range(2):
        (writer,) = writers.open_writers(
            ("wandb",), str(tmp_path), grid((3,), {}), {"eta": np.float32(0.5)}, first_step=0
        )
        writer.write(50, grid((3,), {}), {"critic/loss": np.array([0.5])})
        writer.close()
    first, logged, finished = calls[:3]
    assert logged == ({"critic/loss/seed_3": 0.5}, 50) and finished == "finished"
    assert (
        first["config"] == {"eta": 0.5}
        and first["dir"] == str(tmp_path)
        and first["resume"] == "allow"
    )
    assert calls[3]["id"] == first["id"]


@pytest.mark.parametrize(("kind", "package"), [("tensorboard", "tensorboardX"), ("wandb", "wandb")])
def test_missing_package_names_the_command_that_installs_it(tmp_path, monkeypatch, kind, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError) as error:
        writers.open_writers((kind,), str(tmp_path), grid((0,), {}), {}, first_step=0)
    assert f"'{package}'" in str(error.value) and "pip install edp_jax[log]" in str(error.value)
    assert not list(tmp_path.iterdir())


def test_unknown_writer(tmp_path):
    with pytest.raises(InputError, match="'wand': unknown; use 'tensorboard' or 'wandb'"):
        writers.open_writers(("wand",), str(tmp_path), grid((0,), {}), {}, first_step=0)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (41.6, "42 s"),
        (59.9, "1 min 00 s"),
        (185, "3 min 05 s"),
        (7380, "2 h 03 min"),
        (float("inf"), "? s"),
    ],
)
def test_progress_line(seconds, text):
    line = writers.progress_line(42_000, 100_000, 1312.44, seconds, 87.25)
    assert (
        line == f" 42.0 % | 42,000 / 100,000 updates | 1,312.4 updates/s | {text} left | score 87.2"
    )


def test_progress_line_before_the_first_evaluation_has_no_score():
    assert writers.progress_line(1, 4, 2.0, 1.5).endswith("2 s left")
