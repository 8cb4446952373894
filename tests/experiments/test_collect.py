"""From a gymnasium environment to a dataset: policies recorded."""

import json
import pathlib
import subprocess
import sys
from collections import OrderedDict

import gymnasium
import h5py
import numpy as np
import pytest

import edp_jax
from edp_jax import InputError, data
from edp_jax.data.behaviour import Behaviour, save_behaviour
from edp_jax.data.hdf5 import read_hdf5
from edp_jax.evaluation import envs
from edp_jax.training import hosts
from edp_jax.types import EnvSpec
from experiments import collect

ROOT = pathlib.Path(__file__).parents[2]


def constant(action, observation_dim=3) -> Behaviour:
    """Always tanh(`action`), with next to no noise."""
    return Behaviour(
        ((np.zeros((observation_dim, 2), np.float32), np.array([action, -20.0], np.float32)),)
    )


def silent(line: str) -> None:
    pass


def record(folder, progress=silent, **changes) -> data.RawDataset:
    plan = collect.Plan(
        **{
            "env_id": "Pendulum-v1",
            "output": str(folder / "data.hdf5"),
            "num_transitions": 1200,
            **changes,
        }
    )
    collect.collect(plan, progress)
    return read_hdf5(plan.output)


def test_each_policy_has_an_equal_share_in_the_units_of_the_environment(tmp_path):
    pushing = str(tmp_path / "pushing.npz")
    save_behaviour(pushing, constant(np.arctanh(0.5)), {})
    raw = record(
        tmp_path, policies=("random", pushing, pushing), reference_scores=(-1200.0, -150.0)
    )
    assert raw.observations.shape == (1200, 3)
    assert (
        raw.actions[:400].min() < -1.9 and raw.actions[:400].max() > 1.9
    )  # torques are in [-2, 2]
    np.testing.assert_allclose(raw.actions[400:], 1.0, atol=1e-6)
    assert not np.array_equal(raw.observations[400:800], raw.observations[800:])  # other seeds
    np.testing.assert_array_equal([raw.action_low, raw.action_high], [[-2], [2]])
    np.testing.assert_array_equal(raw.reference_scores, [-1200, -150])
    np.testing.assert_array_equal(
        np.flatnonzero(raw.timeouts), np.arange(199, 1200, 200)
    )  # only whole episodes
    with h5py.File(tmp_path / "data.hdf5") as file:
        assert json.loads(file.attrs["recipe"])["policies"] == ["random", pushing, pushing]


def sine_of(observations, rng):
    del rng
    return np.sin(observations)


def test_the_same_command_makes_the_same_data_and_another_seed_others(tmp_path):
    first, again, other = (
        record(tmp_path, output=f"{tmp_path}/{i}.hdf5", seed=seed)
        for i, seed in enumerate((0, 0, 1))
    )
    for key in ("observations", "actions", "rewards"):
        np.testing.assert_array_equal(getattr(first, key), getattr(again, key))
        assert not np.array_equal(getattr(first, key), getattr(other, key))


def test_the_data_trains_a_policy_which_makes_data_in_turn(tmp_path, train_tiny):
    record(tmp_path)
    policy = str(train_tiny(str(tmp_path / "data.hdf5"), env_id="Pendulum-v1") / "policy")
    raw = record(
        tmp_path, output=str(tmp_path / "new" / "data.hdf5"), policies=(policy,), num_transitions=30
    )
    assert (
        raw.actions.shape == (30, 1)
        and len(np.unique(raw.actions)) > 5
        and 1 < np.abs(raw.actions).max() <= 2
    )
    again = record(
        tmp_path,
        output=str(tmp_path / "new" / "again.hdf5"),
        policies=(policy,),
        num_transitions=30,
    )
    np.testing.assert_array_equal(raw.actions, again.actions)
    loaded = edp_jax.load_policy(policy)
    assert (loaded.observation_dim, loaded.action_dim) == (3, 1)


def test_a_controller_in_python_acts_in_the_units_of_the_environment(tmp_path, monkeypatch):
    """Pendulum's observation is (cos, sin, speed), its torque between -2 and 2."""
    (tmp_path / "damper.py").write_text(
        "def act(observations, rng):\n    return -0.5 * observations[:, 2:]\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    raw = record(tmp_path, policies=("damper:act",), num_transitions=200)
    expected = np.clip(-0.5 * raw.observations[:, 2:], -2, 2)
    np.testing.assert_allclose(raw.actions, expected, atol=1e-6)


def test_dict_observations_and_keyword_arguments(tmp_path):
    lines = []
    kwargs = '{"max_episode_steps": 20}'
    raw = record(
        tmp_path, lines.append, env_id="PointMaze_UMaze-v3", env_kwargs=kwargs, num_transitions=60
    )
    np.testing.assert_array_equal(np.flatnonzero(raw.timeouts), [19, 39, 59])
    assert raw.observations.shape == (60, 8)  # achieved_goal, desired_goal, observation
    assert lines[-1].endswith(
        f"data.hdf5 --config.env_id=PointMaze_UMaze-v3 --config.env_kwargs='{kwargs}' --workdir=DIR"
    )


def test_minaris_layout_is_loaded_back_and_names_the_environment(tmp_path, monkeypatch):
    pytest.importorskip(
        "minari", reason="the optional package minari is not installed: pip install -e '.[test]'"
    )
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    plan = collect.Plan(
        "Pendulum-v1", num_transitions=400, minari_id="test/random-v0", env_kwargs='{"g": 5.0}'
    )
    collect.collect(plan, silent)
    raw, info = data.load(data.find_task("minari:test/random-v0"), "unused")
    assert info["summary"]["episodes"] == 2
    np.testing.assert_array_equal([raw.action_low, raw.action_high], [[-2], [2]])
    expected = record(tmp_path, num_transitions=400, env_kwargs='{"g": 5.0}')
    for key in ("observations", "actions", "rewards", "timeouts", "next_observations"):
        np.testing.assert_array_equal(getattr(raw, key), getattr(expected, key))
    assert envs.make(EnvSpec("minari:test/random-v0"), 1)[0].unwrapped.g == 5.0


class Fails(gymnasium.Env):
    """Its observation counts the steps; the one with number `at` fails."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (1,))
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,))

    def __init__(self, at: int):
        self.at = at

    def reset(self, *, seed=None, options=None):
        self.steps = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.steps += 1
        if self.steps == self.at:
            raise RuntimeError("the arm is stuck")
        return np.full(1, self.steps, np.float32), 1.0, False, False, {}


@pytest.fixture
def failing(tmp_path):
    """Arguments of a recording whose environment fails at step `at`."""
    gymnasium.register("EdpFails-v0", Fails, max_episode_steps=10_000)
    yield lambda at: {"env_id": "EdpFails-v0", "env_kwargs": json.dumps({"at": at})}
    del gymnasium.registry["EdpFails-v0"]


def test_what_was_recorded_before_the_environment_failed_is_written(tmp_path, failing):
    gentle = str(tmp_path / "gentle.npz")
    save_behaviour(gentle, constant(0.0, observation_dim=1), {})
    says = "data.hdf5 holds only 9 of 100 transitions.*: random in .*RuntimeError: the arm is stuck"
    with pytest.raises(InputError, match=says) as refusal:
        record(tmp_path, policies=("random", gentle), num_transitions=100, **failing(10))
    assert len(str(refusal.value)) <= 300
    raw = read_hdf5(tmp_path / "data.hdf5")
    np.testing.assert_array_equal(raw.observations[:, 0], np.arange(9))
    np.testing.assert_array_equal(raw.timeouts, [False] * 8 + [True])


def test_what_fails_in_the_first_steps_leaves_nothing(tmp_path, failing):
    with pytest.raises(InputError, match="^random in EdpFails-v0: RuntimeError: the arm is stuck"):
        record(tmp_path / "new", num_transitions=100, **failing(2))
    assert list(tmp_path.iterdir()) == []


def test_a_policy_that_gives_no_numbers_is_refused_before_the_others_record(tmp_path):
    broken, lines = str(tmp_path / "broken.npz"), []
    save_behaviour(broken, constant(np.nan), {})
    with pytest.raises(InputError, match="broken.npz.: damaged, or something else"):
        record(tmp_path / "new", lines.append, policies=("random", broken))
    assert lines == [] and not (tmp_path / "new").exists()


def test_a_stop_keeps_what_was_recorded(tmp_path):
    calls = iter(range(1000))

    def check_stop():
        if next(calls) == 2 + 30:  # the first two are those of the small recording before
            raise hosts.Stopped

    lines = []
    plan = collect.Plan("Pendulum-v1", num_transitions=200, output=str(tmp_path / "data.hdf5"))
    with pytest.raises(hosts.Stopped):
        collect.collect(plan, lines.append, check_stop)
    raw = read_hdf5(plan.output)
    assert len(raw.rewards) == 30 and np.flatnonzero(raw.timeouts).tolist() == [29]
    assert "holds only 30 of 200 transitions" in lines[-1]


def test_more_than_the_disk_can_hold_is_refused(tmp_path, monkeypatch):
    usage = collect.shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(collect.shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(InputError, match="num_transitions=1200: 3.84e-05 GB of data, and the disk"):
        record(tmp_path / "new")  # 1200 rows of 2 * 3 + 1 + 1 numbers of 4 bytes


def test_an_id_that_minari_refuses_is_refused_before_anything_is_recorded(tmp_path, monkeypatch):
    pytest.importorskip(
        "minari", reason="the optional package minari is not installed: pip install -e '.[test]'"
    )
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    lines = []
    with pytest.raises(InputError, match="minari:a/b-v0: Minari cannot write it"):
        collect.collect(collect.Plan("Pendulum-v1", minari_id="a/b-v0"), lines.append)
    assert lines == []


class Unsorted(gymnasium.Env):
    """Observations whose keys are not in sorted order, which an OrderedDict keeps."""

    part = gymnasium.spaces.Box(-1.0, 1.0, (1,))
    observation_space = gymnasium.spaces.Dict(OrderedDict(b=part, a=part))
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,))


def test_minari_would_lose_an_order_of_keys_that_is_not_sorted(tmp_path, monkeypatch):
    pytest.importorskip(
        "minari", reason="the optional package minari is not installed: pip install -e '.[test]'"
    )
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    gymnasium.register("EdpUnsorted-v0", Unsorted, max_episode_steps=10)
    with pytest.raises(
        InputError, match="--minari_id: .* EdpUnsorted-v0's observations; use --output"
    ):
        collect.collect(collect.Plan(env_id="EdpUnsorted-v0", minari_id="test/unsorted-v0"), silent)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"env_id": "Pendulm-v1"}, "no such id; use .*Pendulum-v1"),
        ({"env_id": "CartPole-v1"}, r"actions are Discrete\(2\)"),
        ({"env_kwargs": "[1]"}, "not a JSON object"),
        ({"policies": ("none.npz",)}, "'none.npz': there is no such file"),
        ({"policies": ("nowhere/policy",)}, "nowhere/policy.: no such folder"),
        (
            {"policies": ("{folder}/small.npz",)},
            "for 2 observations and 1 actions, but the environment has 3 and 1",
        ),
        ({"policies": ("nowhere_:act",)}, "No module named 'nowhere_'; it must be module:function"),
        ({"policies": ("math:pi",)}, "'float' object is not callable; it must be"),
        ({"policies": ("numpy:sum",)}, "'numpy:sum': .*; it must be"),
        (
            {"policies": ("tests.experiments.test_collect:sine_of",)},
            r"actions for 2 observations have the shape \(2, 3\), not \(2, 1\)",
        ),
        ({"policies": ()}, "at least one"),
        ({"policies": ("random",) * 9, "num_transitions": 8}, "at most --num_transitions"),
        ({"output": ""}, "give one of them"),
        ({"minari_id": "a/b-v0"}, "give one of them"),
        ({"output": "", "minari_id": "a/b"}, "not an id"),
        ({"output": "data.npz"}, "must end in .hdf5"),
        ({"output": "{folder}/there.hdf5"}, "exists already"),
        (
            {"output": "{folder}/small.npz/data.hdf5"},
            "cannot be written to; give another file as --output",
        ),
        ({"reference_scores": (1.0,)}, "must be two numbers"),
        ({"reference_scores": (1.0, 0.0)}, "the smaller one first"),
    ],
)
def test_what_is_of_no_use_is_refused_and_nothing_written(tmp_path, changes, says):
    save_behaviour(str(tmp_path / "small.npz"), constant(0.0, observation_dim=2), {})
    (tmp_path / "there.hdf5").write_text("")
    before = sorted(tmp_path.rglob("*"))

    def placed(value):
        return (
            value.format(folder=tmp_path)
            if isinstance(value, str) and "{folder}" in value
            else value
        )

    changes = {
        key: tuple(map(placed, value)) if isinstance(value, tuple) else placed(value)
        for key, value in changes.items()
    }
    with pytest.raises(InputError, match=says) as error:
        record(tmp_path / "new", **changes)
    assert "\n" not in str(error.value)
    assert sorted(tmp_path.rglob("*")) == before


def command(program, *arguments):
    line = [sys.executable, "-m", f"experiments.{program}", *arguments]
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.parametrize(
    ("flag", "says"),
    [
        ("--num_transitions=0", "num_transitions=0"),
        ("--reference_scores=low,high", "low,high: must be numbers"),
    ],
)
def test_bad_flags_exit_with_2_and_one_line(tmp_path, flag, says):
    result = command("collect", "--env_id=Pendulum-v1", f"--output={tmp_path}/data.hdf5", flag)
    assert result.returncode == 2 and result.stdout == ""
    assert (
        result.stderr.startswith("error: ")
        and says in result.stderr
        and result.stderr.count("\n") == 1
    )
    assert list(tmp_path.iterdir()) == []
