"""The table of tasks and the search in it."""

import pytest

from edp_jax.data import find_task, list_tasks
from edp_jax.types import InputError


def test_names_are_unique_and_built_in_tasks_come_first():
    names = list_tasks()
    assert len(set(names)) == len(names)
    assert names[0] == "builtin/hopper-medium"


def test_every_listed_task_is_found_and_complete():
    for name in list_tasks():
        task = find_task(name)
        assert task.name == name
        assert task.max_episode_steps > 0
        assert task.reference_scores[0] < task.reference_scores[1]
        assert (task.file_name is None) == name.startswith("builtin/")


def test_paper_tasks_are_known():
    qualities = ("medium", "medium-replay", "medium-expert")
    locomotion = [
        f"{robot}-{quality}-v2"
        for robot in ("halfcheetah", "hopper", "walker2d")
        for quality in qualities
    ]
    mazes = (
        "umaze",
        "umaze-diverse",
        "medium-play",
        "medium-diverse",
        "large-play",
        "large-diverse",
    )
    antmaze = [f"antmaze-{maze}-{version}" for maze in mazes for version in ("v0", "v2")]
    others = [
        "pen-human-v1",
        "pen-cloned-v1",
        "kitchen-complete-v0",
        "kitchen-partial-v0",
        "kitchen-mixed-v0",
    ]
    assert set(locomotion + antmaze + others) <= set(list_tasks())


@pytest.mark.parametrize("robot", ["hopper", "halfcheetah", "walker2d"])
@pytest.mark.parametrize(
    "quality", ["medium", "medium-replay", "medium-expert", "expert", "random"]
)
def test_built_in_tasks_are_evaluated_and_scored_as_d4rls(robot, quality):
    task, d4rl = find_task(f"builtin/{robot}-{quality}"), find_task(f"{robot}-medium-v2")
    assert task.environment == d4rl.environment == robot
    assert (task.reference_scores, task.max_episode_steps) == (d4rl.reference_scores, 1000)


def test_file_names_follow_d4rl():
    assert (
        find_task("hopper-medium-replay-v2").file_name
        == "gym_mujoco_v2/hopper_medium_replay-v2.hdf5"
    )
    assert find_task("antmaze-large-play-v0").file_name == (
        "ant_maze_new/Ant_maze_hardest-maze_noisy_multistart_True_multigoal_False_sparse.hdf5"
    )
    assert find_task("antmaze-umaze-diverse-v2").file_name == (
        "ant_maze_v2/Ant_maze_u-maze_noisy_multistart_True_multigoal_True_sparse_fixed.hdf5"
    )


def test_environments():
    assert find_task("builtin/hopper-medium").environment == "hopper"
    assert find_task("kitchen-complete-v0").environment == "kitchen-complete"
    assert (
        find_task("door-human-v0").environment == find_task("door-cloned-v1").environment == "door"
    )
    assert find_task("antmaze-large-play-v0").environment == "antmaze-large-v0"
    assert find_task("antmaze-umaze-diverse-v2").environment == "antmaze-umaze-v2"
    assert find_task("maze2d-medium-v1").environment == "maze2d-medium"


@pytest.mark.parametrize("path", ["some/where/mine.hdf5", "../mine.npz"])
def test_path_of_a_file_is_a_custom_task(path):
    task = find_task(path)
    assert (task.domain, task.file_name) == ("custom", path)
    assert task.environment is None and task.reference_scores is None


def test_unknown_task_lists_near_names_in_one_line():
    with pytest.raises(InputError) as error:
        find_task("hoper-medium-v2")
    message = str(error.value)
    assert (
        "'hoper-medium-v2'" in message
        and "no such task" in message
        and "hopper-medium-v2," in message
    )
    assert "\n" not in message


def test_unknown_task_without_near_names_still_names_some():
    with pytest.raises(InputError, match="'zzz'.*builtin/hopper-medium"):
        find_task("zzz")


@pytest.mark.parametrize(
    "name",
    [
        "../hopper-medium-v2",
        "builtin/../hopper-medium",
        "kitchen-complete-v0/..",
        "legacy:../kitchen-v0",
    ],
)
def test_a_name_with_dots_is_refused(name):
    with pytest.raises(InputError, match="no such task|no name of a D4RL environment") as error:
        find_task(name)
    assert repr(name) in str(error.value) and "\n" not in str(error.value)


def test_a_legacy_task_is_d4rls_with_another_source():
    plain, legacy = find_task("kitchen-mixed-v0"), find_task("legacy:kitchen-mixed-v0")
    assert (legacy.environment, legacy.file_name) == ("legacy:kitchen-mixed-v0", None)
    assert (legacy.domain, legacy.reference_scores) == (plain.domain, plain.reference_scores)
    unknown = find_task("legacy:hopper-random-v2")
    assert unknown.environment == "legacy:hopper-random-v2" and unknown.reference_scores is None


def test_every_adroit_task_has_human_cloned_and_expert_data():
    for hand in ("pen", "hammer", "door", "relocate"):
        for kind in ("human", "cloned", "expert"):
            assert find_task(f"{hand}-{kind}-v1").file_name == f"hand_dapg_v1/{hand}-{kind}-v1.hdf5"
