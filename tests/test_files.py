"""JSON files, whole or not at all."""

import json

import numpy as np
import pytest

from edp_jax import files


def test_json_holds_numpy_values_and_no_nan(tmp_path):
    path = tmp_path / "summary.json"
    value = {
        "a": np.float32(0.5),
        "b": np.array([[1, 2]]),
        "c": (float("nan"), np.inf),
        "d": np.bool_(True),
    }
    files.write_json(str(path), value)
    assert json.loads(path.read_text()) == {"a": 0.5, "b": [[1, 2]], "c": [None, None], "d": True}
    assert [entry.name for entry in tmp_path.iterdir()] == ["summary.json"]


def test_json_that_cannot_be_written_leaves_the_old_file(tmp_path):
    path = tmp_path / "summary.json"
    path.write_text("old")
    with pytest.raises(TypeError):
        files.write_json(str(path), {"a": object()})
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["summary.json"]
