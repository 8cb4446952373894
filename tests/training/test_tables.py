"""The tables of a run."""

import csv

import numpy as np
import pytest

from edp_jax.training import tables
from edp_jax.training.evaluator import Evaluation
from edp_jax.training.members import grid
from edp_jax.types import InputError


def test_metric_rows_have_one_row_per_member():
    metrics = {"critic/loss": np.array([0.5, 1.5]), "critic/q_mean": np.array([2.0, 4.0])}
    assert tables.metric_rows(10, grid((3, 5)), metrics) == [
        {"step": 10, "seed": 3, "critic/loss": 0.5, "critic/q_mean": 2.0},
        {"step": 10, "seed": 5, "critic/loss": 1.5, "critic/q_mean": 4.0},
    ]


def test_evaluation_rows_have_one_row_per_member_and_episode():
    returns, lengths = np.array([[1.0, 2.0]]), np.array([[7, 8]])
    members = grid((3,))
    rows = tables.evaluation_rows(10, members, Evaluation(returns, lengths, 10 * returns))
    assert rows == [
        {"step": 10, "seed": 3, "episode": 0, "return": 1.0, "length": 7, "score": 10.0},
        {"step": 10, "seed": 3, "episode": 1, "return": 2.0, "length": 8, "score": 20.0},
    ]
    rows = tables.evaluation_rows(10, members, Evaluation(returns, lengths, None))
    assert [row["score"] for row in rows] == [None, None]


def test_table_is_plain_csv_with_the_columns_of_the_first_row(tmp_path):
    path = tmp_path / "metrics.csv"
    table = tables.CsvTable(str(path))
    table.append([{"step": 1, "seed": 0, "loss": np.float32(0.1), "score": None}])
    table.append([{"step": 2, "loss": np.float64(1 / 3), "seed": 0, "score": 1e-20}])
    assert path.read_text() == "step,seed,loss,score\n1,0,0.1,\n2,0,0.3333333333333333,1e-20\n"


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_floats_read_back_to_the_same_value(tmp_path, dtype):
    sizes = dtype(10.0) ** np.arange(-20, 30, 0.5).astype(dtype)
    values = np.random.default_rng(0).normal(size=100).astype(dtype) * sizes
    path = tmp_path / "metrics.csv"
    rows = tables.metric_rows(1, grid(range(100)), {"loss": values})
    tables.CsvTable(str(path)).append(rows)
    with open(path, newline="") as file:
        read = np.array([row["loss"] for row in csv.DictReader(file)]).astype(dtype)
    np.testing.assert_array_equal(read, values)


def test_reopened_table_goes_on_without_a_second_header(tmp_path):
    path = tmp_path / "metrics.csv"
    tables.CsvTable(str(path)).append([{"step": 1, "seed": 0}])
    tables.CsvTable(str(path)).append([{"step": 2, "seed": 0}])
    assert path.read_text() == "step,seed\n1,0\n2,0\n"


def test_other_columns_are_refused_and_nothing_is_written(tmp_path):
    path = tmp_path / "metrics.csv"
    table = tables.CsvTable(str(path))
    table.append([{"step": 1, "seed": 0, "loss": 1.0}])
    with pytest.raises(InputError, match="metrics.csv.*differ.*loss, other; use a new --workdir"):
        table.append([{"step": 2, "seed": 0, "loss": 1.0}, {"step": 2, "seed": 0, "other": 1.0}])
    assert path.read_text() == "step,seed,loss\n1,0,1.0\n"


def test_interrupted_and_resumed_table_equals_the_uninterrupted_one(tmp_path):
    def write(path, steps) -> None:
        table = tables.CsvTable(str(path))
        for step in steps:
            loss = np.sin([step, step + 0.5]).astype(np.float32)
            table.append(tables.metric_rows(step, grid((0, 1)), {"loss": loss}))

    whole, resumed = tmp_path / "whole.csv", tmp_path / "resumed.csv"
    write(whole, range(10, 101, 10))
    write(resumed, range(10, 71, 10))
    with open(resumed, "a") as file:
        file.write("80,0,0.12")
    tables.truncate(str(resumed), 45)
    kept = whole.read_text().splitlines()[: 1 + 2 * 4]
    assert resumed.read_text() == "".join(line + "\n" for line in kept)
    write(resumed, range(50, 101, 10))
    assert resumed.read_bytes() == whole.read_bytes()


def test_without_a_row_a_whole_header_or_a_table_there_is_none(tmp_path):
    path = tmp_path / "metrics.csv"
    tables.truncate(str(path), 10)
    for content in ("step,se", "step,seed\n", "step,seed\n11,0\n"):
        path.write_text(content)
        tables.truncate(str(path), 10)
        assert not path.exists()


@pytest.mark.parametrize(
    "damage",
    [b"\n", b"\0\0\0\0\n", b"\xff\xfe,3,1.0\n", b"5,0\n", b"step,seed,loss\n", b"6,0,1.0\0\n"],
)
def test_damaged_lines_are_dropped_and_told(tmp_path, capsys, damage):
    path = tmp_path / "metrics.csv"
    path.write_bytes(b"step,seed,loss\n5,0,1.0\n" + damage + b"6,0,nan\n7,0,2.0\n8,0,")
    tables.truncate(str(path), 6)
    assert path.read_bytes() == b"step,seed,loss\n5,0,1.0\n6,0,nan\n"
    assert f"{path}: 1 damaged line(s) dropped" in capsys.readouterr().out


def test_a_byte_order_mark_and_ends_of_lines_of_other_systems_do_not_matter(tmp_path):
    path = tmp_path / "evaluations.csv"
    path.write_bytes(b"\xef\xbb\xbfstep,seed,score\r\n5,0,\r\n")
    tables.truncate(str(path), 5)
    tables.CsvTable(str(path)).append([{"step": 6, "seed": 0, "score": None}])
    assert path.read_bytes() == b"step,seed,score\n5,0,\n6,0,\n"


def test_a_file_that_is_no_table_is_refused(tmp_path):
    (tmp_path / "metrics.csv").write_text("seed;loss\n0;1.0\n")
    with pytest.raises(InputError, match="its first line is not that of a table"):
        tables.truncate(str(tmp_path / "metrics.csv"), 5)


def test_a_row_that_is_there_twice_counts_once(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text("step,seed\n1,0\n2,0\n1,0\n2,0\n")
    tables.truncate(str(path), 2)
    assert path.read_text() == "step,seed\n1,0\n2,0\n"


@pytest.fixture
def written(tmp_path):
    """A table of two members at the steps 1 and 2, what was noted then, and one more step."""
    path = tmp_path / "metrics.csv"
    table = tables.CsvTable(str(path))
    for step in (1, 2):
        table.append(tables.metric_rows(step, grid((0, 1)), {"loss": np.array([0.5, step])}))
    saved = table.rows_so_far
    table.append(tables.metric_rows(3, grid((0, 1)), {"loss": np.zeros(2)}))
    return path, saved


def test_a_table_is_as_it_was_noted_whatever_follows(written):
    path, saved = written
    assert saved["rows"] == 4 and tables.find_difference(str(path), 2, saved) is None
    assert tables.CsvTable(str(path)).rows_so_far["rows"] == 6
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:3] + lines[1:]).replace("\n", "\r\n"))  # the same rows
    assert tables.find_difference(str(path), 2, saved) is None
    tables.truncate(str(path), 2)
    assert tables.CsvTable(str(path)).rows_so_far == saved


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda lines: lines[:1] + lines[2:], "has 3 of its 4 rows up to update 2"),
        (lambda lines: [], "has 0 of its 4 rows up to update 2"),
        (lambda lines: lines[:2] + ["\0" * 9], "has 1 of its 4 rows up to update 2"),
        (lambda lines: [*lines[:2], "1,1,1.5\n", *lines[3:]], "has other rows up to update 2"),
        (lambda lines: [*lines, "2,1,9.0\n"], "has 5 of its 4 rows up to update 2"),
        (lambda lines: ["seed;loss\n"], "not that of a table"),
    ],
)
def test_rows_that_are_lost_altered_or_added_are_found(written, change, says):
    path, saved = written
    path.write_text("".join(change(path.read_text().splitlines(keepends=True))))
    assert says in tables.find_difference(str(path), 2, saved)


def test_a_table_that_is_changed_while_a_run_writes_to_it_is_refused(tmp_path):
    path = tmp_path / "metrics.csv"
    table = tables.CsvTable(str(path))
    table.append([{"step": 1, "seed": 0}])
    path.unlink()
    with pytest.raises(InputError, match="something else has changed it"):
        table.append([{"step": 2, "seed": 0}])
    assert table.rows_so_far["rows"] == 1


def test_a_folder_that_is_gone_is_told_in_one_line(tmp_path):
    table = tables.CsvTable(str(tmp_path / "gone" / "metrics.csv"))
    with pytest.raises(InputError, match="cannot be written .*; make its folder"):
        table.append([{"step": 1, "seed": 0}])
