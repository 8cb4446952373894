"""robomimic's HDF5 files, written here as its script dataset_states_to_obs.py writes them."""

import json

import h5py
import numpy as np
import pytest

from edp_jax import data
from edp_jax.data.hdf5 import read_hdf5
from edp_jax.data.layout import Layout
from edp_jax.types import InputError

WIDTHS = {"object": 2, "robot0_eef_pos": 3, "robot0_eef_quat": 4, "robot0_gripper_qpos": 1}
ENV_ARGS = {"env_name": "Lift", "type": 1, "env_kwargs": {"robots": "Panda"}}


def demo(index: int, *, steps: int = 3, success: bool = True) -> dict[str, np.ndarray]:
    """Observations count on: 100 * index + 10 * step + the column. The last step is done."""
    content = {}
    for start, (key, width) in enumerate(WIDTHS.items()):
        rows = 100.0 * index + 10 * np.arange(steps + 1)[:, None] + start + np.arange(width) / 10
        content |= {f"obs/{key}": rows[:-1], f"next_obs/{key}": rows[1:]}
    content |= {
        "obs/agentview_image": np.zeros((steps, 2, 2, 3), np.uint8),
        "obs/robot0_joint_pos": np.zeros((steps, 7)),
        "actions": np.full((steps, 2), index / 100),
        "rewards": np.where(np.arange(steps) == steps - 1, float(success), 0.0),
        "dones": (np.arange(steps) == steps - 1).astype(int),
    }
    return content


@pytest.fixture
def store(tmp_path):
    """store(demos, **masks) -> the path of a file; a demonstration's None is left out."""

    def write(demos, **masks):
        path = str(tmp_path / "low_dim.hdf5")
        with h5py.File(path, "w") as file:
            for name, content in demos.items():
                for key, value in content.items():
                    if value is not None:
                        file[f"data/{name}/{key}"] = value
            file["data"].attrs["env_args"] = json.dumps(ENV_ARGS, indent=4)
            for key, names in masks.items():
                file[f"mask/{key}"] = np.array(names, dtype="S")
        return path

    return write


def numbered(*indices: int) -> dict[str, dict]:
    return {f"demo_{index}": demo(index) for index in indices}


def test_demonstrations_stand_in_the_order_of_their_numbers(store):
    raw = read_hdf5(store(numbered(10, 9, 2)))
    np.testing.assert_allclose(raw.actions[::3, 0], [0.02, 0.09, 0.10])
    # object, eef_pos, eef_quat, gripper: 2 + 3 + 4 + 1 columns of the second step of demo_2
    np.testing.assert_allclose(
        raw.observations[1], [210, 210.1, 211, 211.1, 211.2, 212, 212.1, 212.2, 212.3, 213]
    )
    np.testing.assert_array_equal(
        raw.next_observations[:, 0], [210, 220, 230, 910, 920, 930, 1010, 1020, 1030]
    )
    np.testing.assert_array_equal(np.flatnonzero(raw.terminals), [2, 5, 8])
    assert not raw.timeouts.any() and raw.whole_episodes
    assert raw.observation_names[:3] == ("object_0", "object_1", "robot0_eef_pos_0")
    assert (raw.action_low == -1).all() and (raw.action_high == 1).all()


def test_what_was_read_is_told(store):
    _, info = data.load(data.find_task(store(numbered(0, 1))), "")
    told = data.describe(info["summary"])
    assert "format: robomimic, all 2 demonstrations; done steps with reward 1 (success)" in told
    assert (
        "observations: object [2], robot0_eef_pos [3], robot0_eef_quat [4], robot0_gripper_qpos "
        "[1]; left out: agentview_image (images), robot0_joint_pos" in told
    )
    assert info["details"] == {"env_args": ENV_ARGS}


def test_a_filter_key_names_the_demonstrations(store):
    path = store(numbered(0, 1, 2, 3), train=["demo_3", "demo_1"], valid=["demo_0"])
    raw = read_hdf5(path, layout=Layout(filter_key="train"))
    np.testing.assert_allclose(raw.actions[::3, 0], [0.01, 0.03])
    assert "2 of 4 demonstrations, mask 'train'" in raw.understood[0]
    with pytest.raises(InputError, match=r"no such mask \(found: train, valid\)"):
        read_hdf5(path, layout=Layout(filter_key="test"))
    path = store(numbered(0, 1), bad=["demo_0", "demo_7"], double=["demo_0", "demo_0"])
    for key, name in (("bad", "demo_7"), ("double", "demo_0")):
        with pytest.raises(InputError, match=f"mask '{key}' names '{name}', which is not there"):
            read_hdf5(path, layout=Layout(filter_key=key))


def test_observation_keys_are_taken_in_the_given_order(store):
    layout = Layout(observation_keys=("robot0_gripper_qpos", "object"))
    raw = read_hdf5(store(numbered(0)), layout=layout)
    np.testing.assert_allclose(raw.observations[0], [3, 0, 0.1], atol=1e-6)
    for keys, says in ((("joints",), "is not in an"), (("object", "object"), "is there twice")):
        with pytest.raises(InputError, match=f"observation_keys: '{keys[0]}' {says}"):
            read_hdf5(store(numbered(0)), layout=Layout(observation_keys=keys))
    with pytest.raises(InputError, match=r"agentview_image' has shape \[3, 2, 2, 3\]; images are"):
        read_hdf5(store(numbered(0)), layout=Layout(observation_keys=("agentview_image",)))


def test_without_the_usual_keys_all_vectors_are_taken(store):
    content = demo(0) | dict.fromkeys(f"{part}/robot0_eef_pos" for part in ("obs", "next_obs"))
    content |= {"next_obs/robot0_joint_pos": np.zeros((3, 7)), "obs/t": np.arange(3)}
    raw = read_hdf5(store({"demo_0": content | {"next_obs/t": np.arange(1, 4)}}))
    assert raw.observation_dim == 2 + 4 + 1 + 7 + 1
    np.testing.assert_array_equal(raw.observations[:, -1], [0, 1, 2])  # t is the last by name


def test_done_without_success_is_a_cut_that_bootstraps(store, paired):
    """robomimic's done_mode 2 also marks the end of a demonstration that failed."""
    raw = read_hdf5(store({"demo_0": demo(0, success=False), "demo_1": demo(1)}))
    np.testing.assert_array_equal(np.flatnonzero(raw.terminals), [5])
    np.testing.assert_array_equal(np.flatnonzero(raw.timeouts), [2])
    np.testing.assert_array_equal(paired(raw).discount, [1, 1, 1, 1, 1, 0])


def test_success_that_no_done_marks_ends_nothing(store):
    """robomimic's done_mode 1 marks the last step alone, and rewards are paid before it."""
    content = demo(0, steps=4) | {"rewards": np.array([0.0, 1, 1, 1])}
    raw = read_hdf5(store({"demo_0": content}))
    np.testing.assert_array_equal(raw.terminals, [0, 0, 0, 1])


def test_a_task_that_is_over_before_the_demonstration_divides_it(store):
    """robomimic's done_mode 0 marks every step of success."""
    flags = {"rewards": np.array([0, 1.0, 0, 1]), "dones": np.array([0, 1, 0, 1])}
    raw = read_hdf5(store({"demo_0": demo(0, steps=4) | flags}))
    np.testing.assert_array_equal(raw.terminals, [0, 1, 0, 1])
    assert not raw.whole_episodes and "1 steps end the task inside an episode" in raw.notes[0]


def test_with_dense_rewards_done_ends_the_task_and_that_is_told(store):
    raw = read_hdf5(store({"demo_0": demo(0) | {"rewards": np.array([0.2, 0.3, 0.4])}}))
    np.testing.assert_array_equal(raw.terminals, [0, 0, 1])
    assert "success is not known" in raw.understood[0]


def test_demonstrations_without_rewards_or_with_a_rule(store):
    bare = dict.fromkeys(("rewards", "dones"))
    raw = read_hdf5(store({"demo_0": demo(0) | bare}))
    assert not raw.has_rewards and not raw.rewards.any() and raw.timeouts.tolist() == [0, 0, 1]
    raw = read_hdf5(store({"demo_0": demo(0) | bare}), layout=Layout(reward_rule="success_at_end"))
    assert raw.has_rewards and raw.rewards.tolist() == [0, 0, 1]
    assert raw.terminals.tolist() == [0, 0, 1]
    mixed = store({"demo_0": demo(0), "demo_1": demo(1) | bare})  # the rule asks for no rewards
    assert read_hdf5(mixed, layout=Layout(reward_rule="step_cost")).rewards.tolist() == [-1] * 6


def test_without_next_observations_the_last_step_of_a_cut_is_left_out(store, paired):
    content = demo(0, success=False)
    bare = {key: None for key in content if key.startswith("next_obs")}
    raw = read_hdf5(store({"demo_0": content | bare, "demo_1": demo(1) | bare}))
    assert paired(raw).size == 5


def test_a_last_step_whose_next_observation_is_its_own_is_left_out(store, paired):
    """So robomimic's converter of D4RL's data writes the ends that are time limits."""
    demos = {f"demo_{index}": demo(index, success=False) for index in range(3)}
    for content in demos.values():
        for key in WIDTHS:
            content[f"next_obs/{key}"][-1] = content[f"obs/{key}"][-1]
    raw = read_hdf5(store(demos))
    assert "are those before them" in raw.notes[0] and paired(raw).size == 6


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"actions": None}, "no key 'data/demo_1/actions'"),
        ({"rewards": None}, "no key 'data/demo_1/rewards'"),
        ({key: None for key in demo(1) if "next" in key}, "no key 'data/demo_1/next_obs/object'"),
        ({"obs/object": None}, "no key 'data/demo_1/obs/object'"),
        ({"actions": np.zeros((2, 2))}, "'data/demo_1/obs/object' has 3 rows and .* has 2"),
        ({"rewards": np.zeros(4)}, "'data/demo_1/rewards' has 4 rows and .* has 3"),
        ({"obs/robot0_eef_pos": np.zeros((2, 3))}, "eef_pos' has 2 rows, the first array .* 3"),
        ({"actions": np.zeros((3, 5))}, "has 5 columns, not 2 as in the first episode"),
        ({"actions": np.zeros((3, 2), "S1")}, r"'data/demo_1/actions' has dtype \|S1"),
        ({"dones": np.array([0, 0, 2])}, "'dones' holds 1 values that are neither 0 nor 1"),
        ({"rewards": np.array(1.0)}, r"rewards' has shape \[\]; store one row"),
        ({"rewards": np.array([0, np.nan, 1])}, "'rewards' holds 1 values that are NaN"),
        ({"actions": np.full((3, 2), np.inf)}, "'actions' holds 6 values .* row 3"),
    ],
)
def test_demonstrations_of_no_use_are_refused(store, changes, says):
    with pytest.raises(InputError, match=says) as error:
        read_hdf5(store({"demo_0": demo(0), "demo_1": demo(1) | changes}))
    assert "\n" not in str(error.value) and len(str(error.value)) <= 300
    with pytest.raises(InputError):  # whichever is the first
        read_hdf5(store({"demo_0": demo(0) | changes, "demo_1": demo(1)}))


def test_what_is_not_in_the_file_is_refused(store, tmp_path):
    path = store(numbered(0))
    with h5py.File(path, "a") as file:
        file["data/demo_1"] = h5py.ExternalLink("elsewhere.hdf5", "data/demo_1")
    with pytest.raises(InputError, match="lie in other files"):
        read_hdf5(path)
    path = store({"demo_0": demo(0) | {"obs/object": None}})
    with h5py.File(path, "a") as file:  # a claim of a petabyte
        file.create_dataset("data/demo_0/obs/object", (10**14, 2), "f4", chunks=(1000, 2))
    with pytest.raises(InputError, match="rows of key 'data/demo_0/obs/object' were never written"):
        read_hdf5(path)


def test_a_buffer_of_another_layout_is_told_what_to_do(tmp_path):
    """As Diffusion Policy (arXiv 2303.04137) keeps one."""
    with h5py.File(tmp_path / "buffer.hdf5", "w") as file:
        file["data/action"], file["data/state"] = np.zeros((6, 2)), np.zeros((6, 3))
        file["meta/episode_ends"] = np.array([3, 6])
    with pytest.raises(InputError, match="'data' holds action, state, not robomimic's groups"):
        read_hdf5(tmp_path / "buffer.hdf5")


def test_a_number_beside_observations_is_no_image(store):
    raw = read_hdf5(store({"demo_0": demo(0) | {"obs/mass": np.float32(3)}}))
    assert "left out: agentview_image (images), mass, robot0" in raw.understood[1]


@pytest.mark.parametrize("groups", [["data"], ["data/demo_0/actions"]])
def test_demonstrations_without_observations_are_refused(tmp_path, groups):
    with h5py.File(tmp_path / "raw.hdf5", "w") as file:
        for group in groups:
            file.create_group(group)
    with pytest.raises(InputError, match="holds no (demonstrations|observations)"):
        read_hdf5(tmp_path / "raw.hdf5")
