import pathlib
import re
import subprocess
import sys

import h5py
import numpy as np
import pytest

from edp_jax import data
from edp_jax.evaluation import envs, kitchen
from edp_jax.types import EnvSpec, InputError

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope="module")
def kitchens():
    return envs.make(EnvSpec("kitchen-complete"), 2)


@pytest.fixture(scope="module")
def demonstrations(d4rl_dir):
    """The stored demonstrations as a list of (observations [T, 60], actions [T, 9])."""
    task = data.find_task("kitchen-complete-v0")
    path = data.find_file(task, str(d4rl_dir(task.name)))
    with h5py.File(path) as file:
        observations, actions, terminals = (
            file[key][:] for key in ("observations", "actions", "terminals")
        )
    cuts = np.flatnonzero(terminals)[:-1] + 1
    return list(zip(np.split(observations, cuts), np.split(actions, cuts), strict=True))


def replay(env, observations, actions, seed=0):
    """Return, steps and whether the episode ended.

    The position control starts from the stored joints of the robot.
    """
    env.reset(seed=seed)
    total, terminated, steps = 0.0, False, 0
    for observation, action in zip(observations, actions, strict=True):
        env.unwrapped.robot_env._last_robot_qpos = observation[:9].astype(np.float64)
        _, reward, terminated, _, _ = env.step(action)
        total, steps = total + reward, steps + 1
        if terminated:
            break
    return total, steps, terminated


@pytest.mark.parametrize(
    ("name", "observation_dim", "action_dim"),
    [("hopper", 11, 3), ("halfcheetah", 17, 6), ("walker2d", 17, 6)],
)
def test_locomotion_has_the_sizes_of_d4rl_and_is_seeded(name, observation_dim, action_dim):
    (env,) = envs.make(EnvSpec(name), 1)
    first, _ = env.reset(seed=3)
    assert first.shape == (observation_dim,) and first.dtype == np.float32
    assert env.action_space.shape == (action_dim,)
    assert np.all(env.action_space.low == -1) and np.all(env.action_space.high == 1)
    np.testing.assert_array_equal(env.reset(seed=3)[0], first)
    assert not np.array_equal(env.reset(seed=4)[0], first)
    assert env.spec.max_episode_steps == 1000


def test_unknown_environment_names_a_near_one():
    with pytest.raises(InputError, match="'hoper' is unknown; use one of: hopper"):
        envs.make(EnvSpec("hoper"), 1)


@pytest.mark.parametrize(
    ("package", "name"),
    [
        ("gymnasium", "maze2d-umaze"),
        ("mujoco", "maze2d-umaze"),
        ("gymnasium_robotics", "kitchen-complete"),
    ],
)
def test_a_missing_simulator_is_named_with_the_remedy(package, name):
    code = f"""
import sys
sys.modules[{package!r}] = None
from edp_jax.evaluation import envs
from edp_jax.types import EnvSpec, InputError
try:
    envs.check_sizes(EnvSpec({name!r}), 4, 2)
except InputError as error:
    print(error)
"""
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    remedy = r"; pip install -e '.\[simulators\]'"
    assert re.fullmatch(f"environment {name!r}: .*{package}.*{remedy}\n", printed), printed


@pytest.mark.parametrize("version", ["3.1.6", "3.4.0"])
def test_tested_mujoco_is_silent(version, recwarn):
    envs.warn_about_mujoco(version)
    assert not recwarn.list


@pytest.mark.parametrize("version", ["2.3.7", "3.1.5", "3.5.0", "4.0.0"])
def test_untested_mujoco_warns_of_the_effect(version):
    with pytest.warns(
        UserWarning, match=f"mujoco {version} .* returns and built-in datasets may differ"
    ) as caught:
        envs.warn_about_mujoco(version)
    required = str(caught[0].message).split("install ")[1].strip("'")
    assert f'"{required}"' in (ROOT / "pyproject.toml").read_text()


def test_kitchen_goal_is_zero_but_for_the_elements_of_the_task():
    goal = kitchen.kitchen_goal(("microwave", "slide cabinet"))
    expected = np.zeros(30)
    expected[22], expected[19] = -0.75, 0.37
    np.testing.assert_array_equal(goal, expected)


def test_kitchen_observation_matches_the_stored_ones(kitchens, demonstrations):
    observation, _ = kitchens[0].reset(seed=0)
    stored = demonstrations[0][0][0]
    assert observation.shape == (60,) and observation.dtype == np.float32
    np.testing.assert_allclose(observation[30:], stored[30:], atol=1e-6)
    np.testing.assert_allclose(observation[9:30], stored[9:30], atol=0.02)
    np.testing.assert_allclose(observation[:9], stored[:9], atol=0.3)


def test_kitchen_noise_is_seeded_and_of_the_recorded_size(kitchens):
    observation, _ = kitchens[0].reset(seed=5)
    np.testing.assert_array_equal(kitchens[0].reset(seed=5)[0], observation)
    joints = np.stack([kitchens[0].reset(seed=seed)[0][:7] for seed in range(20)])
    spread = joints.max(axis=0) - joints.min(axis=0)
    assert np.all(spread > 0.005) and np.all(spread <= 0.0201)  # uniform in +- 0.1 * 0.1


def test_kitchens_share_the_model_but_no_state(kitchens):
    first, twin = kitchens
    action = np.full(9, 0.3)
    first.reset(seed=1)
    alone = [first.step(action)[0] for _ in range(5)]
    first.reset(seed=2)
    first.step(-action)
    twin.reset(seed=1)  # in the middle of the other one's episode
    together = []
    for _ in range(5):
        first.step(-action)
        together.append(twin.step(action)[0])
    np.testing.assert_array_equal(together, alone)
    assert first.unwrapped.model is twin.unwrapped.model


def test_kitchen_is_cut_after_280_steps(kitchens):
    env = kitchens[0]
    env.reset(seed=0)
    ends = [env.step(np.zeros(9))[2:4] for _ in range(280)]
    assert ends[-1] == (False, True)
    assert not any(terminated or truncated for terminated, truncated in ends[:-1])


@pytest.mark.parametrize("index", [0, 9, 18])
def test_stored_actions_complete_the_four_tasks(kitchens, demonstrations, index):
    total, _, terminated = replay(kitchens[index % 2], *demonstrations[index])
    assert total == 4.0
    assert terminated


@pytest.mark.slow
def test_all_demonstrations_complete_the_four_tasks(kitchens, demonstrations):
    results = [replay(kitchens[0], *demonstration) for demonstration in demonstrations]
    assert len(results) == 19
    assert [total for total, _, _ in results] == [4.0] * 19
    assert all(terminated for _, _, terminated in results)
