"""JSON files, whole or not at all."""

import errno
import io
import json
import os
import resource
import zipfile

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
    with pytest.raises(InputError, match="gone.a.json: cannot be written .*make its folder"):
        files.write_json(tmp_path / "gone" / "a.json", {})

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "a.json").write_text("before")
    monkeypatch.setattr(files.os, "replace", full)
    with pytest.raises(InputError, match="a.json: cannot be written .No space .*; make room"):
        files.write_json(tmp_path / "a.json", {})
    assert (tmp_path / "a.json").read_text() == "before" and len(list(tmp_path.iterdir())) == 1


def test_a_file_that_could_not_be_written_is_told_before(tmp_path):
    files.check_writable(tmp_path / "a.csv")
    assert not list(tmp_path.iterdir())
    for path, says in ((tmp_path / "gone" / "a", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(InputError, match=f"{path}: cannot be written .{says}"):
            files.check_writable(path)


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


def test_what_killed_processes_left_is_deleted(tmp_path):
    names = ["summary.json.123.tmp", "params.npz.9.tmp", "a.tmp", "1.tmp", "summary.json"]
    for name in names:
        (tmp_path / name).write_text("")
    (tmp_path / "folder.1.tmp").mkdir()
    os.utime(tmp_path / names[0], (0, 0))
    files.remove_leftovers(tmp_path, older_than=3600)
    assert sorted(os.listdir(tmp_path)) == sorted(["folder.1.tmp", *names[1:]])
    files.remove_leftovers(tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["1.tmp", "a.tmp", "folder.1.tmp", "summary.json"]
    files.remove_leftovers(tmp_path / "nowhere")


def test_json_that_is_nested_too_deeply_is_an_ordinary_error(tmp_path):
    (tmp_path / "a.json").write_text("[" * 100_000)
    with pytest.raises(ValueError, match="nested too deeply"):
        files.read_json(tmp_path / "a.json")


def archive(path, content: bytes, *, claimed: int | None = None) -> np.lib.npyio.NpzFile:
    """An .npz file with an array `a`; its directory claims a size."""
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a.npy", content)
    if claimed is not None:
        raw = path.read_bytes()
        size = len(content).to_bytes(4, "little")
        path.write_bytes(raw.replace(size, claimed.to_bytes(4, "little")))
    return np.load(path, allow_pickle=False)


def header(shape: tuple, dtype: str = "<f4") -> bytes:
    out = io.BytesIO()
    described = {"descr": dtype, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(out, described)
    return out.getvalue()


def test_an_array_is_read_where_its_header_and_the_file_agree(tmp_path):
    with archive(tmp_path / "a.npz", header((2,)) + b"\0\0\x80\x3f" * 2) as file:
        np.testing.assert_array_equal(files.read_array(file, "a"), [1, 1])


@pytest.mark.parametrize("shape", [(10**12, 3), (3,), (1,), (2**40, 2**40)])
def test_what_a_header_claims_is_compared_before_memory_is_taken(tmp_path, monkeypatch, shape):
    monkeypatch.setattr(np, "ndarray", None)  # what numpy would take it by
    with archive(tmp_path / "a.npz", header(shape) + bytes(8)) as file:
        with pytest.raises(ValueError, match="shape .* of float32 in 136 bytes"):
            files.read_array(file, "a")


def test_what_the_directory_of_an_archive_claims_is_compared_too(tmp_path):
    content = header((2**28,)) + bytes(8)
    with archive(tmp_path / "a.npz", content, claimed=2**30 + 128) as file:
        with pytest.raises(ValueError, match="bytes in"):
            files.read_array(file, "a")
