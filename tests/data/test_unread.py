"""Formats that are known and refused with what to do instead."""

import pytest

from edp_jax import data
from edp_jax.types import InputError


@pytest.mark.parametrize(
    ("files", "name", "says"),
    [
        (["1.0.0/features.json", "1.0.0/dataset_info.json"], "", "RLDS and TFDS .* TensorFlow"),
        (["1.0.0/features.json"], "1.0.0", "RLDS and TFDS are not read"),
        (["set-train.tfrecord-00000-of-00002"], "", "RLDS and TFDS are not read"),
        ([], "set-train.tfrecord-00000-of-00002", "RLDS and TFDS are not read"),
        (["state.json", "dataset_info.json", "data-00000.arrow"], "", "HuggingFace's datasets"),
        (["meta/info.json"], "", "name it as lerobot:<folder>"),
        (["data/main_data.hdf5"], "", "minari:<id>"),
        (["anything"], "", "a folder; name a data file"),
        ([], "buffer.pkl", "never unpickled; store one row per step"),
        ([], "BUFFER.PKL", "never unpickled"),
        ([], "plant.csv.gz", "unpack it"),
        ([], "plant.tsv", "store this table as .csv or .parquet"),
        ([], "plant.xlsx", "store this table as .csv or .parquet"),
        ([], "plant.pq", "name a table of this kind .parquet"),
        ([], "observations.npy", "not read; store one row per step"),
        ([], "episode.mp4", "images and videos are not read"),
        (["notes.txt"], "notes.txt", "no kind of file that is read; store one row"),
        ([], "mine.hdf6", "no such task"),
    ],
)
def test_the_line_says_what_to_do(tmp_path, files, name, says):
    for file in files:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    with pytest.raises(InputError, match=says) as error:
        data.find_task(str(tmp_path / name))
    if "such task" not in says:
        assert "\n" not in str(error.value) and len(str(error.value)) <= 300
