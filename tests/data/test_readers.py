"""The registry of formats: another one is a reader in its place."""

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
