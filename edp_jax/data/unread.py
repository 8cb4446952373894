"""Formats that are known and not read: a line for each says what to do instead."""

import os
from collections.abc import Iterable

_STORE = "store one row per step in an .npz, .hdf5 or .csv file (docs/formats.md)"
_RLDS = f"RLDS and TFDS are not read, since they need TensorFlow; {_STORE}"
_FOLDERS = {  # a file that such a folder holds
    "features.json": _RLDS,
    "state.json": "a folder of HuggingFace's datasets, as newer versions of imitation save, is not "
    f"read; {_STORE}",
    os.path.join("meta", "info.json"): "a folder of LeRobot; name it as lerobot:<folder>",
    os.path.join("data", "main_data.hdf5"): "a folder of Minari; name its dataset as minari:<id>",
}
_SUFFIXES = {
    (".pkl", ".pickle", ".pt", ".pth"): f"Python objects are never unpickled; {_STORE}",
    (".npy", ".mat", ".zarr", ".arrow", ".feather", ".json", ".jsonl", ".bag", ".mcap"): (
        f"files of this kind are not read; {_STORE}"
    ),
    (".csv.gz", ".gz", ".zip", ".zst"): "unpack it, and name the file that was in it",
    (".pq", ".parq"): "name a table of this kind .parquet",
    (".tsv", ".xls", ".xlsx", ".ods"): "store this table as .csv or .parquet (docs/formats.md)",
    (".mp4", ".avi", ".png", ".jpg", ".gif"): f"images and videos are not read; {_STORE}",
}


def reason(path: str) -> str | None:
    """Why the file or folder of that path is not read, and what to do; None where it is unknown."""
    path = os.path.expanduser(path)
    if ".tfrecord" in os.path.basename(path):
        return _RLDS
    if os.path.isdir(path):
        return _folder(path)
    other = f"no kind of file that is read; {_STORE}" if os.path.isfile(path) else None
    return next((why for ends, why in _SUFFIXES.items() if path.lower().endswith(ends)), other)


def _folder(path: str) -> str:
    for place in (path, *_subfolders(path)):
        for file, why in _FOLDERS.items():
            if os.path.exists(os.path.join(place, file)):
                return why
        if any(".tfrecord" in name for name in _names(place)):
            return _RLDS
    return "a folder; name a data file"


def _subfolders(path: str) -> Iterable[str]:
    """The folders in a folder: TFDS has one per version."""
    places = (os.path.join(path, name) for name in _names(path))
    return [place for place in places if os.path.isdir(place)]


def _names(path: str) -> list[str]:
    try:
        return sorted(os.listdir(path))
    except OSError:
        return []
