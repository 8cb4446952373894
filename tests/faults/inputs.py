"""Damaged data files: write_<format>(rng, folder) makes one and returns its name."""

import io
import json
import pathlib
import random
import tempfile
import zipfile
from collections.abc import Mapping
from typing import Any

import h5py
import numpy as np

from edp_jax import data
from tests.faults.mutate import mutate_arrays, mutate_bytes

Rng = random.Random
Folder = pathlib.Path


def steps(n: int = 40) -> dict[str, np.ndarray]:
    """Four episodes, one row per step."""
    rng, count = np.random.default_rng(0), np.arange(n)
    return {
        "observations": rng.normal(size=(n, 3)).astype(np.float32),
        "actions": rng.uniform(-1, 1, (n, 2)).astype(np.float32),
        "rewards": rng.normal(size=n).astype(np.float32),
        "terminals": count % 20 == 19,
        "timeouts": count % 20 == 9,
    }


def _flat() -> dict[str, np.ndarray]:
    box = np.array([2.0, 2.0], np.float32)
    return steps() | {
        "action_low": -box,
        "action_high": box,
        "reference_scores": np.array([-9.0, 0.0]),
    }


def _compact() -> dict[str, np.ndarray]:
    table, last = steps(), np.arange(40) % 10 == 9
    del table["timeouts"]
    terminals = last | np.append(last[1:], True)
    return table | {"terminals": terminals, "valids": ~last, "masks": np.arange(40) != 8}


def _neorl() -> dict[str, np.ndarray]:
    table = steps()
    return {
        "obs": table["observations"],
        "next_obs": np.roll(table["observations"], -1, axis=0),
        "action": table["actions"],
        "reward": table["rewards"][:, None],
        "done": table["terminals"][:, None].astype(float),
        "index": np.array([0, 10, 20, 30]),
    }


def _imitation() -> dict[str, np.ndarray]:
    table = steps()
    return {
        "obs": np.random.default_rng(1).normal(size=(44, 3)),
        "acts": table["actions"],
        "rews": table["rewards"],
        "terminal": np.array([True, False, True, False]),
        "indices": np.array([10, 20, 30]),
    }


def _robomimic() -> dict[str, np.ndarray]:
    content: dict[str, Any] = {}
    for demo, rows in enumerate(np.split(np.arange(40), 4)):
        table = {key: value[rows] for key, value in steps().items()}
        place = f"data/demo_{demo}"
        content |= {
            f"{place}/obs/object": table["observations"],
            f"{place}/obs/robot0_eef_pos": table["observations"][:, 0],
            f"{place}/obs/image": np.zeros((10, 2, 2, 3), np.uint8),
            f"{place}/actions": table["actions"],
            f"{place}/rewards": table["rewards"],
            f"{place}/dones": (rows % 10 == 9).astype(int),
        }
    return content


def _d3rlpy() -> dict[str, np.ndarray]:
    content: dict[str, Any] = {"num_episodes": np.int64(4)}
    for episode, rows in enumerate(np.split(np.arange(40), 4)):
        for key in ("observations", "actions"):
            content[f"{key}_{episode}"] = steps()[key][rows]
        content[f"rewards_{episode}"] = steps()["rewards"][rows][:, None]
        content[f"terminated_{episode}"] = np.array(episode % 2)
    return content


def _d3rlpy_1() -> dict[str, np.ndarray]:
    table = steps()
    return {key: table[key] for key in ("observations", "actions", "rewards", "terminals")} | {
        "episode_terminals": np.arange(40) % 10 == 9,
        "discrete_action": np.array(False),
    }


NPZ = (_flat, _compact, _neorl, _imitation)
HDF5 = (_flat, _compact, _robomimic, _d3rlpy, _d3rlpy_1)


def npz_bytes(arrays: Mapping[str, Any], *, compressed: bool = False) -> bytes:
    content = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(content, **arrays)
    return content.getvalue()


def write_npz(rng: Rng, folder: Folder) -> str:
    """Bytes of the archive, of one of its arrays in a sound archive, or the arrays are damaged."""
    arrays, how = rng.choice(NPZ)(), rng.randrange(3)
    if how == 0:
        content = mutate_bytes(rng, npz_bytes(arrays, compressed=rng.random() < 0.5))
    elif how == 1:
        content = npz_bytes(mutate_arrays(rng, arrays))
    else:
        content = _damaged_member(rng, npz_bytes(arrays))
    return write(folder / "a.npz", content)


def _damaged_member(rng: Rng, content: bytes) -> bytes:
    """An archive whose checksums agree, of arrays of which one is damaged."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as whole, zipfile.ZipFile(out, "w") as damaged:
        chosen = rng.choice(whole.namelist())
        for name in whole.namelist():
            member = whole.read(name)
            if name == chosen:
                header = 10 + int.from_bytes(member[8:10], "little")
                part = rng.choice((header, len(member)))
                member = mutate_bytes(rng, member[:part]) + member[part:]
            damaged.writestr(name, member)
    return out.getvalue()


def hdf5_bytes(rng: Rng, arrays: Mapping[str, Any]) -> bytes:
    """In one of the ways in which HDF5 stores arrays."""
    options: dict[str, Any] = {"chunks": True, "compression": "gzip", "shuffle": rng.random() < 0.5}
    options = options if rng.random() < 0.5 else {}
    content = io.BytesIO()
    with h5py.File(content, "w", libver=rng.choice(("earliest", "latest"))) as file:
        for name, value in arrays.items():
            value = np.asarray(value)
            value = value.astype("S") if value.dtype.kind == "U" else value
            try:
                file.create_dataset(name, data=value, **(options if value.size > 1 else {}))
            except (ValueError, TypeError, OSError):  # a name is a group and an array
                continue
    return content.getvalue()


def write_hdf5(rng: Rng, folder: Folder) -> str:
    """Bytes of a file, mostly those that are no numbers, or its arrays are damaged."""
    arrays = rng.choice(HDF5)()
    if rng.random() < 0.3:
        return write(folder / "a.hdf5", hdf5_bytes(rng, mutate_arrays(rng, arrays)))
    content = hdf5_bytes(rng, arrays)
    if rng.random() < 0.7:
        return write(folder / "a.hdf5", _damaged_structure(rng, content, arrays))
    return write(folder / "a.hdf5", mutate_bytes(rng, content))


def _damaged_structure(rng: Rng, content: bytes, arrays: Mapping[str, Any]) -> bytes:
    """One to three bytes changed that belong to no array: headers, trees, heaps."""
    numbers = np.zeros(len(content), bool)
    for value in arrays.values():
        raw = np.ascontiguousarray(value).tobytes()
        if len(raw) > 8 and (at := content.find(raw)) >= 0:
            numbers[at : at + len(raw)] = True
    places, damaged = np.flatnonzero(~numbers), bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        at = int(places[rng.randrange(len(places))])
        damaged[at] = rng.choice((damaged[at] ^ (1 << rng.randrange(8)), 0, 1, 0x7F, 0x80, 0xFF))
    return bytes(damaged)


def read_data(name: str) -> None:
    """Reads a dataset up to the rows that a learner sees; these must be finite."""
    folder = tempfile.gettempdir()
    task = data.find_task(name)
    raw, info = data.load(task, folder, lambda line: None, data.storage_near(folder))
    data.describe(info["summary"])
    json.dumps(info)
    options = data.Preprocessing(normalize_observations=True)
    prepared = data.prepare(task, raw, info, options, progress=lambda line: None)
    assert np.isfinite(prepared.rows).all()


def _table() -> dict[str, list]:
    rows = steps(20)
    return {
        "episode": [f"e{row // 5}" for row in range(20)],
        "step": list(range(20)),
        **{f"observation_{i}": rows["observations"][:, i].tolist() for i in range(3)},
        **{f"action_{i}": rows["actions"][:, i].tolist() for i in range(2)},
        "reward": rows["rewards"].tolist(),
        "terminal": [int(row % 10 == 9) for row in range(20)],
    }


def write_csv(rng: Rng, folder: Folder) -> str:
    table = _table()
    lines = [
        ",".join(table),
        *(",".join(map(str, row)) for row in zip(*table.values(), strict=True)),
    ]
    return write(folder / "a.csv", mutate_bytes(rng, "\n".join(lines).encode()))


def write_parquet(rng: Rng, folder: Folder) -> str:
    import pyarrow
    from pyarrow import parquet

    content = io.BytesIO()
    parquet.write_table(pyarrow.table(_table()), content)
    return write(folder / "a.parquet", mutate_bytes(rng, content.getvalue()))


def write(path: Folder, content: bytes) -> str:
    path.write_bytes(content)
    return str(path)
