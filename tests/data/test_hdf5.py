"""Reading, checking and writing D4RL's HDF5 layout."""

import os
import subprocess
import sys
import zlib

import h5py
import numpy as np
import pytest

from edp_jax.data.hdf5 import check_contained, read_hdf5, write_hdf5
from edp_jax.data.raw import RawDataset
from edp_jax.types import InputError


def arrays(steps: int = 6) -> dict[str, np.ndarray]:
    return {
        "observations": np.arange(steps * 3, dtype=np.float32).reshape(steps, 3),
        "actions": np.linspace(-1.0, 1.0, steps * 2, dtype=np.float32).reshape(steps, 2),
        "rewards": np.arange(steps, dtype=np.float32),
        "terminals": np.arange(steps) == 2,
        "timeouts": np.arange(steps) == steps - 1,
    }


def store(path, content: dict) -> str:
    with h5py.File(path, "w") as file:
        for key, value in content.items():
            file.create_dataset(key, data=value)
    return str(path)


def message_of(path) -> str:
    with pytest.raises(InputError) as error:
        read_hdf5(path)
    message = str(error.value)
    assert "\n" not in message and str(path) in message and ";" in message
    return message


def test_reads_what_the_file_holds(tmp_path):
    content = arrays()
    raw = read_hdf5(store(tmp_path / "a.hdf5", content))
    for key, value in content.items():
        np.testing.assert_array_equal(getattr(raw, key), value)
    assert raw.next_observations is None


def test_next_observations_are_read(tmp_path):
    content = arrays() | {"next_observations": np.ones((6, 3), np.float32)}
    np.testing.assert_array_equal(
        read_hdf5(store(tmp_path / "a.hdf5", content)).next_observations, np.ones((6, 3))
    )


def test_other_widths_become_float32_and_flags_become_bool(tmp_path):
    content = arrays()
    content["observations"] = content["observations"].astype(np.float64)
    content["actions"] = np.zeros((6, 2), np.int8)
    content["rewards"] = content["rewards"].astype(np.int64)
    content["terminals"] = content["terminals"].astype(np.float32)
    content["timeouts"] = content["timeouts"].astype(np.uint8)
    raw = read_hdf5(store(tmp_path / "a.hdf5", content))
    assert {raw.observations.dtype, raw.actions.dtype, raw.rewards.dtype} == {np.dtype(np.float32)}
    assert {raw.terminals.dtype, raw.timeouts.dtype} == {np.dtype(bool)}
    np.testing.assert_array_equal(raw.terminals, [0, 0, 1, 0, 0, 0])


def test_column_vectors_are_flattened(tmp_path):
    content = arrays()
    content["rewards"] = content["rewards"][:, None]
    assert read_hdf5(store(tmp_path / "a.hdf5", content)).rewards.shape == (6,)


def test_missing_timeouts_come_from_the_episode_length(tmp_path):
    content = arrays(10)
    del content["timeouts"]
    path = store(tmp_path / "a.hdf5", content)
    # Row 2 is a terminal. Then every fourth step is a timeout: row 6, and row 10 beyond the file.
    np.testing.assert_array_equal(
        np.flatnonzero(read_hdf5(path, max_episode_steps=4).timeouts), [6]
    )
    # With episodes of 3 steps the first ends by its terminal in row 2, no timeout is set there.
    np.testing.assert_array_equal(
        np.flatnonzero(read_hdf5(path, max_episode_steps=3).timeouts), [5, 8]
    )
    assert "nothing tells which steps were the last before a time limit" in message_of(path)


def test_timeouts_of_the_file_win_over_the_episode_length(tmp_path):
    path = store(tmp_path / "a.hdf5", arrays())
    np.testing.assert_array_equal(
        np.flatnonzero(read_hdf5(path, max_episode_steps=2).timeouts), [5]
    )


def test_missing_file(tmp_path):
    message = message_of(tmp_path / "absent.hdf5")
    assert "no such file" in message and "put the file there" in message


def test_not_hdf5(tmp_path):
    path = tmp_path / "a.hdf5"
    path.write_text("<html>not found</html>\n")
    message = message_of(path)
    assert "not an HDF5 file (23 bytes)" in message and "download it again" in message


@pytest.mark.parametrize("part", [0.3, 0.6, 0.95])
def test_truncated_file(tmp_path, part):
    path = tmp_path / "a.hdf5"
    store(path, arrays(500))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(part * len(whole))])
    message = message_of(path)
    assert "truncated" in message and "download it again" in message


def test_damaged_compressed_data(tmp_path):
    path = tmp_path / "a.hdf5"
    content = arrays(500)
    noise = np.random.default_rng(0).normal(size=(500, 3)).astype(np.float32)
    with h5py.File(path, "w") as file:
        for key, value in content.items():
            file.create_dataset(
                key, data=noise if key == "observations" else value, compression="gzip"
            )
        offset = file["observations"].id.get_chunk_info(0).byte_offset
    damaged = bytearray(path.read_bytes())
    damaged[offset : offset + 64] = b"\xff" * 64
    path.write_bytes(damaged)
    assert "damaged" in message_of(path)


def test_a_locked_file_is_not_called_damaged(tmp_path):
    path = store(tmp_path / "a.hdf5", arrays())
    script = "import h5py, sys; f = h5py.File(sys.argv[1], 'r+'); print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", script, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as writer:
        writer.stdout.readline()
        message = message_of(path)
        writer.communicate(b"\n")
    assert "locked" in message and "HDF5_USE_FILE_LOCKING=FALSE" in message
    assert "damaged" not in message and "delete" not in message
    assert len(read_hdf5(path).rewards) == 6


def test_a_file_whose_writer_was_killed(tmp_path):
    path = store(tmp_path / "a.hdf5", arrays())
    script = (
        "import h5py, os, sys; f = h5py.File(sys.argv[1], 'w', libver='latest'); "
        "f.swmr_mode = True; os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", script, path], check=True)
    message = message_of(path)
    assert "its writer was killed" in message and "h5clear" in message and "delete" not in message


def test_a_filter_that_is_not_installed_is_named(tmp_path):
    path = tmp_path / "a.hdf5"
    with h5py.File(path, "w") as file:
        for key, value in arrays().items():
            file.create_dataset(key, data=value, chunks=True, compression="gzip")
    content = bytearray(path.read_bytes())
    at = content.find(b"deflate\0")
    while at >= 0:  # the filter's number is 8 bytes before its name: gzip's becomes another
        content[at - 8 : at - 6] = (32099).to_bytes(2, "little")
        at = content.find(b"deflate\0", at + 1)
    path.write_bytes(content)
    message = message_of(path)
    assert "compressed by filter 32099, which is not installed" in message
    assert "hdf5plugin" in message and "damaged" not in message and "delete" not in message


@pytest.mark.parametrize("chunks", [None, (2, 3)])
def test_rows_that_were_never_written_are_refused(tmp_path, chunks):
    path = store(
        tmp_path / "a.hdf5", {key: v for key, v in arrays().items() if key != "observations"}
    )
    with h5py.File(path, "a") as file:
        rows = file.create_dataset("observations", (6, 3), np.float32, chunks=chunks)
        if chunks:
            rows[:4] = 1
    assert "rows of key 'observations' were never written" in message_of(path)
    with h5py.File(path, "a") as file:
        file["observations"][:] = 0  # zeros that were written are numbers
    assert (read_hdf5(path).observations == 0).all()


@pytest.mark.parametrize("kind", ["virtual", "external", "link"])
def test_rows_in_other_files_are_refused(tmp_path, kind):
    path = store(
        tmp_path / "a.hdf5", {key: v for key, v in arrays().items() if key != "observations"}
    )
    with h5py.File(path, "a") as file:
        if kind == "virtual":
            layout = h5py.VirtualLayout((6, 3), np.float32)
            layout[:] = h5py.VirtualSource("absent.hdf5", "observations", (6, 3), np.float32)
            file.create_virtual_dataset("observations", layout)
        elif kind == "link":
            file["observations"] = h5py.ExternalLink("absent.hdf5", "observations")
        else:
            place = [(os.fspath(tmp_path / "absent.bin"), 0, h5py.h5f.UNLIMITED)]
            file.create_dataset("observations", (6, 3), np.float32, external=place)
    assert "rows of key 'observations' lie in other files" in message_of(path)


def test_a_link_to_nothing_is_no_damage(tmp_path):
    path = store(tmp_path / "a.hdf5", arrays())
    with h5py.File(path, "a") as file:
        file["next_observations"] = h5py.SoftLink("/observations/next")
    assert "'next_observations' is a link to '/observations/next', which" in message_of(path)
    with h5py.File(path, "a") as file:
        del file["next_observations"]
        file["rows"] = file["observations"]
        del file["observations"]
        file["observations"] = h5py.SoftLink("/rows")
    np.testing.assert_array_equal(read_hdf5(path).observations, arrays()["observations"])


@pytest.fixture
def linked(tmp_path):
    """linked(add) -> the path of a file without observations, to which `add` has added links.

    Another file has them, also in a group `rows`.
    """
    inner, content = tmp_path / "inner.hdf5", arrays()
    rows = content.pop("observations")
    store(inner, {"observations": rows, "rows/observations": rows})

    def make(add) -> str:
        path = store(tmp_path / "a.hdf5", content)
        with h5py.File(path, "a") as file:
            add(file, os.fspath(inner))
        return path

    return make


def soft_link_to_an_external_one(file, inner):
    file["x"] = h5py.ExternalLink(inner, "/observations")
    file["observations"] = h5py.SoftLink("/x")


def external_group(file, inner):
    file["rows"] = h5py.ExternalLink(inner, "/rows")
    file["observations"] = h5py.SoftLink("/rows/observations")


def external_rows_of_a_link(file, inner):
    file.create_dataset("x", (6, 3), np.float32, external=[(inner, 0, h5py.h5f.UNLIMITED)])
    file["observations"] = h5py.SoftLink("/x")


@pytest.mark.parametrize(
    "add", [soft_link_to_an_external_one, external_group, external_rows_of_a_link]
)
def test_no_link_leads_into_another_file(linked, add):
    path = linked(add)
    assert "lie in other files; store them in this one" in message_of(path)
    with pytest.raises(InputError, match="^data: the rows of key .* lie in other files"):
        check_contained("data", path)


def test_links_in_a_circle_lead_nowhere(linked):
    def circle(file, inner):
        file["observations"], file["b"] = h5py.SoftLink("/b"), h5py.SoftLink("observations")

    assert "is a link to '/b', which is not there" in message_of(linked(circle))


def test_links_within_a_file_are_followed(linked):
    def within(file, inner):
        file["group/rows"] = arrays()["observations"]
        file["group/link"] = h5py.SoftLink("./rows")
        file["top"] = h5py.SoftLink("/")
        file["group/circle"] = file["/"]
        file["observations"] = h5py.SoftLink("top/group/link")

    path = linked(within)
    np.testing.assert_array_equal(read_hdf5(path).observations, arrays()["observations"])
    assert {"actions", "group", "observations", "top"} <= set(check_contained("data", path))


def test_a_file_of_zeros_alone_is_no_dataset(tmp_path):
    content = {key: np.zeros_like(value) for key, value in arrays(40).items()}
    path = store(tmp_path / "a.hdf5", content)
    assert "all of 40 rows hold nothing but zeros, as in a buffer that was not" in message_of(path)


def test_more_than_compression_can_hold_is_refused(tmp_path):
    """One chunk of 10^9 rows in some hundred bytes: the deflated stream of a smaller array."""
    path = store(tmp_path / "a.hdf5", {k: v for k, v in arrays().items() if k != "rewards"})
    with h5py.File(path, "a") as file:
        rows = file.create_dataset("rewards", (10**9,), np.float32, chunks=(10**9,), compression=9)
        rows.id.write_direct_chunk((0,), zlib.compress(bytes(24)))
    assert "has the shape [1000000000] in only" in message_of(path)


@pytest.mark.parametrize(
    "key", "episode_ends episode_starts ep_ids episodes lengths index indices traj_lens".split()
)
def test_what_else_tells_episodes_apart_is_not_passed_over(tmp_path, key):
    path = store(tmp_path / "a.hdf5", arrays() | {key: np.arange(6)})
    assert f"key '{key}' is not read, and may tell episodes apart; mark" in message_of(path)


def test_what_is_left_out_of_a_file_is_told(tmp_path):
    content = arrays() | {"infos/qpos": np.zeros(6), "episodic_return": np.zeros(6), "a\nb": 1}
    told = read_hdf5(store(tmp_path / "a.hdf5", content)).understood[0]
    assert told.endswith("ends by 'terminals', 'timeouts'; left out: a b, episodic_return, infos")


def test_names_with_line_breaks_stay_in_one_line(tmp_path):
    content = {key: value for key, value in arrays().items() if key != "rewards"}
    assert "a b" in message_of(store(tmp_path / "a.hdf5", content | {"a\nb": np.zeros(6)}))
    message = message_of(store(tmp_path / "a.hdf5", {"a" * 500: 1, "b" * 500: 1, "c": 1}))
    assert "a and 2 more)" in message and len(message) <= 300


@pytest.mark.parametrize(
    ("name", "says"),
    [("episode_{}", "name the dataset as minari:<dataset id>"), ("row_{}", "store arrays named")],
)
def test_a_file_of_many_groups_is_refused_in_a_line_that_can_be_read(tmp_path, name, says):
    path = tmp_path / "a.hdf5"
    with h5py.File(path, "w") as file:
        for index in range(3000):
            file.create_group(name.format(index))
    with pytest.raises(InputError) as error:
        read_hdf5(path)
    told = str(error.value).replace(str(path), "a.hdf5")
    assert says in told and "more" in told and len(told) <= 300


@pytest.mark.parametrize("key", ["observations", "actions", "rewards", "terminals"])
def test_missing_key(tmp_path, key):
    content = arrays()
    del content[key]
    message = message_of(store(tmp_path / "a.hdf5", content))
    assert f"no key '{key}'" in message and "store arrays named" in message


def test_group_in_place_of_an_array(tmp_path):
    content = arrays()
    del content["actions"]
    path = store(tmp_path / "a.hdf5", content)
    with h5py.File(path, "a") as file:
        file.create_group("actions")
    assert "'actions' is a group" in message_of(path)


def test_unequal_lengths(tmp_path):
    content = arrays()
    content["actions"] = content["actions"][:-1]
    message = message_of(store(tmp_path / "a.hdf5", content))
    assert "unequal length" in message and "actions 5" in message and "one row per step" in message


@pytest.mark.parametrize(
    ("key", "shape"),
    [
        ("observations", (6,)),
        ("actions", (6, 2, 1)),
        ("rewards", (6, 2)),
        ("terminals", ()),
        ("actions", (6, 0)),
    ],
)
def test_wrong_shape(tmp_path, key, shape):
    content = arrays()
    content[key] = np.zeros(shape, np.float32)
    message = message_of(store(tmp_path / "a.hdf5", content))
    assert f"'{key}' has shape {list(shape)}" in message and "store it as" in message


def test_next_observations_of_another_shape(tmp_path):
    content = arrays() | {"next_observations": np.zeros((6, 2), np.float32)}
    assert "'next_observations' has shape [6, 2]" in message_of(store(tmp_path / "a.hdf5", content))


@pytest.mark.parametrize("value", [np.full((6, 2), b"x"), np.zeros((6, 2), np.complex64)])
def test_wrong_type(tmp_path, value):
    content = arrays() | {"actions": value}
    message = message_of(store(tmp_path / "a.hdf5", content))
    assert "'actions' has dtype" in message and "store float32" in message


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_counted_and_located(tmp_path, bad):
    content = arrays()
    content["observations"][4] = bad
    message = message_of(store(tmp_path / "a.hdf5", content))
    assert (
        "'observations' holds 3 values that are NaN or infinite" in message
        and "row 4" in message
        and "remove" in message
    )


def test_value_too_large_for_float32(tmp_path):
    content = arrays()
    content["rewards"] = np.array([0, 1e300, 0, 0, 0, 0])
    assert "'rewards' holds 1 values" in message_of(store(tmp_path / "a.hdf5", content))


@pytest.mark.parametrize("steps", [0, 1])
def test_fewer_than_two_transitions(tmp_path, steps):
    message = message_of(store(tmp_path / "a.hdf5", arrays(steps)))
    assert f"{steps} transitions, at least 2" in message and "more data" in message


def test_synonyms_are_accepted_and_doubles_refused(tmp_path):
    content = arrays()
    short = {
        "obs": "observations",
        "action": "actions",
        "reward": "rewards",
        "done": "terminals",
        "truncated": "timeouts",
    }
    raw = read_hdf5(store(tmp_path / "a.hdf5", {name: content[key] for name, key in short.items()}))
    for key, value in content.items():
        np.testing.assert_array_equal(getattr(raw, key), value)
    message = message_of(store(tmp_path / "b.hdf5", content | {"obs": content["observations"]}))
    assert "'observations' and 'obs' mean the same" in message and "keep one" in message


def test_episodes_of_a_file_without_timeouts_are_told_apart_by_their_next_observations(tmp_path):
    # Rows 0-2 end in a terminal, rows 3-4 were cut off: what follows row 4 is not row 5. Rows 5-6
    # end with the file.
    observations = np.array([0, 1, 2, 10, 11, 20, 21], np.float32)[:, None]
    following = np.array([1, 2, 3, 11, 12, 21, 22], np.float32)[:, None]
    content = {"observations": observations, "next_observations": following, "rewards": np.ones(7)}
    content |= {"actions": np.zeros((7, 1)), "terminals": np.arange(7) == 2}
    raw = read_hdf5(store(tmp_path / "a.hdf5", content))
    np.testing.assert_array_equal(np.flatnonzero(raw.timeouts), [4, 6])


def test_what_a_file_declares_is_read_and_checked(tmp_path):
    content = arrays()
    declared = {
        "action_low": [-2.0, 0.0],
        "action_high": [2.0, 5.0],
        "reference_scores": [-1000, 0],
    }
    raw = read_hdf5(store(tmp_path / "a.hdf5", content | declared))
    for key, value in declared.items():
        np.testing.assert_array_equal(getattr(raw, key), value)
    assert "'action_low' has shape [3], not [2]" in message_of(
        store(tmp_path / "b.hdf5", content | {"action_low": np.zeros(3)})
    )
    assert "one of action_low and action_high" in message_of(
        store(tmp_path / "c.hdf5", content | {"action_low": np.zeros(2)})
    )


@pytest.mark.parametrize(
    "following",
    [None, np.roll(arrays()["observations"], -1, axis=0) + np.float32([[0]] * 5 + [[7]])],
)
def test_written_file_reads_back_equal(tmp_path, following):
    declared = {
        "action_low": np.zeros(2, np.float32),
        "action_high": np.ones(2, np.float32),
        "reference_scores": np.array([0.0, 4.0]),
    }
    raw = RawDataset(**arrays(), next_observations=following, **declared)
    path = tmp_path / "new folder" / "a.hdf5"
    write_hdf5(path, raw, attributes={"environment": "Hopper-v4", "seed": 3})
    back = read_hdf5(path)
    assert back.arrays().keys() == raw.arrays().keys()
    for key, value in raw.arrays().items():
        np.testing.assert_array_equal(getattr(back, key), value)
    with h5py.File(path) as file:
        assert dict(file.attrs) == {"environment": "Hopper-v4", "seed": 3}
    assert [entry.name for entry in path.parent.iterdir()] == ["a.hdf5"]


def test_writing_is_deterministic(tmp_path):
    raw = RawDataset(**arrays())
    write_hdf5(tmp_path / "a.hdf5", raw, attributes={"seed": 1})
    write_hdf5(tmp_path / "b.hdf5", raw, attributes={"seed": 1})
    assert (tmp_path / "a.hdf5").read_bytes() == (tmp_path / "b.hdf5").read_bytes()


def test_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.hdf5"
    path.write_text("old")
    with pytest.raises(TypeError):
        write_hdf5(path, RawDataset(**arrays()), attributes={"bad": object()})
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.hdf5"]


def test_rows_that_lie_behind_the_end_of_the_file_are_refused(tmp_path, monkeypatch):
    path = store(tmp_path / "a.hdf5", arrays())
    with h5py.File(path) as file:
        stored = file["rewards"].id
        end = stored.get_offset() + stored.get_storage_size()
    monkeypatch.setattr(os.path, "getsize", lambda name: end - 1)
    assert "cut off within the rows of key" in message_of(path)
