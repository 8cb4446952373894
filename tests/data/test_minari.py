"""Minari's datasets, made here by Minari itself."""

import sys

import gymnasium
import numpy as np
import pytest

from edp_jax import data
from edp_jax.data import RawDataset, boxes, preprocess
from edp_jax.data.minari import check_new, write_minari
from edp_jax.types import InputError

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:minari.utils")
minari = pytest.importorskip(
    "minari", reason="the optional package minari is not installed: pip install -e '.[test]'"
)

SPACE = gymnasium.spaces.Dict(
    {
        "observation": gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float64),
        "achieved_goal": gymnasium.spaces.Box(-np.inf, np.inf, (1,), np.float64),
        "desired_goal": gymnasium.spaces.Box(-np.inf, np.inf, (1,), np.float64),
    }
)
ACTIONS = gymnasium.spaces.Box(np.array([-2.0, 0.0], np.float32), np.array([2.0, 10.0], np.float32))


@pytest.fixture
def store(tmp_path, monkeypatch):
    """store(id, space, episodes) puts a dataset into Minari's folder.

    An episode is (observations, actions, whether it ends in a terminal).
    """
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))

    def put(dataset_id, space, episodes, *, action_space=ACTIONS, **metadata):
        buffers = []
        for observations, actions, terminal in episodes:
            last = np.arange(len(actions)) == len(actions) - 1
            buffers.append(
                minari.data_collector.EpisodeBuffer(
                    observations=observations,
                    actions=list(actions),
                    rewards=list(np.arange(len(actions), dtype=float)),
                    terminations=list(last & terminal),
                    truncations=list(last & (not terminal)),
                )
            )
        minari.create_dataset_from_buffers(
            dataset_id,
            buffer=buffers,
            observation_space=space,
            action_space=action_space,
            description="made in a test",
            **metadata,
        )

    return put


def goal_episode(start, steps, terminal):
    times = start + np.arange(steps + 1, dtype=np.float64)
    observations = {
        "observation": np.stack([times, -times], 1),
        "achieved_goal": 100 + times[:, None],
    }
    observations["desired_goal"] = np.full((steps + 1, 1), 7.0)
    return (
        observations,
        np.stack([np.linspace(-2, 2, steps), np.linspace(0, 10, steps)], 1).astype(np.float32),
        terminal,
    )


@pytest.mark.parametrize("data_format", ["hdf5", "arrow"])
def test_goals_scores_and_the_action_box_are_read(store, data_format):
    if data_format == "arrow":
        pytest.importorskip("pyarrow", reason="the arrow format needs the package pyarrow")
    episodes = [goal_episode(0, 3, True), goal_episode(50, 2, False)]
    scores = {"ref_min_score": -10.0, "ref_max_score": 30.0}
    store("test/goal-v0", SPACE, episodes, env="Pendulum-v1", data_format=data_format, **scores)
    task = data.find_task("minari:test/goal-v0")
    raw, info = data.load(task, "unused")
    # sorted keys: achieved_goal, desired_goal, observation
    expected = [
        [100, 7, 0, 0],
        [101, 7, 1, -1],
        [102, 7, 2, -2],
        [150, 7, 50, -50],
        [151, 7, 51, -51],
    ]
    np.testing.assert_array_equal(raw.observations, expected)
    np.testing.assert_array_equal(
        raw.next_observations[[2, 4]], [[103, 7, 3, -3], [152, 7, 52, -52]]
    )
    np.testing.assert_array_equal(raw.terminals, [0, 0, 1, 0, 0])
    np.testing.assert_array_equal(raw.timeouts, [0, 0, 0, 0, 1])
    assert task.environment == "minari:test/goal-v0"
    assert info["summary"]["episodes"] == 2 and info["summary"]["return"] == {
        "min": 1.0,
        "mean": 2.0,
        "max": 3.0,
    }

    dataset = data.prepare(task, raw, info, data.Preprocessing())
    assert dataset.reference_scores == (-10.0, 30.0) and dataset.behaviour_return == 2.0
    np.testing.assert_array_equal(
        [dataset.units.action_low, dataset.units.action_high], [[-2, 0], [2, 10]]
    )
    np.testing.assert_allclose(
        dataset.transitions.action[:3], [[-0.999, -0.999], [0, 0], [0.999, 0.999]], atol=1e-6
    )
    assert dataset.transitions.size == 5 and list(dataset.transitions.discount) == [1, 1, 0, 1, 1]


def test_flattening_is_gymnasiums(store):
    store("test/goal-v0", SPACE, [goal_episode(0, 3, True)])
    raw, _ = data.load(data.find_task("minari:test/goal-v0"), "unused")
    one = {"observation": [1.0, -1.0], "achieved_goal": [101.0], "desired_goal": [7.0]}
    one = {key: np.array(value) for key, value in one.items()}
    np.testing.assert_array_equal(raw.observations[1], gymnasium.spaces.flatten(SPACE, one))
    assert preprocess.constant_columns(raw.observations).tolist() == [False, True, False, False]


def test_an_unbounded_action_space_is_no_box(store):
    space = gymnasium.spaces.Box(-np.inf, np.inf, (1,), np.float32)
    observations = gymnasium.spaces.Box(-1, 1, (1,), np.float32)
    store(
        "test/free-v0",
        observations,
        [(np.zeros((4, 1), np.float32), np.full((3, 1), 0.5, np.float32), True)],
        action_space=space,
    )
    raw, _ = data.load(data.find_task("minari:test/free-v0"), "unused")
    np.testing.assert_array_equal(
        boxes.find(raw, declared=(raw.action_low, raw.action_high))[:2], [[-1], [1]]
    )


@pytest.mark.parametrize(
    ("space", "action_space", "says"),
    [
        (gymnasium.spaces.Box(-1, 1, (1,)), gymnasium.spaces.Discrete(3), "actions are Discrete"),
        (
            gymnasium.spaces.Discrete(4),
            gymnasium.spaces.Box(-1, 1, (1,)),
            "observations hold a Discrete",
        ),
        (
            gymnasium.spaces.Box(-1, 1, (1,)),
            gymnasium.spaces.Box(0, 10, (1,), np.int64),
            "actions are whole numbers, Box.0, 10, .1,., int64.",
        ),
    ],
)
def test_spaces_that_are_no_vectors_are_refused(store, space, action_space, says):
    def sample(kind, count):
        kind.seed(0)
        return np.array([kind.sample() for _ in range(count)])

    store(
        "test/odd-v0",
        space,
        [(sample(space, 4), sample(action_space, 3), True)],
        action_space=action_space,
    )
    with pytest.raises(InputError, match=says) as error:
        data.load(data.find_task("minari:test/odd-v0"), "unused")
    assert "\n" not in str(error.value)


def plain_episode(observations, steps):
    return (
        np.arange(observations, dtype=np.float64)[:, None],
        np.zeros((steps, 1), np.float32),
        False,
    )


@pytest.mark.parametrize("observations", [3, 5])
def test_an_episode_of_another_length_is_left_out_and_named(store, observations):
    # the totals agree in neither case with what each episode should have
    space, actions = (gymnasium.spaces.Box(-9, 9, (1,)), gymnasium.spaces.Box(-1, 1, (1,)))
    episodes = [plain_episode(4, 3), plain_episode(observations, 3), plain_episode(4, 3)]
    store("test/short-v0", space, episodes, action_space=actions)
    raw, info = data.load(data.find_task("minari:test/short-v0"), "unused")
    np.testing.assert_array_equal(raw.observations[:, 0], [0, 1, 2] * 2)
    np.testing.assert_array_equal(raw.next_observations[:, 0], [1, 2, 3] * 2)
    assert np.flatnonzero(raw.timeouts).tolist() == [2, 5]
    told = f"1 of 3 episodes are left out: episode 1 has {observations} observations for 3 rewards"
    assert told in info["summary"]["notes"][0]


def test_where_all_episodes_are_short_nothing_is_left(store):
    space, actions = (gymnasium.spaces.Box(-9, 9, (1,)), gymnasium.spaces.Box(-1, 1, (1,)))
    store("test/short-v0", space, [plain_episode(3, 3)] * 2, action_space=actions)
    with pytest.raises(InputError, match="2 of 2 episodes are left out: episode 0 has 3 obs"):
        data.load(data.find_task("minari:test/short-v0"), "unused")


def test_a_number_that_is_not_finite_is_told_with_episode_and_step(store):
    space, actions = (gymnasium.spaces.Box(-9, 9, (1,)), gymnasium.spaces.Box(-1, 1, (1,)))
    broken = plain_episode(4, 3)
    broken[0][2] = np.nan
    store("test/nan-v0", space, [plain_episode(4, 3), broken], action_space=actions)
    with pytest.raises(InputError, match="observations of episode 1 are NaN or infinite at step 2"):
        data.load(data.find_task("minari:test/nan-v0"), "unused")


def test_a_damaged_dataset_is_refused(store, tmp_path):
    store("test/goal-v0", SPACE, [goal_episode(0, 3, True)])
    (tmp_path / "minari" / "test" / "goal-v0" / "data" / "main_data.hdf5").write_bytes(b"nothing")
    with pytest.raises(InputError, match="^minari:test/goal-v0: .*; see what there is"):
        data.load(data.find_task("minari:test/goal-v0"), "unused")


def test_a_dataset_that_is_not_there_is_downloaded_by_minari(store, monkeypatch):
    def download(dataset_id):
        store(dataset_id, SPACE, [goal_episode(0, 3, True)])

    monkeypatch.setattr(minari.storage.hosting, "download_dataset", download)
    lines = []
    raw, _ = data.load(data.find_task("minari:test/goal-v0"), "unused", lines.append)
    assert len(raw.rewards) == 3 and lines == [
        "minari:test/goal-v0: not on this machine, Minari downloads it"
    ]

    def fail(dataset_id):
        raise ConnectionError("no\nnetwork")

    monkeypatch.setattr(minari.storage.hosting, "download_dataset", fail)
    with pytest.raises(
        InputError,
        match="^minari:test/other-v0: no network; see .*folder at '.*/minari/test/other-v0'$",
    ):
        data.load(data.find_task("minari:test/other-v0"), "unused", lines.append)


def test_without_the_package_the_remedy_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "minari", None)
    with pytest.raises(InputError, match=r"pip install -e '.\[minari\]'"):
        data.load(data.find_task("minari:test/goal-v0"), "unused")


@pytest.mark.parametrize(
    "name",
    ["minari:../goal-v0", "minari:/etc/goal-v0", "minari:a/../../b-v0", "minari:goal", "minari:"],
)
def test_an_id_that_is_a_path_is_refused(name):
    with pytest.raises(InputError, match="not an id"):
        data.find_task(name)


RAW = RawDataset(
    observations=np.array([[0.0, 1], [2, 3], [10, 11]], np.float32),
    actions=np.array([[-2.0, 0], [2, 10], [1, 5]], np.float32),
    rewards=np.array([1.0, 2, 4], np.float32),
    terminals=np.array([False, True, False]),
    timeouts=np.array([False, False, True]),
    next_observations=np.array([[2.0, 3], [4, 5], [12, 13]], np.float32),
    reference_scores=np.array([-5.0, 15]),
)


class Pair(gymnasium.Env):
    """Observes two numbers in a Dict."""

    observation_space = gymnasium.spaces.Dict(
        {key: gymnasium.spaces.Box(-np.inf, np.inf, (1,), np.float64) for key in "ba"}
    )
    action_space = ACTIONS

    def reset(self, *, seed=None, options=None):
        return {"b": np.array([2.0]), "a": np.array([1.0])}, {}


@pytest.fixture
def pair(tmp_path, monkeypatch):
    """A Pair, and an empty folder of Minari's datasets."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    gymnasium.register("EdpTestPair-v0", f"{__name__}:Pair", max_episode_steps=7)
    yield gymnasium.make("EdpTestPair-v0", disable_env_checker=True)
    del gymnasium.registry["EdpTestPair-v0"]


def test_what_is_written_is_read_back(pair):
    write_minari("test/pair-v0", RAW, pair, algorithm="by hand", description="three steps")
    raw, info = data.load(data.find_task("minari:test/pair-v0"), "unused")
    for key in (
        "observations",
        "actions",
        "rewards",
        "terminals",
        "timeouts",
        "next_observations",
        "reference_scores",
    ):
        np.testing.assert_array_equal(getattr(raw, key), getattr(RAW, key), err_msg=key)
    np.testing.assert_array_equal([raw.action_low, raw.action_high], [ACTIONS.low, ACTIONS.high])
    assert info["summary"]["episodes"] == 2
    dataset = minari.load_dataset("test/pair-v0")
    assert dataset.storage.metadata["description"] == "three steps"
    env = dataset.recover_environment(eval_env=True)
    np.testing.assert_array_equal(env.reset()[0], [1, 2])  # as flat as the data
    assert env.spec.max_episode_steps == 7


def test_a_dataset_that_is_there_is_not_written_over(pair):
    write_minari("test/pair-v0", RAW, pair, algorithm="", description="")
    for attempt in (
        check_new,
        lambda name: write_minari(name, RAW, pair, algorithm="", description=""),
    ):
        with pytest.raises(InputError, match="^minari:test/pair-v0: exists already"):
            attempt("test/pair-v0")
    check_new("test/pair-v1")


def test_a_dataset_that_cannot_be_finished_is_not_there(pair, monkeypatch):
    def fail(storage):
        assert storage.total_episodes == 2
        raise OSError("disk full")

    monkeypatch.setattr(minari.utils, "MinariDataset", fail)
    with pytest.raises(InputError, match="Minari cannot write it .disk full.; give another id"):
        write_minari("test/pair-v0", RAW, pair, algorithm="", description="")
    check_new("test/pair-v0")


def test_a_folder_of_minaris_that_cannot_be_made(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "file" / "minari"))
    with pytest.raises(
        InputError, match="^minari:test/pair-v0: .*give another folder as .MINARI_DATASETS_PATH"
    ):
        check_new("test/pair-v0")
