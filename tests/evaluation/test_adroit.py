import h5py
import numpy as np
import pytest

from edp_jax import data
from edp_jax.evaluation import envs, rollout
from edp_jax.types import EnvSpec

SIZES = {"pen": (45, 24), "hammer": (46, 26), "door": (39, 28), "relocate": (39, 30)}
LIMITS = {"pen": 100, "hammer": 200, "door": 200, "relocate": 200}


def site(env, name):
    return env.unwrapped.data.site(name).xpos


def d4rl_reward(name, env):
    """The rewards of `d4rl/hand_manipulation_suite`, written from positions in the simulator."""
    data = env.unwrapped.data
    palm, distance = site(env, "S_grasp"), np.linalg.norm
    if name == "door":
        angle = data.joint("door_hinge").qpos[0]
        reward = (
            -0.1 * distance(palm - site(env, "S_handle"))
            - 0.1 * (angle - 1.57) ** 2
            - 1e-5 * np.sum(data.qvel**2)
        )
        return reward + 2 * (angle > 0.2) + 8 * (angle > 1.0) + 10 * (angle > 1.35)
    body = data.body("Object").xpos
    if name == "hammer":
        tool, nail, goal = site(env, "tool"), site(env, "S_target"), site(env, "nail_goal")
        reward = (
            -0.1 * distance(palm - body)
            - distance(tool - nail)
            - 10 * distance(nail - goal)
            - 0.01 * distance(data.qvel)
        )
        depth = distance(nail - goal)
        return (
            reward
            + 2 * (body[2] > 0.04 and tool[2] > 0.04)
            + 25 * (depth < 0.02)
            + 75 * (depth < 0.01)
        )
    if name == "relocate":
        target = site(env, "target")
        lifted = (
            1.0 - 0.5 * distance(palm - target) - 0.5 * distance(body - target)
            if body[2] > 0.04
            else 0.0
        )
        near = distance(body - target)
        return -0.1 * distance(palm - body) + lifted + 10 * (near < 0.1) + 20 * (near < 0.05)
    pen = site(env, "object_top") - site(env, "object_bottom")
    wanted = site(env, "target_top") - site(env, "target_bottom")
    near, similarity = (
        distance(body - site(env, "eps_ball")),
        pen @ wanted / (distance(pen) * distance(wanted)),
    )
    bonus = (near < 0.075) * (10 * (similarity > 0.9) + 50 * (similarity > 0.95))
    return similarity - near + bonus - 5 * (body[2] < 0.075)


@pytest.fixture(scope="module")
def demonstrations(d4rl_dir):
    """The stored demonstrations as dicts of arrays [T, ...]."""
    task = data.find_task("door-human-v0")
    path = data.find_file(task, str(d4rl_dir(task.name)))
    with h5py.File(path) as file:
        columns = {
            key: file[key][:]
            for key in ("observations", "actions", "rewards", "infos/qpos", "infos/qvel")
        }
        cuts = np.flatnonzero(file["terminals"][:])[:-1] + 1
    parts = {key: np.split(values, cuts) for key, values in columns.items()}
    return [
        dict(zip(parts, demonstration, strict=True))
        for demonstration in zip(*parts.values(), strict=True)
    ]


def set_door(env, demonstration):
    """Puts the simulator at the start of a demonstration.

    Where the door stands follows from the stored position of its handle.
    """
    state = {
        "qpos": demonstration["infos/qpos"][0].astype(np.float64),
        "qvel": demonstration["infos/qvel"][0].astype(np.float64),
        "door_body_pos": np.zeros(3),
    }
    env.unwrapped.set_env_state(state)
    state["door_body_pos"] = demonstration["observations"][0, 32:35] - site(env, "S_handle")
    env.unwrapped.set_env_state(state)


def replay(env, demonstration):
    """Observations after each action [T, 39] and rewards [T]."""
    env.reset(seed=0)
    set_door(env, demonstration)
    steps = [env.step(action)[:2] for action in demonstration["actions"]]
    return np.stack([observation for observation, _ in steps]), np.array(
        [reward for _, reward in steps]
    )


@pytest.mark.parametrize("name", SIZES)
def test_sizes_and_seeds(name):
    (env,) = envs.make(EnvSpec(name), 1)
    first, _ = env.reset(seed=3)
    assert (first.shape, first.dtype) == ((SIZES[name][0],), np.float32)
    assert env.action_space.shape == (SIZES[name][1],)
    assert np.all(env.action_space.low == -1) and np.all(env.action_space.high == 1)
    np.testing.assert_array_equal(env.reset(seed=3)[0], first)
    assert not np.array_equal(env.reset(seed=4)[0], first)


@pytest.mark.parametrize("name", SIZES)
def test_rewards_are_those_of_d4rl(name):
    (env,) = envs.make(EnvSpec(name), 1)
    env.action_space.seed(0)
    env.reset(seed=0)
    for _ in range(30):
        reward = env.step(env.action_space.sample())[1]
        assert reward == pytest.approx(d4rl_reward(name, env), abs=1e-9)


def test_bonuses_of_hammer_and_relocate():
    (hammer,) = envs.make(EnvSpec("hammer"), 1)
    hammer.reset(seed=0)
    hammer.unwrapped.data.joint("nail_dir").qpos[:] = 0.09  # driven in
    reward, info = hammer.step(np.zeros(26))[1::3]
    assert (
        info["success"] and reward == pytest.approx(d4rl_reward("hammer", hammer)) and reward > 95
    )
    (relocate,) = envs.make(EnvSpec("relocate"), 1)
    relocate.reset(seed=0)
    data = relocate.unwrapped.data
    for axis, offset in zip(
        "xyz", site(relocate, "target") - data.body("Object").xpos, strict=True
    ):
        data.joint(f"OBJT{axis}").qpos[:] = offset
    reward, info = relocate.step(np.zeros(30))[1::3]
    assert (
        info["success"]
        and reward == pytest.approx(d4rl_reward("relocate", relocate))
        and reward > 30
    )


@pytest.mark.parametrize("name", ["hammer", "door", "relocate"])
def test_only_the_time_limit_ends_an_episode(name):
    (env,) = envs.make(EnvSpec(name), 1)
    env.reset(seed=0)
    ends = [env.step(np.zeros(SIZES[name][1]))[2:4] for _ in range(LIMITS[name])]
    assert ends[-1] == (False, True)
    assert not any(terminated or truncated for terminated, truncated in ends[:-1])


def test_a_held_pen_is_cut_after_100_steps_and_a_dropped_one_ends_at_once():
    (env,) = envs.make(EnvSpec("pen"), 1)
    env.reset(seed=0)
    ends = [env.step(np.zeros(24))[2:4] for _ in range(100)]
    assert ends[-1] == (False, True)
    assert not any(terminated or truncated for terminated, truncated in ends[:-1])
    env.reset(seed=0)
    env.unwrapped.data.joint("OBJTx").qpos[:] = 0.19  # points down; the pen starts 0.25 high
    observation, reward, terminated, truncated, _ = env.step(np.zeros(24))
    assert observation[26] < 0.075 and (terminated, truncated) == (True, False)
    assert reward == pytest.approx(d4rl_reward("pen", env))


@pytest.mark.parametrize(
    ("name", "reference", "tolerance"),
    [("hammer", -274.856578, 4.0), ("door", -56.512833, 0.6)],  # three standard errors
)
def test_random_actions_earn_what_d4rl_counts_as_0(name, reference, tolerance):
    rng = np.random.default_rng(0)
    episodes = rollout(
        lambda observation, step: rng.uniform(-1, 1, (*observation.shape[:2], SIZES[name][1])),
        EnvSpec(name),
        seeds=np.arange(15)[None],
    )
    assert episodes.returns.mean() == pytest.approx(reference, abs=tolerance)


@pytest.mark.parametrize(
    "index", [1, 17, 24]
)  # 17 rests on contacts that MuJoCo 3.3 finds in another way
def test_stored_actions_of_a_door_demonstration_repeat_it(demonstrations, index):
    (env,) = envs.make(EnvSpec("door"), 1)
    demonstration = demonstrations[index]
    observations, rewards = replay(env, demonstration)
    np.testing.assert_allclose(observations[:-1], demonstration["observations"][1:], atol=1e-6)
    np.testing.assert_allclose(rewards, demonstration["rewards"], atol=2e-6)


def test_returns_of_door_demonstrations(demonstrations):
    (env,) = envs.make(EnvSpec("door"), 1)
    stored = np.array(
        [demonstration["rewards"].sum(dtype=np.float64) for demonstration in demonstrations]
    )
    replayed = np.array([replay(env, demonstration)[1].sum() for demonstration in demonstrations])
    assert len(stored) == 25 and stored.mean() == pytest.approx(795.7, abs=0.05)
    np.testing.assert_allclose(replayed, stored, atol=1e-4, rtol=0)
