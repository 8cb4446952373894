"""Data larger than the memory: prepared on disk, with the numbers they would have in memory."""

import mmap
import os
import pathlib
import subprocess
import sys

import h5py
import numpy as np
import pytest

from edp_jax import data
from edp_jax.data import storage
from edp_jax.types import InputError

ROOT = pathlib.Path(__file__).parents[2]
OPTIONS = dict(normalize_observations=True, reward_transform="iql_locomotion", return_weighting=0.5)

SCRIPT = """
import resource
import sys
from edp_jax import data
from edp_jax.data import storage

path, folder, room = sys.argv[1], sys.argv[2], int(sys.argv[3])
task = data.find_task(path)
options = data.Preprocessing(normalize_observations=True, n_step=3, return_weighting=0.5)
with open("/proc/self/status") as file:
    used = next(1024 * int(line.split()[1]) for line in file if line.startswith("VmData:"))
resource.setrlimit(resource.RLIMIT_DATA, (used + room, used + room))
for place in (storage.storage_near(folder, always=True), storage.MEMORY):
    try:
        raw, info = data.load(task, folder, storage=place)
        dataset = data.prepare(task, raw, info, options, storage=place)
        print(dataset.size, dataset.transitions.observation[:1000].std().round(1))
    except MemoryError:
        print("MemoryError")
"""


def write(path, rows: int, observation_dim: int, action_dim: int) -> None:
    """Random numbers in episodes of at most 70 steps, in ten parts; no next observations."""
    rng = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        for name, columns in (("observations", observation_dim), ("actions", action_dim)):
            array = file.create_dataset(name, (rows, columns), np.float32)
            for part in np.array_split(np.arange(rows), 10):
                array[part[0] : part[-1] + 1] = rng.uniform(-1, 1, (len(part), columns))
        file["rewards"] = rng.normal(size=rows).astype(np.float32)
        file["terminals"] = np.arange(rows) % 100 == 99
        file["timeouts"] = np.arange(rows) % 70 == 69


def test_a_file_larger_than_the_memory_is_prepared_on_disk(tmp_path):
    """100 MB with room for 50 MB: on disk it can be done, in memory it cannot."""
    write(tmp_path / "large.hdf5", 100_000, 200, 50)
    assert os.path.getsize(tmp_path / "large.hdf5") > 100e6
    command = [
        sys.executable,
        "-c",
        SCRIPT,
        str(tmp_path / "large.hdf5"),
        str(tmp_path),
        str(50_000_000),
    ]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert [line for line in result.stdout.splitlines() if "box" not in line] == [
        "98714 1.0",
        "MemoryError",
    ], result.stderr  # 1286 rows are timeouts and no terminals
    assert os.listdir(tmp_path) == ["large.hdf5"]


@pytest.mark.parametrize("window", ["n_step", "horizon"])
@pytest.mark.parametrize("following", [False, True])
@pytest.mark.parametrize("block_bytes", [1, 500])
def test_blocks_and_disk_change_no_number(tmp_path, monkeypatch, following, block_bytes, window):
    """Blocks of one row, and of some, against one block for all; on disk and in memory."""
    write(tmp_path / "a.hdf5", 400, 3, 2)
    with h5py.File(tmp_path / "a.hdf5", "a") as file:
        if following:
            del file["timeouts"]  # told by the jumps
            after = np.roll(file["observations"][:], -1, axis=0)
            after[69::70] = np.random.default_rng(1).normal(size=after[69::70].shape)
            file["next_observations"] = after
    task = data.find_task(str(tmp_path / "a.hdf5"))

    def prepared(place: data.Storage) -> data.Dataset:
        raw, info = data.load(task, "", storage=place)
        options = data.Preprocessing(**OPTIONS, **{window: 3})
        return data.prepare(task, raw, info, options, storage=place)

    whole = prepared(storage.MEMORY)
    monkeypatch.setattr(storage, "BLOCK_BYTES", block_bytes)
    in_memory, on_disk = prepared(storage.MEMORY), prepared(data.Storage(str(tmp_path), 0))
    np.testing.assert_array_equal(on_disk.rows, in_memory.rows)
    # the sums of the statistics are rounded in another way
    np.testing.assert_allclose(in_memory.rows, whole.rows, rtol=1e-6, atol=1e-6)
    assert on_disk.info == whole.info
    np.testing.assert_array_equal(on_disk.weights, whole.weights)


def test_rows_lie_in_files_without_a_name(tmp_path):
    write(tmp_path / "a.hdf5", 200, 3, 2)
    task, place = data.find_task(str(tmp_path / "a.hdf5")), data.Storage(str(tmp_path), 0)
    options = data.Preprocessing(**OPTIONS)
    dataset = data.prepare(task, *data.load(task, ""), options, storage=place)
    assert isinstance(dataset.rows.base, mmap.mmap)
    assert os.listdir(tmp_path) == ["a.hdf5"]


def test_n_step_transitions_end_with_the_last_observation_of_their_window(monkeypatch):
    """An episode of 4 and one of 2, n = 3, one row after another."""
    monkeypatch.setattr(storage, "BLOCK_BYTES", 1)
    rows = np.arange(6, dtype=np.float32)[:, None]
    raw = data.RawDataset(
        rows, 0 * rows, rows[:, 0], rows[:, 0] == 3, rows[:, 0] == 5, next_observations=rows + 1
    )
    task = data.find_task("hopper-medium-v2")
    transitions = data.prepare(
        task, raw, {}, data.Preprocessing(n_step=3, discount=0.5)
    ).transitions
    np.testing.assert_array_equal(transitions.next_observation[:, 0], [3, 4, 4, 4, 6, 6])
    np.testing.assert_array_equal(transitions.observation, rows)
    np.testing.assert_allclose(
        transitions.reward, [0 + 0.5 + 0.5, 1 + 1 + 0.75, 2 + 1.5, 3, 4 + 2.5, 5]
    )
    np.testing.assert_allclose(transitions.discount, [0.25, 0, 0, 0, 0.5, 1])


def test_only_large_arrays_go_to_disk(tmp_path):
    place = data.Storage(str(tmp_path), 100)
    assert place.empty((25,)).base is None and place.empty((13, 2)).base is not None
    assert place.empty((0, 2)).shape == (0, 2) and data.Storage(str(tmp_path), 0).empty(
        (0, 2)
    ).shape == (0, 2)


def test_entries_are_counted_and_the_first_is_found(monkeypatch):
    monkeypatch.setattr(storage, "BLOCK_BYTES", 1)
    array = np.array([[0, 0], [0, 2], [3, 4]])
    assert storage.count_where(lambda x: x > 1, array) == (3, (1, 1))
    assert storage.count_where(lambda x: x > 5, array) == (0, None)


def test_a_disk_without_room_is_refused(tmp_path):
    with pytest.raises(InputError, match="no room for 4e[+]09 GB .*free some space") as error:
        data.Storage(str(tmp_path), 0).empty((10**18,))
    assert "\n" not in str(error.value)


def test_storage_lies_in_the_nearest_folder_that_is_there(tmp_path, monkeypatch):
    assert data.storage_near(str(tmp_path / "a" / "b"), always=True) == data.Storage(
        str(tmp_path), 0
    )
    monkeypatch.setattr(storage, "free_memory", lambda: 1000.0)
    assert data.storage_near(str(tmp_path)) == data.Storage(str(tmp_path), 50.0)
    monkeypatch.undo()
    assert 10**7 < storage.free_memory() < 10**14
