"""Folders of LeRobot: both layouts, what is read of them, and what does not agree is refused."""

import json
import os
import pathlib

import numpy as np
import pytest

from edp_jax import data
from edp_jax.data.lerobot import read_lerobot
from edp_jax.types import InputError

pyarrow = pytest.importorskip("pyarrow", reason="needs pyarrow, the extra tables")
parquet = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow, the extra tables")

LENGTHS = (3, 2, 4)
LAST = [2, 4, 8]
G1 = pathlib.Path(__file__).parents[3] / "shared" / "data" / "g1-lerobot-v2.1"


def vector(width: int, names=None, dtype="float32") -> dict:
    return {"dtype": dtype, "shape": [width], "names": names}


FEATURES = {
    "observation.environment_state": vector(1, {"axes": ["ball"]}),
    "observation.state": vector(2, [["hip", "knee"]]),
    "observation.effort": vector(2, ["hip", "knee"]),
    "observation.images.top": {"dtype": "video", "shape": [4, 4, 3], "names": None},
    "action": vector(2),
}


def columns() -> dict[str, np.ndarray]:
    rng, total = np.random.default_rng(0), sum(LENGTHS)
    found = {
        key: rng.normal(size=(total, feature["shape"][0])).astype(np.float32)
        for key, feature in FEATURES.items()
        if feature["dtype"] == "float32"
    }
    found["episode_index"] = np.repeat(np.arange(len(LENGTHS)), LENGTHS)
    found["frame_index"] = np.concatenate([np.arange(length) for length in LENGTHS])
    return found


COLUMNS = columns()


def write_rows(path, arrays: dict, rows: slice, types=None) -> None:
    """Writes rows [N, width] as fixed lists, rows [N] as numbers."""
    parts = {}
    for key, array in arrays.items():
        flat = pyarrow.array(array[rows].reshape(-1))
        is_list = array.ndim == 2
        parts[key] = (
            pyarrow.FixedSizeListArray.from_arrays(flat, array.shape[1]) if is_list else flat
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pyarrow.table(parts), path)


def write_info(folder, version: str, features: dict, lengths=LENGTHS, **changes) -> None:
    data_path = {
        "v2.1": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
        "v3.0": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
    }[version]
    info = {"codebase_version": version, "robot_type": "leg", "fps": 30, "chunks_size": 2}
    info |= {"total_episodes": len(lengths), "total_frames": sum(lengths), "data_path": data_path}
    (folder / "meta").mkdir(parents=True, exist_ok=True)
    (folder / "meta/info.json").write_text(json.dumps(info | {"features": features} | changes))


def write_v21(folder, arrays=COLUMNS, features=FEATURES, lengths=LENGTHS) -> pathlib.Path:
    """A file per episode, two episodes per chunk."""
    write_info(folder, "v2.1", features, lengths)
    starts = np.append(0, np.cumsum(lengths))
    lines = []
    for index, length in enumerate(lengths):
        path = folder / f"data/chunk-{index // 2:03d}/episode_{index:06d}.parquet"
        write_rows(path, arrays, slice(starts[index], starts[index + 1]))
        lines.append(json.dumps({"episode_index": index, "tasks": ["walk"], "length": length}))
    (folder / "meta/episodes.jsonl").write_text("\n".join(reversed(lines)) + "\n")  # any order
    return folder


def write_v30(folder, arrays=COLUMNS, features=FEATURES, lengths=LENGTHS) -> pathlib.Path:
    """All episodes but the last in one file, the last in a file of the next chunk."""
    write_info(folder, "v3.0", features, lengths)
    count, ends = len(lengths), np.cumsum(lengths)
    is_last = np.arange(count) == count - 1
    episodes = {"episode_index": np.arange(count), "length": np.array(lengths)}
    episodes |= {"data/chunk_index": is_last.astype(int), "data/file_index": is_last * 7}
    episodes |= {"dataset_from_index": ends - lengths, "dataset_to_index": ends}
    write_rows(folder / "meta/episodes/chunk-000/file-000.parquet", episodes, slice(0, 2))
    write_rows(folder / "meta/episodes/chunk-000/file-001.parquet", episodes, slice(2, None))
    write_rows(folder / "data/chunk-000/file-000.parquet", arrays, slice(0, ends[-2]))
    write_rows(folder / "data/chunk-001/file-007.parquet", arrays, slice(ends[-2], None))
    return folder


def rows_of(flags: np.ndarray) -> list[int]:
    return np.flatnonzero(flags).tolist()


@pytest.mark.parametrize("write", [write_v21, write_v30])
def test_episodes_of_both_layouts_follow_each_other_and_are_cut(tmp_path, write):
    raw = read_lerobot(write(tmp_path))
    state = np.concatenate(
        [COLUMNS["observation.state"], COLUMNS["observation.environment_state"]], axis=1
    )
    np.testing.assert_array_equal(raw.observations, state)
    np.testing.assert_array_equal(raw.actions, COLUMNS["action"])
    assert rows_of(raw.timeouts) == LAST and not raw.terminals.any()
    assert not raw.has_rewards and not raw.rewards.any()
    np.testing.assert_array_equal(raw.action_low, COLUMNS["action"].min(axis=0))
    np.testing.assert_array_equal(raw.action_high, COLUMNS["action"].max(axis=0))
    assert raw.observation_names == ("hip", "knee", "ball")
    assert raw.action_names == ("action[0]", "action[1]")
    told = "\n".join(raw.understood)
    assert f"format: LeRobot {'v2.1' if write is write_v21 else 'v3.0'}, leg, 30 steps per" in told
    assert "observations: observation.state, observation.environment_state\n" in told
    assert raw.details == {"robot_type": "leg", "fps": 30}
    assert "not read: observation.effort (float32), observation.images.top (video)" in told
    assert "tasks" not in told


def test_columns_by_name_in_the_order_that_is_given(tmp_path):
    keys = ("observation.effort", "observation.state")
    layout = data.Layout(observation_keys=keys, action_keys=("observation.environment_state",))
    raw = read_lerobot(write_v21(tmp_path), layout=layout)
    np.testing.assert_array_equal(raw.observations[:, :2], COLUMNS["observation.effort"])
    np.testing.assert_array_equal(raw.observations[:, 2:], COLUMNS["observation.state"])
    np.testing.assert_array_equal(raw.actions, COLUMNS["observation.environment_state"])
    assert raw.observation_names[1:3] == ("observation.effort: knee", "observation.state: hip")
    assert raw.action_names == ("ball",)


@pytest.mark.parametrize(
    ("rule", "rewards"),
    [("success_at_end", [0, 0, 1, 0, 1, 0, 0, 0, 1]), ("step_cost", [-1] * 9)],
)
def test_a_rule_gives_rewards_and_ends_the_task(tmp_path, paired, rule, rewards):
    raw = read_lerobot(write_v21(tmp_path), layout=data.Layout(reward_rule=rule))
    assert raw.has_rewards and raw.rewards.tolist() == rewards
    assert rows_of(raw.terminals) == LAST and not raw.timeouts.any()
    assert rows_of(paired(raw).discount == 0) == LAST  # none of the 9 steps is left out


def test_stored_rewards_and_ends_are_used(tmp_path):
    done, truncated = np.zeros(9, bool), np.zeros(9, bool)
    done[[2, 4]], truncated[4] = True, True
    flags = {"next.reward": np.arange(9, dtype=np.float32), "next.done": done}
    flags["next.truncated"] = truncated
    features = FEATURES | {"next.reward": vector(1)}
    features |= dict.fromkeys(("next.done", "next.truncated"), vector(1, dtype="bool"))
    folder = write_v30(tmp_path, COLUMNS | flags, features)
    raw = read_lerobot(folder)
    assert raw.has_rewards and raw.rewards.tolist() == list(range(9))
    assert (rows_of(raw.terminals), rows_of(raw.timeouts)) == ([2], [4, 8])
    assert raw.whole_episodes
    raw = read_lerobot(folder, layout=data.Layout(reward_rule="step_cost"))
    assert rows_of(raw.terminals) == LAST and raw.rewards.sum() == -9


@pytest.mark.parametrize("key", ["next.done", "next.truncated"])
@pytest.mark.parametrize(
    ("value", "says"),
    [
        (2.0, "holds 9 values that are neither 0 nor 1"),
        (np.nan, "holds 9 values that are neither 0 nor 1"),
        ("no", "has no numbers in"),
    ],
)
def test_flags_that_are_none_end_nothing(tmp_path, key, value, says):
    features = FEATURES | {key: vector(1, dtype="float32")}
    write_v21(tmp_path, COLUMNS | {key: np.full(9, value)}, features)
    with pytest.raises(InputError, match=says) as error:
        read_lerobot(tmp_path)
    assert key in str(error.value)


def test_flags_may_be_numbers_and_lists(tmp_path):
    features = FEATURES | {"next.done": vector(1, dtype="int64")}
    done = np.eye(9, dtype=np.int64)[:, 2:3]  # [9, 1]
    raw = read_lerobot(write_v21(tmp_path, COLUMNS | {"next.done": done}, features))
    assert rows_of(raw.terminals) == [2]


def test_a_byte_order_mark_is_no_damage(tmp_path):
    info = write_v21(tmp_path) / "meta/info.json"
    info.write_text(info.read_text(), encoding="utf-8-sig")
    assert len(read_lerobot(tmp_path).rewards) == 9


def test_what_a_policy_will_not_know_is_told(tmp_path):
    features = FEATURES | {"next.reward": vector(1), "next.success": vector(1, dtype="bool")}
    write_v21(tmp_path, COLUMNS | {"next.reward": np.ones(9)}, features)
    write_info(tmp_path, "v2.1", features, total_tasks=3)
    told = read_lerobot(tmp_path).understood[-2:]
    assert told[0].endswith("observation.images.top (video), next.success (bool)")
    assert told[1].startswith("3 tasks, which nothing in an observation tells apart")
    raw = read_lerobot(tmp_path, layout=data.Layout(reward_rule="step_cost"))
    assert "next.reward (float32), next.success" in raw.understood[-2]


def test_a_task_that_ends_inside_an_episode_divides_it(tmp_path):
    features = FEATURES | {"next.done": vector(1, dtype="bool")}
    raw = read_lerobot(write_v21(tmp_path, COLUMNS | {"next.done": np.arange(9) == 6}, features))
    assert (rows_of(raw.terminals), rows_of(raw.timeouts)) == ([6], LAST)
    assert not raw.whole_episodes and "1 steps end the task inside an episode" in raw.notes[-1]


def test_a_constant_action_has_a_box(tmp_path):
    still = COLUMNS | {"action": np.full((9, 2), 5, np.float32)}
    dataset = data.load_dataset(f"lerobot:{write_v21(tmp_path, still)}")
    assert dataset.units.action_low[0] < 5 < dataset.units.action_high[0]
    np.testing.assert_allclose(dataset.transitions.action, 0, atol=1e-3)


def test_the_whole_way_to_a_dataset(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_v30(tmp_path / "robot")
    task = data.find_task("lerobot:robot")
    assert (task.reader, task.file_name, task.environment) == ("lerobot", "robot", None)
    dataset = data.load_dataset("lerobot:robot", reward_rule="success_at_end")
    assert dataset.size == 9 and dataset.behaviour_return == 1
    assert dataset.info["observation_names"] == ["hip", "knee", "ball"]
    assert not dataset.info["summary"]["notes"]
    imitated = data.load_dataset("lerobot:robot")
    assert imitated.info["summary"]["notes"][0].startswith("no rewards: the data can be imitated")
    assert imitated.size == 6 and imitated.behaviour_return is None
    assert imitated.info["sha256"] != dataset.info["sha256"]  # other rewards are other data


def damaged(change, write=write_v21):
    """A folder of which `change` damages something."""

    def make(folder) -> None:
        write(folder)
        change(folder)

    return make


def with_rows(arrays=None, **changes):
    return lambda folder: write_v21(folder, (arrays or COLUMNS) | changes)


SHORT = {key: array[:8] for key, array in COLUMNS.items()}
EPISODE_1 = "data/chunk-000/episode_000001.parquet"
REFUSED = {
    "no info": (lambda folder: None, "there is no meta/info.json in it; name the folder"),
    "version": (
        lambda folder: write_info(folder, "v2.1", FEATURES, codebase_version="v1.6"),
        "version v1.6 is not read; convert it",
    ),
    "missing entry": (
        lambda folder: write_info(folder, "v2.1", FEATURES, total_frames=None),
        "meta/info.json has no 'total_frames'",
    ),
    "damaged info": (
        damaged(lambda folder: (folder / "meta/info.json").write_text('{"fps": 3')),
        "meta/info.json cannot be read",
    ),
    "damaged episodes": (
        damaged(lambda folder: (folder / "meta/episodes.jsonl").write_text('{"episode_index": 0}')),
        "meta/episodes.jsonl cannot be read \\(KeyError 'length'\\)",
    ),
    "no episodes": (
        damaged(lambda folder: os.remove(folder / "meta/episodes.jsonl")),
        "meta/episodes.jsonl cannot be read",
    ),
    "total": (
        damaged(lambda folder: write_info(folder, "v2.1", FEATURES, total_frames=10)),
        "episodes.jsonl counts 9, but meta/info.json says total_frames 10",
    ),
    "total of v3.0": (
        damaged(lambda folder: write_info(folder, "v3.0", FEATURES, total_episodes=4), write_v30),
        "meta/episodes counts 3, but meta/info.json says total_episodes 4",
    ),
    "missing file": (
        damaged(lambda folder: os.remove(folder / EPISODE_1)),
        f"{EPISODE_1} with episode 1 is missing; copy or download",
    ),
    "missing file of v3.0": (
        damaged(lambda folder: os.remove(folder / "data/chunk-001/file-007.parquet"), write_v30),
        "file-007.parquet with episode 2 is missing",
    ),
    "length": (
        damaged(lambda folder: write_rows(folder / EPISODE_1, COLUMNS, slice(3, 4))),
        f"{EPISODE_1} has 1 rows, but 2 by the lengths of its 1 episodes",
    ),
    "other episode": (
        damaged(lambda folder: write_rows(folder / EPISODE_1, COLUMNS, slice(0, 2))),
        "has episode_index 0 in row 0, where meta/ says 1",
    ),
    "order": (
        with_rows(frame_index=np.zeros(9, int)),
        "has frame_index 0 in row 1, where meta/ says 1: rows are missing or out of order",
    ),
    "width": (
        with_rows(action=COLUMNS["action"][:, :1]),
        "has 1 numbers of 'action' per row, but meta/info.json says 2",
    ),
    "texts": (
        with_rows(action=np.array([["a", "b"]] * 9)),
        "has no numbers in 'action', which meta/info.json says",
    ),
    "data path": (
        damaged(lambda folder: write_info(folder, "v2.1", FEATURES, data_path="{episode_index.x}")),
        r"meta/episodes.jsonl cannot be read \(ValueError data_path='{episode_index.x}'\)",
    ),
    "a path that takes all memory": (
        damaged(
            lambda folder: write_info(
                folder, "v2.1", FEATURES, data_path="{episode_index:999999999d}"
            )
        ),
        "meta/episodes.jsonl cannot be read .ValueError data_path",
    ),
    "a path out of the folder": (
        damaged(
            lambda folder: write_info(
                folder, "v2.1", FEATURES, data_path="data/../../{episode_index}.parquet"
            )
        ),
        "data_path leads out of the folder, to 'data/../../0.parquet'",
    ),
    "an absolute path": (
        damaged(
            lambda folder: write_info(
                folder, "v2.1", FEATURES, data_path="/{episode_index}.parquet"
            )
        ),
        "data_path leads out of the folder, to '/0.parquet'",
    ),
    "nested too deeply": (
        damaged(lambda folder: (folder / "meta/info.json").write_text("[" * 100_000)),
        r"meta/info.json cannot be read \(nested too deeply\)",
    ),
    "lengths without an end": (
        damaged(
            lambda folder: (folder / "meta/episodes.jsonl").write_text(
                '{"episode_index": 0, "length": 1e300}'
            )
        ),
        "meta/episodes.jsonl: episode 0 has the length 1e.300",
    ),
    "missing column": (
        damaged(
            lambda folder: write_rows(folder / EPISODE_1, {"action": SHORT["action"]}, slice(3, 5))
        ),
        "no column 'observation.state'; its columns are action",
    ),
    "truncated file": (
        damaged(lambda folder: (folder / EPISODE_1).write_bytes(b"PAR1 and no more")),
        "not a complete parquet file \\(16 bytes",
    ),
    "pointer": (
        damaged(
            lambda folder: (folder / EPISODE_1).write_text("version https://git-lfs.github.com/")
        ),
        "only a pointer of Git LFS; run git lfs pull",
    ),
    "empty episode": (
        damaged(
            lambda folder: (folder / "meta/episodes.jsonl").write_text(
                '{"episode_index": 0, "length": 0}'
            )
        ),
        "meta/episodes.jsonl: episode 0 has the length 0",
    ),
    "images only": (
        lambda folder: write_v21(
            folder, features={"action": vector(2), "observation.image": {"dtype": "image"}}
        ),
        "no vector begins with 'observation' .* and images are not read",
    ),
    "not a number": (
        with_rows(action=np.full((9, 2), np.nan, np.float32)),
        "key 'actions' holds 18 values that are NaN",
    ),
}


@pytest.mark.parametrize(("write", "message"), REFUSED.values(), ids=REFUSED)
def test_what_does_not_agree_is_refused_in_one_line(tmp_path, write, message):
    folder = tmp_path / ("a folder with a long name" * 4)
    folder.mkdir()
    write(folder)
    with pytest.raises(InputError, match=message) as error:
        read_lerobot(folder)
    text = str(error.value)
    assert "\n" not in text and len(text) <= 300 and ";" in text


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        ({"observation_keys": ("state",)}, "no feature 'state'; it has observation.environment_"),
        ({"observation_keys": ("observation.images.top",)}, r"no vector \(video \[4, 4, 3\]\)"),
        ({"action_keys": ("actions",)}, "no feature 'actions'; it has"),
        ({"observation_keys": ("observation.state", "action")}, "'action' is the action, which a"),
    ],
)
def test_keys_that_are_not_there_are_refused(tmp_path, layout, message):
    with pytest.raises(InputError, match=message):
        read_lerobot(write_v21(tmp_path), layout=data.Layout(**layout))


def test_lists_of_other_lengths_and_missing_values_are_refused(tmp_path):
    write_v21(tmp_path)
    names = [key for key in COLUMNS if key != "action"]
    for action, message in (
        ([[1.0, 2.0], [1.0]], "has 1 to 2 numbers per row"),
        ([[1.0, 2.0], None], "has 1 missing values"),
        ([[1.0, 2.0], [1.0, None]], "has missing values inside its lists"),
    ):
        write_rows(tmp_path / EPISODE_1, {name: COLUMNS[name] for name in names}, slice(3, 5))
        table = parquet.read_table(tmp_path / EPISODE_1)
        parquet.write_table(table.append_column("action", [action]), tmp_path / EPISODE_1)
        with pytest.raises(InputError, match=f"column 'action' {message}"):
            read_lerobot(tmp_path)


def test_real_episodes_of_a_robot(tmp_path):
    """Six episodes of a Unitree G1, as they are and rewritten in the layout of v3.0."""
    if not G1.is_dir():
        pytest.skip(f"no {G1}")
    raw = read_lerobot(G1)
    assert (raw.observations.shape, raw.actions.shape) == ((2399, 26), (2399, 26))
    info = json.loads((G1 / "meta/info.json").read_text())
    assert list(raw.action_names) == info["features"]["action"]["names"][0]
    lengths = (479, 393, 343, 459, 357, 368)
    assert rows_of(raw.timeouts) == (np.cumsum(lengths) - 1).tolist()
    second = parquet.read_table(G1 / "data/chunk-000/episode_000001.parquet")
    np.testing.assert_array_equal(raw.actions[479:872], np.array(second["action"].to_pylist()))
    rows = {"observation.state": raw.observations, "action": raw.actions}
    again = read_lerobot(write_v30(tmp_path, rows, info["features"], lengths))
    for key, array in raw.arrays().items():
        np.testing.assert_array_equal(array, again.arrays()[key])
