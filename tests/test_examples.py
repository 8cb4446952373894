"""The scripts of examples/, each with little to do, and what they print."""

import importlib.util
import os
import pathlib
import re
import subprocess
import sys

import jax
import numpy as np
import pytest

from edp_jax import TaskSpec, Units, algorithms, export

SIZES = ((0.0, 11), (1.0, 11), (-1.0, 3), (1.0, 3))  # of mean, deviation, and the action box
ROOT = pathlib.Path(__file__).parents[1]


@pytest.fixture
def tiny(tmp_path, write_tiny) -> str:
    write_tiny(tmp_path / "tiny.npz")
    return str(tmp_path / "tiny.npz")


def run(script: str, *arguments: str) -> str:
    """What an example prints."""
    command = (sys.executable, str(ROOT / "examples" / script), *arguments)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_every_example_is_short_and_tested():
    scripts = sorted((ROOT / "examples").glob("*.py"))
    assert len(scripts) >= 4
    for script in scripts:
        assert len(script.read_text().splitlines()) <= 60
        assert f'run("{script.name}"' in pathlib.Path(__file__).read_text()


def test_train_and_deploy_runs_an_episode(tiny):
    printed = run("train_and_deploy.py", f"--task={tiny}", "--num_updates=5")
    assert printed.count("mean Q per seed: [") == 5
    assert np.isfinite(float(re.search(r"return: (\S+)", printed)[1]))


def test_a_control_loop_keeps_its_rate_and_counts_what_it_misses(tmp_path):
    """At 20 Hz for 0.2 s 4 ticks are due; a rate that no simulator has leaves out nearly all."""
    pytest.importorskip("flatbuffers", reason="the package flatbuffers is not installed")
    policy = str(tmp_path / "policy.edp")
    write_untrained(policy)
    printed = run("control_loop.py", policy, "--rate=20", "--seconds=0.2")
    assert "held: 0" in printed and "return: " in printed
    ticks, missed = (
        int(re.search(p, printed)[1]) for p in (r"in (\d+) steps", r"missed.*?: (\d+)")
    )
    assert ticks + missed >= 4
    printed = run("control_loop.py", policy, "--rate=1e7", "--seconds=0.2")
    assert int(re.search(r"missed.*?: (\d+)", printed)[1]) > 1e6


@pytest.fixture
def control_loop():
    """The module of that example."""
    path = ROOT / "examples" / "control_loop.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["none.edp"], "none.edp.*no such file"),
        (["x.edp", "--rate=inf"], "must be finite and above 0"),
        (["x.edp", "--seconds=nan"], "must be finite and above 0"),
    ],
)
def test_a_control_loop_that_cannot_begin_says_why(
    control_loop, monkeypatch, capsys, arguments, says
):
    monkeypatch.setattr(sys, "argv", ["control_loop.py", *arguments])
    with pytest.raises(SystemExit) as ending:
        control_loop.main()
    assert ending.value.code == 2
    assert re.search(says, capsys.readouterr().err)


class EverySecondHeld:
    """Stands for a policy that gives its last action again in every second call."""

    action_dim, calls = 1, 0

    def __call__(self, observation):
        self.calls += 1
        return np.zeros(1)

    @property
    def held(self) -> int:
        return self.calls % 2


class Empty:
    """Stands for an environment in which nothing happens."""

    def reset(self, seed=None):
        return np.zeros(1), {}

    def step(self, action):
        return np.zeros(1), 0.0, False, False, {}


def test_a_control_loop_counts_all_observations_that_were_held(control_loop):
    policy = EverySecondHeld()
    printed = control_loop.drive(policy, Empty(), rate=200.0, seconds=0.1)
    assert policy.calls >= 3 and f"observations held: {(policy.calls + 1) // 2}\n" in printed


def write_untrained(path: str) -> None:
    """A policy of Hopper's sizes as a file."""
    spec, units = TaskSpec(11, 3), Units(*(size * np.ones(n) for size, n in SIZES))
    settings = algorithms.settings("bc", hidden_dims=(8,))
    algorithm = algorithms.make("bc", settings, spec)
    params = algorithm.policy_params(algorithm.init(jax.random.key(0)))
    file = export.PolicyFile("bc", settings, spec, ({"seed": 0},), units)
    export.write_policy(path, export.make_program(file, params, {}))


def test_own_data_learns_to_go_to_zero():
    printed = run("own_data.py", "--num_updates=1000")
    left = re.search(r"on: \[(.*)\]", printed)[1].split()
    assert np.mean([float(distance) for distance in left]) < 0.1  # 0.6 where nothing is done


def test_sweep_prints_a_row_for_each_agent(tiny):
    lines = run("sweep.py", f"--task={tiny}", "--num_updates=20").splitlines()
    header = next(i for i, line in enumerate(lines) if line.startswith("agent"))
    rows = lines[header + 1 :]
    agents = [row[:20].strip() for row in rows]
    assert agents == [f"seed {seed}, eta {eta}" for eta in (0.01, 0.1, 1.0) for seed in (0, 1)]
    assert len({row[20:] for row in rows}) == 6


def test_samplers_come_near_the_exact_deviation_and_print_what_the_page_says():
    rows = run("sample_a_diffusion.py", "--num_samples=20000").splitlines()[1:]
    deviations = {row.split()[0]: [float(value) for value in row.split()[1:]] for row in rows}
    assert len(deviations) == 9
    for few, _, many in deviations.values():
        assert abs(many - 0.3) < abs(few - 0.3)
    assert abs(deviations["dpm_solver_2"][2] - 0.3) < 0.01

    page = (ROOT / "docs" / "samplers.md").read_text().split("| sampler | 5 calls")[1]
    written = re.findall(r"^\| `(\w+)` \| (\S+) \| (\S+) \| (\S+) \|$", page, re.MULTILINE)
    assert {name for name, *_ in written} == set(deviations)
    for name, *values in written:
        np.testing.assert_allclose(list(map(float, values)), deviations[name], atol=0.003)


def test_held_out_error_compares_the_policy_with_simple_predictors(tiny):
    printed = run("held_out_error.py", tiny, "--num_updates=2", "--horizon=2")
    table = printed.split("policy nearest mean\n")[1].splitlines()
    rows = np.array([line.split()[1:] for line in table], float)
    assert [line.split()[0] for line in table] == ["0", "1", "2", "all"]
    np.testing.assert_allclose(rows[-1], rows[:-1].mean(axis=0), atol=0.02)
    assert np.all(rows > 0)
