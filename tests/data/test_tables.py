"""Tables, one row per step: .csv and .parquet files."""

import sys

import numpy as np
import pytest

from edp_jax import data
from edp_jax.data.layout import Layout
from edp_jax.data.tables import read_table
from edp_jax.types import InputError

pyarrow = pytest.importorskip("pyarrow", reason="needs the package pyarrow, the extra tables")
parquet = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow, the extra tables")


def columns(**changes) -> dict[str, list]:
    """Episodes "a" (3 steps, the task ended), "b" (2 steps, cut) and "c" (3 steps, ended)."""
    table = {
        "episode": list("aaabbccc"),
        "step": [0, 1, 2, 0, 1, 5, 6, 7],
        "observation_0": [0, 1, 2, 10, 11, 20, 21, 22],
        "observation_1": [0.5] * 8,
        "action_0": [-1, 0, 1, 0.5, -0.5, 0, 0.25, 0.75],
        "reward": [0, 0, 1.5, 0, 0, 0, 0, 2],
        "terminal": [False, False, True, False, False, False, False, True],
        "remark": ["ok", "", *["fine"] * 6],
    }
    return {key: value for key, value in (table | changes).items() if value is not None}


@pytest.fixture
def csv(tmp_path):
    """csv(columns) -> the path of a .csv file."""

    def write(table) -> str:
        lines = [
            ",".join(table),
            *(",".join(map(str, row)) for row in zip(*table.values(), strict=True)),
        ]
        (tmp_path / "steps.csv").write_text("\n".join(lines) + "\n")
        return str(tmp_path / "steps.csv")

    return write


@pytest.fixture
def file(tmp_path):
    """file(columns) -> the path of a .parquet file."""

    def write(table) -> str:
        parquet.write_table(pyarrow.table(table), tmp_path / "steps.parquet")
        return str(tmp_path / "steps.parquet")

    return write


@pytest.mark.parametrize("kind", ["csv", "file"])
def test_rows_become_steps(request, kind, paired):
    raw = read_table(request.getfixturevalue(kind)(columns()))
    np.testing.assert_array_equal(raw.observations[:, 0], [0, 1, 2, 10, 11, 20, 21, 22])
    np.testing.assert_array_equal(raw.observations[:, 1], [0.5] * 8)
    np.testing.assert_allclose(raw.actions[:, 0], columns()["action_0"])
    np.testing.assert_array_equal(raw.rewards, columns()["reward"])
    np.testing.assert_array_equal(np.flatnonzero(raw.terminals), [2, 7])
    np.testing.assert_array_equal(np.flatnonzero(raw.timeouts), [4])
    assert paired(raw).size == 7  # what followed the cut is not there
    assert raw.understood == (
        "format: table, 3 episodes by 'episode', those without an end of the task are cut",
        "observations: observation_0, observation_1; actions: action_0; left out: remark",
    )


def test_columns_stand_in_the_order_of_their_numbers(csv):
    table = columns() | {f"observation_{i}": [i] * 8 for i in (10, 9, 2, 3, 4, 5, 6, 7, 8, 1, 0)}
    raw = read_table(csv(table))
    np.testing.assert_array_equal(raw.observations[0], np.arange(11))


def test_numbered_columns_go_before_named_ones(csv):
    table = columns(action_log_prob=[0.1] * 8)
    raw = read_table(csv(table))
    assert raw.action_names == ("action_0",)
    assert "left out: remark, action_log_prob" in raw.understood[1]


@pytest.mark.parametrize(
    ("key", "there"),
    [
        ("observation_keys", ("observation_x", "observation_next_x")),
        ("observation_keys", ("observations.speed",)),
        ("action_keys", ("action_torque", "action_logprob")),
    ],
)
def test_columns_without_numbers_have_to_be_named(csv, key, there):
    """A column such as action_logprob begins with "action_", but is no part of the action."""
    group = key.removesuffix("_keys")
    table = {name: value for name, value in columns().items() if not name.startswith(group)}
    table |= {name: [0] * 8 for name in there}
    listed = ", ".join(there)
    with pytest.raises(InputError, match=rf"without numbers \({listed}\); .* by --config.{key}"):
        read_table(csv(table))
    kept = {name: value for name, value in table.items() if "next" not in name}
    raw = read_table(csv(kept), layout=Layout(**{key: there[:1]}))
    assert there[0] in raw.observation_names + raw.action_names


def test_rows_that_are_missing_inside_an_episode_cut_it(csv, paired):
    """Rows 2 and 4 were followed by rows that are not there: nothing leads from one to the next."""
    table = columns(episode=list("aaaaaabb"), step=[0, 1, 2, 50, 51, 53, 0, 1])
    raw = read_table(csv(table | {"terminal": [0] * 8}))
    np.testing.assert_array_equal(np.flatnonzero(raw.timeouts), [2, 4, 5, 7])
    np.testing.assert_array_equal(paired(raw).observation[:, 0], [0, 1, 10, 21])
    assert not raw.whole_episodes and "rows are missing at 2 places" in raw.notes[0]
    assert "2 episodes by 'episode'" in raw.understood[0]
    paid = read_table(csv(table), layout=Layout(reward_rule="success_at_end"))
    np.testing.assert_array_equal(np.flatnonzero(paid.rewards), [5, 7])  # not at what is missing
    np.testing.assert_array_equal(np.flatnonzero(paid.timeouts), [2, 4])


@pytest.mark.parametrize(
    "step",
    [
        [0, 4, 8, 12, 16, 20, 24, 28],  # every fourth was kept
        [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7],
        [0.01, 0.05, 0.07, 0.2, 0.21, 0.9, 1.1, 1.17],  # times at which something happened
    ],
)
def test_steps_of_any_size_are_no_gaps(csv, step):
    raw = read_table(csv(columns(episode=["a"] * 8, step=step)))
    assert np.flatnonzero(raw.terminals | raw.timeouts).tolist() == [2, 7]
    assert not any("missing" in note for note in raw.notes)


def test_steps_without_a_sign_do_not_wrap_around(file):
    step = np.array([0, 2, 1, 0, 1, 5, 6, 7], np.uint8)
    with pytest.raises(InputError, match="column 'step' does not grow from row 1 to 2"):
        read_table(file(columns(step=step)))


def test_columns_of_lists(file):
    lists = {"observation": [[i, i + 1] for i in range(8)], "action": [[0.5]] * 8}
    bare = dict.fromkeys(("observation_0", "observation_1", "action_0"))
    following = {"next_observation": [[10 * i, 0] for i in range(8)]}
    raw = read_table(file(columns(**bare) | lists | following))
    np.testing.assert_array_equal(raw.observations[3], [3, 4])
    np.testing.assert_array_equal(raw.next_observations[4], [40, 0])
    lists["observation"][3] = [1]
    with pytest.raises(InputError, match="column 'observation' has 1 to 2 numbers per row"):
        read_table(file(columns(**bare) | lists))
    lists["observation"] = [[[0, 0], [0, 0]]] * 8
    with pytest.raises(InputError, match="column 'observation' holds list<.*>, not numbers"):
        read_table(file(columns(**bare) | lists))


def test_columns_can_be_named(csv):
    table = columns(observation_0=None, observation_1=None, action_0=None)
    table |= {"x": range(8), "speed": range(8, 16), "torque": [0.1] * 8}
    layout = Layout(observation_keys=("speed", "x"), action_keys=("torque",))
    raw = read_table(csv(table), layout=layout)
    np.testing.assert_array_equal(raw.observations[0], [8, 0])
    np.testing.assert_allclose(raw.actions[:, 0], 0.1, rtol=1e-6)
    wrong = {"action": [9] * 8, "obs": [9] * 8, "reward": [1] * 8}  # others of the usual names
    raw = read_table(csv(table | wrong), layout=layout)
    np.testing.assert_array_equal(raw.observations[0], [8, 0])
    assert raw.actions.max() < 1 and "left out: remark, action, obs" in raw.understood[1]
    with pytest.raises(InputError, match="no columns observation_0.*--config.observation_keys"):
        read_table(csv(table))
    with pytest.raises(InputError, match="no column 'mass'"):
        read_table(csv(table), layout=Layout(observation_keys=("mass",), action_keys=("torque",)))
    with pytest.raises(InputError, match="observation_keys: 'x' is there twice"):
        data.load_dataset(csv(table), observation_keys=("x", "x"), action_keys=("torque",))


def test_next_observations_tell_what_followed_a_cut(csv, paired):
    following = [1, 2, 3, 11, 12, 21, 22, 23]
    table = columns(observation_1=None, next_observation_0=following)
    raw = read_table(csv(table))
    np.testing.assert_array_equal(paired(raw).next_observation[:, 0], following)
    with pytest.raises(InputError, match="no column 'next_observation_1'"):
        read_table(csv(columns(next_observation_0=following)))
    table["next_obs_0"] = table.pop("next_observation_0")
    with pytest.raises(InputError, match="'next_obs_0' .* as the .* named, 'next_observation_0'"):
        read_table(csv(table))


def test_done_beside_truncated(csv):
    flags = {"done": [0, 0, 1, 0, 1, 0, 0, 1], "truncated": [0, 0, 0, 0, 1, 0, 0, 0]}
    raw = read_table(csv(columns(terminal=None) | flags))
    np.testing.assert_array_equal(np.flatnonzero(raw.terminals), [2, 7])
    np.testing.assert_array_equal(np.flatnonzero(raw.timeouts), [4])


def test_rewards_may_be_missing_or_follow_from_a_rule(csv):
    raw = read_table(csv(columns(reward=None)))
    assert not raw.has_rewards and not raw.rewards.any()
    np.testing.assert_array_equal(np.flatnonzero(raw.terminals), [2, 7])
    bare = csv(columns(reward=None, terminal=None))
    raw = read_table(bare)
    assert not raw.has_rewards and np.flatnonzero(raw.timeouts).tolist() == [2, 4, 7]
    raw = read_table(bare, layout=Layout(reward_rule="success_at_end"))
    np.testing.assert_array_equal(raw.rewards, [0, 0, 1, 0, 1, 0, 0, 1])
    np.testing.assert_array_equal(np.flatnonzero(raw.terminals), [2, 4, 7])


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"episode": None}, "no column tells episodes apart"),
        ({"episode_id": [0] * 8}, "two columns, 'episode' and 'episode_id', tell episodes apart"),
        ({"episode": list("aabbbaac")}, "episode 'a' goes on in row 5 after another one"),
        ({"step": [0, 2, 1, 0, 1, 5, 6, 7]}, "column 'step' does not grow from row 1 to 2"),
        ({"terminal": None}, "where the task ended .* add a column 'terminal', all 0 where every"),
        ({"terminal": None, "reward": None, "timeout": [0] * 8}, "add a column 'terminal'"),
        ({"step": [*range(7), "x"]}, "column 'step' holds 'x' in row 7"),
        ({"step": [0, 1, "nan", 0, 1, 5, 6, 7]}, "column 'step' holds no steps"),
        ({"observation_0": [0, 1, "x1", 3, 4, 5, 6, 7]}, "'observation_0' holds 'x1' in row 2"),
        ({"reward": [0, 1, 2, 3, "", 5, 6, 7]}, "'reward' has 1 missing values, .* in row 4"),
        ({"action_0": ["nan", *range(7)]}, "'actions' holds 1 values that are NaN .* row 0"),
        ({"action_0": None}, "no columns action_0, action_1"),
        ({"action_3": [0] * 8}, "no column action_1, or one is there twice"),
        ({"action_00": [0] * 8}, "no column action_1, or one is there twice"),
        ({"obs_0": [0] * 8}, "columns of obs_... and of observation_..."),
        ({"terminal": [2] * 8}, "'terminals' holds 8 values that are neither 0 nor 1"),
        ({"discount": [1] * 8}, "key 'discount' is not read"),
        ({"frame_index": [0] * 8, "task_index": [0] * 8}, "lerobot:<folder>"),
    ],
)
def test_tables_of_no_use_are_refused(csv, changes, says):
    with pytest.raises(InputError, match=says) as error:
        read_table(csv(columns(**changes)))
    assert "\n" not in str(error.value) and len(str(error.value)) <= 300


def test_two_columns_of_one_name(csv, tmp_path):
    path = csv(columns())
    text = (tmp_path / "steps.csv").read_text().replace("remark", "reward")
    (tmp_path / "steps.csv").write_text(text)
    with pytest.raises(InputError, match="two columns are named 'reward'"):
        read_table(path)


@pytest.mark.parametrize(
    "content",
    [b"", b"episode,reward\n", b"a,b\n1,2,3\n", b"\xff\xfe\x00a", b"episode;reward\n1;2\n"],
)
def test_a_csv_file_that_is_none(tmp_path, content):
    (tmp_path / "steps.csv").write_bytes(content)
    with pytest.raises(InputError) as error:
        read_table(str(tmp_path / "steps.csv"))
    assert "\n" not in str(error.value) and len(str(error.value)) <= 300


@pytest.mark.parametrize("part", [0.0, 0.3, 0.9])
def test_a_truncated_parquet_file(file, tmp_path, part):
    path = file(columns())
    content = (tmp_path / "steps.parquet").read_bytes()
    (tmp_path / "steps.parquet").write_bytes(content[: int(part * len(content))])
    with pytest.raises(InputError, match="not a complete parquet file"):
        read_table(path)


def test_texts_that_are_no_texts_are_refused(file):
    """Of bytes that are no UTF-8 pyarrow raises an error of its own kind."""
    episodes = pyarrow.array([b"\xff"] * 8).view(pyarrow.string())
    with pytest.raises(InputError, match="not a complete parquet file"):
        read_table(file(columns(episode=episodes)))


def test_a_table_is_named_by_its_path(csv):
    task = data.find_task(csv(columns()))
    assert task.reader == data.find_task("LOG.CSV").reader == "table"
    raw, info = data.load(task, "")
    assert info["path"] == task.file_name and info["summary"]["terminals"] == 2
    with pytest.raises(InputError, match="filter_key='train' changes nothing"):
        data.load(task, "", layout=Layout(filter_key="train"))


def test_the_line_names_the_extra_that_is_missing(csv, monkeypatch):
    path = csv(columns())
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(InputError, match=r"pip install -e '.\[tables\]'"):
        read_table(path)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (("observation_0", "action_0"), "'action_0' is the action, which a policy does not see"),
        (("observation_0", "reward"), "'reward' is what the action led to, .* leave it out of"),
        (("terminal",), "'terminal' is what the action led to"),
    ],
)
def test_an_observation_of_what_is_not_known_yet_is_refused(csv, keys, message):
    with pytest.raises(InputError, match=message):
        read_table(csv(columns()), layout=Layout(observation_keys=keys))
