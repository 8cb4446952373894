"""A user's own .npz file: what is read, and what is refused."""

import os
import zipfile

import numpy as np
import pytest

from edp_jax.data.npz import read_npz
from edp_jax.types import InputError

ARRAYS = {
    "observations": np.arange(12).reshape(6, 2),  # integers
    "actions": np.linspace(-2, 2, 6)[:, None],  # float64
    "rewards": np.ones((6, 1)),
    "terminals": np.array([0, 0, 1, 0, 0, 0]),
    "timeouts": np.array([0, 0, 0, 0, 0, 1], bool),
}


def store(folder, content) -> str:
    path = str(folder / "mine.npz")
    np.savez(path, **content)
    return path


def message_of(path) -> str:
    with open(path, "rb") as file:
        before = file.read()
    with pytest.raises(InputError) as error:
        read_npz(path)
    with open(path, "rb") as file:
        assert file.read() == before
    message = str(error.value)
    assert "\n" not in message and path in message and ";" in message
    assert os.listdir(os.path.dirname(path)) == [os.path.basename(path)]
    return message


def test_arrays_of_any_width_are_converted(tmp_path):
    raw = read_npz(store(tmp_path, ARRAYS))
    assert {raw.observations.dtype, raw.actions.dtype, raw.rewards.dtype} == {np.dtype(np.float32)}
    assert raw.rewards.shape == (6,) and {raw.terminals.dtype, raw.timeouts.dtype} == {
        np.dtype(bool)
    }
    np.testing.assert_array_equal(raw.observations, ARRAYS["observations"])
    np.testing.assert_allclose(raw.actions, ARRAYS["actions"], rtol=1e-6)
    np.testing.assert_array_equal(raw.terminals, [0, 0, 1, 0, 0, 0])


def test_synonyms(tmp_path):
    names = {"obs": "observations", "action": "actions", "reward": "rewards", "done": "terminals"}
    content = {name: ARRAYS[key] for name, key in names.items()} | {
        "next_obs": ARRAYS["observations"] + 2
    }
    raw = read_npz(store(tmp_path, content))
    np.testing.assert_array_equal(raw.next_observations, ARRAYS["observations"] + 2)
    np.testing.assert_array_equal(
        raw.timeouts, ARRAYS["timeouts"]
    )  # each next row follows, up to the last


def test_python_objects_are_refused_and_never_unpickled(tmp_path):
    class Trap:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "unpickled"),))

    content = ARRAYS | {"rewards": np.array([Trap()] * 6, object)}
    assert "'rewards' holds Python objects, which are never unpickled" in message_of(
        store(tmp_path, content)
    )


@pytest.mark.parametrize("part", [0.1, 0.5, 0.95])
def test_a_truncated_file(tmp_path, part):
    path = store(tmp_path, ARRAYS)
    os.truncate(path, int(part * os.path.getsize(path)))
    assert "not a complete .npz file" in message_of(path)


def test_a_damaged_file(tmp_path):
    path = store(tmp_path, ARRAYS)
    with open(path, "r+b") as file:
        content = file.read()
        file.seek(content.index(ARRAYS["actions"].tobytes()))
        file.write(b"\x00" * 8)
    assert "damaged (Bad CRC-32" in message_of(path)


def test_a_file_of_another_kind(tmp_path):
    path = tmp_path / "mine.npz"
    path.write_text("observations,actions\n")
    assert "not a complete .npz file (21 bytes)" in message_of(str(path))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"actions": None}, "no key 'actions'"),
        ({"timeouts": None}, "nothing tells which steps were the last before a time limit"),
        ({"actions": np.zeros((5, 1))}, "unequal length (observations 6, actions 5,"),
        (
            {"rewards": np.array([0, 1, np.nan, 3, np.inf, 5])},
            "'rewards' holds 2 values that are NaN or infinite in float32, the first in row 2",
        ),
        ({"observations": np.full((6, 2), 1e300)}, "'observations' holds 12 values"),
        ({"observations": np.full((6, 2), "a")}, "dtype <U1, not numbers"),
        ({key: value[:1] for key, value in ARRAYS.items()}, "1 transitions, at least 2"),
        ({key: value[:0] for key, value in ARRAYS.items()}, "0 transitions, at least 2"),
    ],
)
def test_content_of_no_use_is_refused(tmp_path, changes, says):
    content = {key: value for key, value in (ARRAYS | changes).items() if value is not None}
    assert says in message_of(store(tmp_path, content))


def test_a_missing_file(tmp_path):
    with pytest.raises(InputError, match="there is no such file"):
        read_npz(str(tmp_path / "none.npz"))


def test_a_long_path_leaves_a_line_that_can_be_read(tmp_path):
    folder = tmp_path / ("a" * 120) / ("b" * 120)
    folder.mkdir(parents=True)
    path = store(folder, ARRAYS | {"actions": np.full((6, 1), np.nan)})
    with pytest.raises(InputError) as error:
        read_npz(path)
    assert "mine.npz" in str(error.value) and len(str(error.value)) <= 300


def test_two_arrays_of_one_name_are_refused(tmp_path):
    path = store(tmp_path, ARRAYS)
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(path, "a") as file:
        file.writestr("rewards.npy", file.read("rewards.npy"))
    assert "two arrays are named 'rewards'; store each under its own name" in message_of(path)


@pytest.mark.parametrize(
    ("name", "content"),
    [("rewards", b"no array"), ("rewards.npy", b"\x93NUMPY\x01\x00\x0a\x00{'descr': (")],
)
def test_what_is_no_array_is_called_damaged(tmp_path, name, content):
    path = store(tmp_path, {key: value for key, value in ARRAYS.items() if key != "rewards"})
    with zipfile.ZipFile(path, "a") as file:
        file.writestr(name, content)
    assert "damaged" in message_of(path)
