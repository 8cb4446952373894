"""JSON files, whole or not at all."""

import errno
import json
import os
import resource

import numpy as np
import pytest

from edp_jax import InputError, files


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


def test_what_cannot_be_written_is_one_line_with_path_and_remedy(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="gone.a.json: cannot be written .*bring its folder back"):
        files.write_json(tmp_path / "gone" / "a.json", {})

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "a.json").write_text("before")
    monkeypatch.setattr(files.os, "replace", full)
    with pytest.raises(InputError, match="a.json: cannot be written .No space .*; make room"):
        files.write_json(tmp_path / "a.json", {})
    assert (tmp_path / "a.json").read_text() == "before" and len(list(tmp_path.iterdir())) == 1


def test_a_limit_on_the_size_of_files_is_one_line(tmp_path):
    """In a child, since the limit stays."""
    child = os.fork()
    if child == 0:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, resource.RLIM_INFINITY))
        try:
            files.write_bytes(tmp_path / "a", bytes(100))
        except InputError as error:
            os._exit("ulimit -f" in str(error))
        os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
    assert list(tmp_path.iterdir()) == []
