"""The registry of formats: another one is a reader in its place."""

import dataclasses
import sys

import numpy as np
import pytest

from edp_jax import data
from edp_jax.data.reader import Reader, Request
from edp_jax.types import InputError


@pytest.mark.parametrize(
    ("name", "reader"),
    [
        ("builtin/hopper-medium", "builtin"),
        ("hopper-medium-v2", "d4rl"),
        ("minari:D4RL/door/human-v2", "minari"),
        ("legacy:hopper-medium-v2", "legacy"),
        ("some/where/mine.hdf5", "hdf5"),
        ("minari/mine.npz", "npz"),
        ("Mine.NPZ", "npz"),
        ("Mine.H5", "hdf5"),
    ],
)
def test_each_name_is_of_one_format(name, reader):
    assert data.find_task(name).reader == reader
    found = {key for key, entry in data.READERS.items() if entry.find(name) is not None}
    assert found == {reader}


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("mine.hdf5", "'.*mine.hdf5': there is no such file; check the path"),
        ("mine.npz", "'.*mine.npz': there is no such file; check the path"),
        ("mine.csv", "'.*mine.csv': (there is no such file|No module named 'pyarrow')"),
        ("lerobot:mine", "LeRobot folder .* no meta/info.json|No module named 'pyarrow'"),
    ],
)
def test_a_file_that_is_not_there_is_refused_without_reading(tmp_path, monkeypatch, name, says):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(
        data.READERS,
        (task := data.find_task(name)).reader,
        dataclasses.replace(data.READERS[task.reader], read=lambda request: pytest.fail("read")),
    )
    with pytest.raises(InputError, match=says):
        data.check_there(task, str(tmp_path))


@pytest.mark.parametrize(
    ("package", "name"),
    [
        ("pyarrow", "mine.parquet"),
        ("pyarrow", "lerobot:mine"),
        ("minari", "minari:door/human-v2"),
        ("ogbench", "ogbench:cube-single-play-singletask-v0"),
        ("d4rl", "legacy:hopper-medium-v2"),
    ],
)
def test_a_package_that_is_not_there_is_refused_without_reading(monkeypatch, package, name):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=f"{package}.*; pip install -e '."):
        data.check_there(data.find_task(name), "/no/such")


def test_what_can_be_made_or_downloaded_counts_as_there():
    for name in ("hopper-medium-v2", "builtin/hopper-medium"):
        assert data.check_there(data.find_task(name), "/no/such") is None
    with pytest.raises(InputError, match="filter_key='train' changes nothing: the format of"):
        data.check_there(
            data.find_task("hopper-medium-v2"), "/no/such", data.Layout(filter_key="train")
        )


def test_another_format_is_one_entry(monkeypatch, tmp_path):
    """A format whose names say how many steps of zeros there are."""

    def find(name: str) -> data.Task | None:
        return data.Task(name, "custom", "zeros") if name.startswith("zeros:") else None

    def read(request: Request) -> tuple[data.RawDataset, str | None]:
        request.progress(f"making {request.task.name} in {request.data_dir}")
        steps = int(request.task.name.removeprefix("zeros:"))
        zeros, never = np.zeros((steps, 1), np.float32), np.zeros(steps, bool)
        return data.RawDataset(zeros, zeros, zeros[:, 0], never, never), None

    reader = Reader("zeros", "zeros:<steps>", find, read)
    monkeypatch.setitem(data.READERS, "zeros", reader)
    lines = []
    dataset = data.load_dataset("zeros:5", data_dir=str(tmp_path), progress=lines.append)
    assert dataset.size == 4 and dataset.info["path"] is None
    assert lines[0] == f"making zeros:5 in {tmp_path}" and "actions: box -1 to 1" in lines[-1]
    assert data.find_file(data.find_task("zeros:5"), str(tmp_path)) is None
    with pytest.raises(InputError, match="'ones:5': no such task; use .*, or another name"):
        data.find_task("ones:5")
