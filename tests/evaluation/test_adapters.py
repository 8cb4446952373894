import sys
from collections import OrderedDict

import gymnasium
import numpy as np
import pytest

from edp_jax.evaluation import check_sizes, envs, rollout
from edp_jax.types import EnvSpec, InputError


class Endless(gymnasium.Env):
    """Never ends; observes a Dict whose keys are not given in order."""

    observation_space = gymnasium.spaces.Dict(
        {
            "b": gymnasium.spaces.Dict(
                {"y": gymnasium.spaces.Box(0, 9, (1, 2)), "x": gymnasium.spaces.Discrete(3)}
            ),
            "a": gymnasium.spaces.Box(0, 9, (2,), np.float64),
        }
    )
    action_space = gymnasium.spaces.Box(-3, 5, (1,), np.float32)

    def __init__(self, start=0.0):
        self.start = start

    def _observe(self):
        return {
            "b": {"y": np.array([[4.0, 5.0]], np.float32), "x": 1},
            "a": np.array([self.start, 2.0]),
        }

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self._observe(), {}

    def step(self, action):
        return self._observe(), float(action[0]), False, False, {}


class Ordered(Endless):
    """The same observations from a space whose keys are in no order."""

    parts = Endless.observation_space
    observation_space = gymnasium.spaces.Dict(
        OrderedDict(b=gymnasium.spaces.Dict(OrderedDict(parts["b"].items())), a=parts["a"])
    )


class Boxless(Endless):
    action_space = gymnasium.spaces.Discrete(2)


class Lots(Endless):
    action_space = gymnasium.spaces.Box(0, 10, (1,), np.int64)


class Short(Endless):
    """Its observations are not those of its space: one number would be copied into all columns."""

    observation_space = gymnasium.spaces.Box(-9, 9, (3,), np.float32)

    def _observe(self):
        return np.zeros(1, np.float32)


@pytest.fixture(scope="module", autouse=True)
def registered():
    gymnasium.register("EdpTestEndless-v0", Endless)
    gymnasium.register("EdpTestBoxless-v0", Boxless, max_episode_steps=5)
    gymnasium.register("EdpTestLots-v0", Lots, max_episode_steps=5)
    gymnasium.register("EdpTestOrdered-v0", Ordered, max_episode_steps=5)
    gymnasium.register("EdpTestShort-v0", Short, max_episode_steps=5)
    yield
    for kind in ("Endless", "Boxless", "Lots", "Ordered", "Short"):
        del gymnasium.registry[f"EdpTest{kind}-v0"]


def make(name, kwargs="{}"):
    return envs.make(EnvSpec(name, kwargs), 1)[0]


def test_an_observation_of_another_size_is_refused():
    with pytest.raises(InputError, match="an observation of 1 numbers, and its space has 3"):
        make("gymnasium:EdpTestShort-v0").reset(seed=0)


def test_any_gymnasium_environment_keeps_its_action_box():
    env = make("gymnasium:Pendulum-v1")
    observation, _ = env.reset(seed=0)
    assert (observation.shape, observation.dtype) == ((3,), np.float32)
    np.testing.assert_array_equal([env.action_space.low, env.action_space.high], [[-2], [2]])
    check_sizes(EnvSpec("gymnasium:Pendulum-v1"), 3, 1)
    with pytest.raises(
        InputError,
        match="4 observation and 1 action columns, but .* 'gymnasium:Pendulum-v1' has 3 and 1",
    ):
        check_sizes(EnvSpec("gymnasium:Pendulum-v1"), 4, 1)


def test_keyword_arguments_reach_the_environment():
    env = make(
        "gymnasium:Hopper-v4",
        '{"exclude_current_positions_from_observation": false, "max_episode_steps": 3}',
    )
    assert env.reset(seed=0)[0].shape == (12,)
    assert [env.step(np.zeros(3))[3] for _ in range(3)] == [False, False, True]


def test_dict_observations_are_flattened_by_key():
    env = make("gymnasium:EdpTestEndless-v0", '{"start": 7, "max_episode_steps": 4}')
    # a, then b: x as one-hot, then y
    np.testing.assert_array_equal(env.reset(seed=0)[0], [7, 2, 0, 1, 0, 4, 5])
    observation, *_ = env.step(np.array([1.0]))
    assert observation.dtype == np.float32 and env.observation_space.shape == observation.shape == (
        7,
    )
    assert list(Ordered.observation_space.keys()) == ["b", "a"]
    np.testing.assert_array_equal(
        make("gymnasium:EdpTestOrdered-v0").reset(seed=0)[0], [0, 2, 0, 1, 0, 4, 5]
    )


def test_point_maze_observation_is_achieved_goal_desired_goal_observation():
    env = make("gymnasium:PointMaze_UMaze-v3")
    flat, _ = env.reset(seed=0)
    whole, _ = env.unwrapped.reset(seed=0)
    expected = np.concatenate(
        [whole[key] for key in ("achieved_goal", "desired_goal", "observation")]
    )
    np.testing.assert_array_equal(flat, expected.astype(np.float32))


def test_episodes_of_a_gymnasium_environment_in_its_own_units():
    spec = EnvSpec("gymnasium:EdpTestEndless-v0", '{"max_episode_steps": 4}')
    episodes = rollout(lambda o, step: np.full((1, 2, 1), 9.0), spec, seeds=np.array([[0, 1]]))
    np.testing.assert_array_equal(
        episodes.returns, [[20.0, 20.0]]
    )  # 4 steps of the box's upper end, 5


@pytest.mark.parametrize(
    ("name", "kwargs", "message"),
    [
        (
            "gymnasium:Pendulm-v1",
            "{}",
            "'gymnasium:Pendulm-v1': no such id; use .*Pendulum-v1.* or 'module:id'",
        ),
        ("gymnasium:nowhere_at_all:My-v0", "{}", "No module named 'nowhere_at_all'"),
        ("gymnasium:CartPole-v1", "{}", r"actions are Discrete\(2\), and only a Box of one axis"),
        ("gymnasium:EdpTestBoxless-v0", "{}", r"actions are Discrete\(2\)"),
        ("gymnasium:EdpTestEndless-v0", "{}", 'no time limit.*"max_episode_steps": 1000'),
        (
            "gymnasium:Pendulum-v1",
            '{"gravity": 1}',
            r"cannot be made with .* {'gravity': 1}: TypeError: .*'gravity'",
        ),
        (
            "gymnasium:Pendulum-v1",
            "{g: 1}",
            "'{g: 1}' of environment 'gymnasium:Pendulum-v1': not a JSON object",
        ),
        ("gymnasium:Pendulum-v1", "[1]", "not a JSON object"),
        ("gymnasium:EdpTestLots-v0", "{}", "actions are whole numbers, Box.*; wrap the env"),
        ("hopper", '{"max_episode_steps": 3}', "'hopper' takes none; leave them out"),
        ("gymnasium:", "{}", "'gymnasium:' is unknown"),
        (
            "gym:Pendulum-v1",
            "{}",
            "'gym:Pendulum-v1' is unknown; use one of: .*; or 'gymnasium:...', 'minari:...'",
        ),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(name, kwargs, message):
    with pytest.raises(InputError, match=message) as error:
        make(name, kwargs)
    assert "\n" not in str(error.value)


def test_unknown_environments_are_refused_without_making_any(monkeypatch):
    monkeypatch.setattr(gymnasium, "make", lambda *_, **__: pytest.fail("made"))
    for name in ("gymnasium:Pendulum-v1", "gymnasium:Pendulum", "hopper", "kitchen-complete"):
        envs.check_there(EnvSpec(name))  # what is known does not raise
    for package in ("minari", "ogbench", "d4rl"):
        monkeypatch.setitem(sys.modules, package, None)
    for name, says in (
        ("minari:mujoco/hopper/expert-v0", "minari:mujoco/hopper/expert-v0.*minari"),
        ("ogbench:cube-single-play-singletask-v0", "ogbench:cube-single.*ogbench"),
        ("legacy:hopper-medium-v2", "legacy:hopper-medium-v2.*d4rl"),
        ("gymnasium:Pendulm-v1", "no such id; use .*Pendulum-v1"),
        ("gymnasium:nowhere_at_all:My-v0", "nowhere_at_all cannot be imported .*No module named"),
        ("gymnasium:json:My-v0", "'gymnasium:json:My-v0': no such id"),
        ("hoper", "'hoper' is unknown; use one of: hopper"),
    ):
        with pytest.raises(InputError, match=says):
            envs.check_there(EnvSpec(name))
