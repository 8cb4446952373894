"""OGBench: its files and environments, against its own package."""

import warnings

import numpy as np
import pytest

from edp_jax import data
from edp_jax.evaluation import envs, rollout
from edp_jax.types import EnvSpec, InputError

pytest.importorskip("gymnasium", reason="needs gymnasium, the extra ogbench")
ogbench = pytest.importorskip("ogbench", reason="needs ogbench, the extra ogbench")

from edp_jax.evaluation.ogbench import Success  # noqa: E402

MAZE = "pointmaze-medium-navigate-singletask-task3-v0"
CUBE = "cube-single-play-singletask-task1-v0"


def collect(env, act, steps: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Trajectories of so many rows each, as the scripts of OGBench store them."""
    rows = {key: [] for key in ("observations", "actions", "terminals", "qpos", "qvel")}
    for episode, length in enumerate(steps):
        observation, _ = env.reset(seed=episode)
        for step in range(length):
            action = act(env)
            following, *_, info = env.step(action)
            values = (observation, action, step == length - 1, info["prev_qpos"], info["prev_qvel"])
            for key, value in zip(rows, values, strict=True):
                rows[key].append(value)
            observation = following
    types = {"terminals": bool}
    return {key: np.array(value, types.get(key, np.float32)) for key, value in rows.items()}


def towards_the_goal(env) -> np.ndarray:
    """The scripted policy that OGBench collects its point mazes with."""
    maze = env.unwrapped
    direction = maze.get_oracle_subgoal(maze.get_xy(), maze.cur_goal_xy)[0] - maze.get_xy()
    return (direction / (np.linalg.norm(direction) + 1e-6)).astype(np.float32)


def write(folder, name: str, arrays: dict) -> str:
    parts = name.split("-")
    cut = parts.index("singletask")
    path = folder / ("-".join([*parts[:cut], "v0"]) + ".npz")
    for suffix in ("", "-val"):
        np.savez_compressed(path.with_name(path.stem + suffix + ".npz"), **arrays)
    return str(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Files of OGBench's layout; those of the maze reach the goal, the cube is put there."""
    folder = tmp_path_factory.mktemp("ogbench")
    env = Success(ogbench.make_env_and_datasets(MAZE, env_only=True))  # draws the same each time
    write(folder, MAZE, collect(env, towards_the_goal, (150, 140, 4)))
    env = Success(ogbench.make_env_and_datasets(CUBE, env_only=True))
    rng = np.random.default_rng(0)
    arrays = collect(env, lambda env: rng.uniform(-1, 1, 5).astype(np.float32), (6, 5))
    arrays["qpos"][[2, 3, 8], 14:17] = env.unwrapped._data.mocap_pos[0]
    write(folder, CUBE, arrays)
    return folder


@pytest.mark.parametrize("name", [MAZE, CUBE])
def test_a_file_is_read_as_by_the_package(folder, name, paired):
    """Not one number differs, in its regular layout or, stored again, in its compact one."""
    task = data.find_task(f"ogbench:{name}")
    raw, info = data.load(task, str(folder))
    _, wanted, _ = ogbench.make_env_and_datasets(name, dataset_path=info["path"])
    assert info["path"] == str(folder / task.file_name)
    rows = paired(raw)
    np.testing.assert_array_equal(rows.observation, wanted["observations"])
    np.testing.assert_array_equal(rows.action, wanted["actions"])
    np.testing.assert_array_equal(rows.next_observation, wanted["next_observations"])
    np.testing.assert_array_equal(rows.reward, wanted["rewards"])
    np.testing.assert_array_equal(rows.discount, wanted["masks"])
    ends = raw.terminals | raw.timeouts
    np.testing.assert_array_equal(ends, (wanted["terminals"] == 1) | (wanted["masks"] == 0))
    assert 0 < raw.terminals.sum() < len(ends) and raw.timeouts.any()
    assert not raw.whole_episodes
    (note,) = raw.notes
    assert "end the task inside an episode" in note


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda arrays: arrays.pop("qpos"), "no key 'qpos'"),
        (lambda arrays: arrays.update(qpos=arrays["qpos"][:, :1]), "not .N, 2.: it is no dataset"),
        (lambda arrays: arrays.update(actions=arrays["actions"][:-1]), "arrays of unequal length"),
        (lambda arrays: arrays["terminals"].__setitem__(-1, False), "row 293 is not as in OGBench"),
    ],
)
def test_a_file_that_is_no_such_dataset_is_refused(folder, tmp_path, change, message):
    task = data.find_task(f"ogbench:{MAZE}")
    with np.load(data.find_file(task, str(folder))) as file:
        arrays = dict(file)
    change(arrays)
    np.savez(tmp_path / task.file_name, **arrays)
    with pytest.raises(InputError, match=message) as error:
        data.load(task, str(tmp_path))
    assert "\n" not in str(error.value) and len(str(error.value)) <= 300


def test_a_name_of_no_environment_is_refused(tmp_path):
    with pytest.raises(InputError, match="NameNotFound.*; use a name that OGBench lists"):
        data.load(data.find_task("ogbench:cubes-many-play-singletask-v0"), str(tmp_path))


@pytest.mark.parametrize("compact", [True, False])
@pytest.mark.parametrize("name", [MAZE, CUBE])
def test_what_the_package_gives_can_be_stored_and_read(folder, tmp_path, name, compact, paired):
    raw, info = data.load(data.find_task(f"ogbench:{name}"), str(folder))
    _, given, _ = ogbench.make_env_and_datasets(
        name, dataset_path=info["path"], compact_dataset=compact
    )
    assert ("valids" in given) == compact
    path = str(tmp_path / "mine.npz")
    np.savez(path, **given)
    again, _ = data.load(data.find_task(path), "")
    for one, other in zip(vars(paired(raw)).values(), vars(paired(again)).values(), strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(raw.timeouts, again.timeouts)


def test_the_score_is_the_success_rate():
    """The scripted policy reaches the goal, one that stands still does not."""
    environment = EnvSpec(f"ogbench:{MAZE}")
    env = envs.make(environment, 1)[0]
    assert env.observation_space.shape == (2,) and env.spec.max_episode_steps == 1000

    def act(observation, step):
        return np.stack([[towards_the_goal(env)], [np.zeros(2)]])

    seeds = np.array([[0], [1]])
    env, other = envs.make(environment, 2)
    episodes = rollout(act, environment, seeds=seeds)
    assert episodes.returns.tolist() == [[1], [0]]
    assert episodes.lengths[0] < 200 and episodes.lengths[1] == 1000
    task = data.find_task(f"ogbench:{MAZE}")
    assert task.reference_scores == (0, 1) and task.environment == environment.name
    assert not task.stored_returns_compare


def test_what_others_draw_changes_nothing_in_an_episode():
    env = envs.make(EnvSpec(f"ogbench:{MAZE}"), 1)[0]
    np.random.seed(5)
    before = np.random.get_state()[1].tolist()
    first = env.reset(seed=3)[0], env.step(np.ones(2, np.float32))[0]
    assert np.random.get_state()[1].tolist() == before
    np.random.seed(6)
    again = env.reset(seed=3)[0], env.step(np.ones(2, np.float32))[0]
    np.testing.assert_array_equal(first, again)
    assert (env.reset(seed=4)[0] != first[0]).any()


def test_the_warnings_of_its_boxes_are_kept_back_there_alone():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        before = warnings.filters[:]
        env = envs.make(EnvSpec(f"ogbench:{CUBE}"), 1)[0]
        env.reset(seed=3)
        env.step(env.action_space.sample())
        assert warnings.filters == before


@pytest.mark.parametrize("dataset", ["cube-double-play", "scene-play", "puzzle-3x3-play"])
def test_copies_of_an_arm_act_as_one_that_is_alone(dataset):
    """Side by side and with different actions, each does what it does in turn."""
    seeds, rng = (3, 4, 5), np.random.default_rng(0)
    actions = rng.uniform(-1, 1, (len(seeds), 25, 5)).astype(np.float32)
    name = f"{dataset}-singletask-task2-v0"
    together = envs.make(EnvSpec(f"ogbench:{name}"), len(seeds))
    seen = [[env.reset(seed=seed)[0]] for env, seed in zip(together, seeds, strict=True)]
    for step in range(25):
        for env, rows, action in zip(together, seen, actions[:, step], strict=True):
            rows.append(env.step(action)[0])
    alone = Success(ogbench.make_env_and_datasets(name, env_only=True))
    for rows, seed, each in zip(seen, seeds, actions, strict=True):
        expected = [alone.reset(seed=seed)[0], *(alone.step(action)[0] for action in each)]
        np.testing.assert_array_equal(rows, np.array(expected, np.float32))


def test_copies_of_an_arm_have_models_of_their_own():
    """A button of a scene locks its drawer, by the damping of a joint of the model."""
    first, second = envs.make(EnvSpec("ogbench:scene-play-singletask-v0"), 2)
    dampings = []
    for pressed in (0, 1):
        for env, state in ((first, pressed), (second, 1 - pressed)):
            env.reset(seed=0)
            env.unwrapped._cur_button_states[0] = state
            env.unwrapped._apply_button_states()
        dampings.append(
            [env.unwrapped.model.joint("drawer_slide").damping[0] for env in (first, second)]
        )
    assert dampings == [[1e6, 2], [2, 1e6]]
