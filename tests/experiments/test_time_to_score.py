"""Part time_to_score of the benchmark: what it starts, what it sees, and when it stops a run."""

import itertools
import json
import os
import subprocess
import sys
import time
import types

import pytest

from edp_jax import InputError
from experiments import time_to_score
from experiments.cases import QUICK
from experiments.time_to_score import Watched, summarize, watch
from experiments.timed_runs import describe_entry, merge, read

# Stands for a run: SCORES are those of its evaluations, after 5, 10, ... updates; then it waits.
STAND_IN = """
import json, pathlib, signal, sys, time
folder, scores = pathlib.Path(sys.argv[1]), json.loads(sys.argv[2])
signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))
folder.mkdir()
about = {"config": {"task": "", "algorithm": ""}, "dataset": {"sha256": ""}, "starts": []}
record = about | {"format": 2, "members": [{"seed": 0}]}
times, evaluations = folder / "times.csv", folder / "evaluations.csv"
times.write_text("step,seconds,evaluating\\n")
evaluations.write_text("step,seed,episode,return,score,length\\n")
(folder / "config.json").write_text(json.dumps(record))
for number, score in enumerate(scores):
    step = 5 * (number + 1)
    with times.open("a") as file:
        file.write(f"{step},{number},{number / 8}\\n")
    time.sleep(0.3)
    with evaluations.open("a") as file:
        file.write(f"{step},0,0,1.0,{score - 1},9\\n{step},0,1,1.0,{score + 1},9\\n")
while scores[-1] > 0:
    time.sleep(0.01)
print("error: the last score is not above 0")
sys.exit(3)
"""


def watch_stand_in(folder, scores, max_seconds=60.0):
    command = [sys.executable, "-c", STAND_IN, str(folder / "run"), json.dumps(scores)]
    return watch(command, str(folder / "run"), 95.0, max_seconds)


def test_a_run_is_stopped_at_the_goal(tmp_path):
    """The mean of its two episodes counts; what the run does behind it does not."""
    found = watch_stand_in(tmp_path, [94.5, 95.0])
    assert found.steps == [5, 10] and found.scores == [94.5, 95.0]
    assert 0.3 < found.seconds[0] < found.seconds[1]
    last = [total - noted for total, noted in zip(found.evaluating, (0.0, 1 / 8), strict=True)]
    assert all(0.0 < seconds < found.seconds[1] for seconds in last)
    assert found.processor_seconds > 0.0


def test_a_run_is_stopped_when_its_time_is_over(tmp_path, monkeypatch):
    """An hour passes with its second evaluation."""
    table = tmp_path / "run/evaluations.csv"

    def monotonic():
        return 3600.0 * (table.exists() and table.read_text().count("\n") == 5)

    clock = types.SimpleNamespace(sleep=time.sleep, monotonic=monotonic)
    monkeypatch.setattr(time_to_score, "time", clock)
    found = watch_stand_in(tmp_path, [10.0, 20.0])
    assert found.scores == [10.0, 20.0] and found.seconds == [0.0, 3600.0]


@pytest.mark.parametrize(
    ("scores", "seconds", "code"), [([1.0, -1.0], 60.0, "3"), ([1.0] * 50, 0.0, "(75|-15)")]
)
def test_a_run_without_a_result_says_why(tmp_path, scores, seconds, code):
    """It failed, or was stopped before its first evaluation."""
    with pytest.raises(InputError, match=f"ended with code {code} after"):
        watch_stand_in(tmp_path, scores, seconds)


COLD = Watched([10, 20, 30], [50.0, 96.0, 90.0], [20.0, 40.0, 60.0], [1.0, 2.0, 3.0], 70.0)
WARM = Watched([10], [50.0], [12.0], [1.0], 15.0)


def test_the_time_to_the_goal_and_what_compiled_programs_save():
    """The warm run is 8 s ahead at the first evaluation, and so it is at the second."""
    expected = {"goal": 95.0, "reached": True, "updates": 20, "score": 96.0, "seconds": 40.0}
    others = {"evaluating_seconds": 2.0, "warm_seconds": 32.0, "processor_seconds": 70.0}
    assert summarize(COLD, WARM, 95.0) == expected | others
    missed = summarize(COLD, WARM, 97.0)
    assert (missed["reached"], missed["updates"], missed["score"]) == (False, 30, 96.0)
    assert "97 not reached (best 96.0) in 30 updates" in describe_entry(missed)


def test_every_run_is_the_public_command(monkeypatch, tmp_path):
    """One with an empty cache, then one up to its first evaluation with what is in it."""
    commands = []

    def pretend(command, workdir, goal, max_seconds):
        commands.append(command)
        assert (goal, max_seconds) == (70.0, QUICK.max_seconds)
        return COLD if len(commands) % 2 else WARM

    monkeypatch.setattr(time_to_score, "watch", pretend)
    monkeypatch.setattr(time_to_score.data, "find_file", lambda task, folder: "there")
    changes = {"target_calls": 3}
    task = "kitchen-complete-v0"
    found = time_to_score.measure([task], ["edp", "edp_td3"], changes, QUICK, lambda line: None)
    assert list(found[task]) == ["edp target_calls=3", "edp_td3 target_calls=3"]
    for command in commands:
        assert command[1:3] == ["-m", "experiments.main"]
        assert {"--config.seeds=(0,)", "--config.target_calls=3"} <= set(command)
    (first, second, *_), learners = commands, [command[3] for command in commands]
    assert learners == [f"--config={name}:{task}" for name in ("edp",) * 2 + ("edp_td3",) * 2]
    assert f"--config.num_steps={QUICK.max_updates}" in first
    assert "--config.num_steps=10" in second
    caches = [arg for command in commands for arg in command if "compilation_cache" in arg]
    assert [len(set(group)) for _, group in itertools.groupby(caches)] == [1, 1]


def test_a_run_that_fails_costs_no_other(monkeypatch):
    def fail(*_):
        raise InputError("ended with code 2 after 5 s: no simulator")

    monkeypatch.setattr(time_to_score, "watch", fail)
    monkeypatch.setattr(time_to_score.data, "find_file", lambda task, folder: "there")
    lines = []
    found = time_to_score.measure(["kitchen-complete-v0"], ["edp", "bc"], {}, QUICK, lines.append)
    assert list(found["kitchen-complete-v0"]) == ["edp", "bc"]
    assert lines[1] == "kitchen-complete-v0, bc: ended with code 2 after 5 s: no simulator"


def test_what_is_known_is_written_after_each_run(monkeypatch, tmp_path):
    """The results of other parts stay in the file. The second of two runs fails: what an earlier
    measurement of the same learner found stays, too."""
    path, task = tmp_path / "benchmark.json", "kitchen-complete-v0"
    path.write_text(json.dumps({"learners": 1, "time_to_score": {task: {"bc": {"goal": 5}}}}))
    watched, written = iter([COLD, WARM]), []

    def pretend(*_):
        try:
            return next(watched)
        except StopIteration as error:
            raise InputError("it failed") from error

    monkeypatch.setattr(time_to_score, "watch", pretend)
    monkeypatch.setattr(time_to_score.data, "find_file", lambda task, folder: "there")

    def progress(line):
        written.append(json.loads(path.read_text()))

    found, failed = time_to_score.run(str(path), [task], ["edp", "bc"], {}, QUICK, progress)
    assert failed == 1 and found[task]["bc"] == {"goal": 5}
    entry = written[1]["time_to_score"][task]["edp"]
    assert found[task]["edp"]["seconds"] == entry["seconds"] == 40.0
    assert entry["max_updates"] == QUICK.max_updates and len(entry["load_average"]) == 2
    assert written[1]["learners"] == 1


@pytest.mark.parametrize(
    ("learner", "changes", "says"),
    [
        ("edp", {"target_calls": 3}, "--learners=edp: .*target_calls"),
        ("edp_td3", {"target_calls": -1}, "target_calls=-1"),
        ("edp_td3", {"seeds": (0, 1)}, "has its own seeds; leave it out"),
    ],
)
def test_wrong_settings_are_refused_before_the_first_run(learner, changes, says):
    with pytest.raises(InputError, match=says):
        time_to_score.check(["kitchen-complete-v0"], ["edp_td3", learner], changes)


def test_a_task_without_data_is_skipped_with_a_line(monkeypatch, tmp_path):
    monkeypatch.setenv("D4RL_DATASET_DIR", str(tmp_path))
    lines = []
    found = time_to_score.measure(list(time_to_score.GOALS), ["edp"], {}, QUICK, lines.append)
    assert all(list(entries) == ["skipped"] for entries in found.values())
    assert f"kitchen-complete-v0: skipped, its data are not in {tmp_path}; python -m" in lines[1]


def test_runs_measured_one_at_a_time_come_together(tmp_path):
    """Newer ones replace older ones, and a task that was skipped once is not any more.

    One that failed replaces none.
    """
    (tmp_path / "benchmark.json").write_text(
        json.dumps({"time_to_score": {"a": {"edp": 1, "bc": 2}, "b": {"skipped": "no data"}}})
    )
    before = read(str(tmp_path / "benchmark.json"))["time_to_score"]
    assert merge(before, {"a": {"edp": {"error": "failed"}}})["a"] == {"edp": 1, "bc": 2}
    failed = merge(before, {"a": {"fql": {"error": "failed"}}})
    assert failed["a"]["fql"] == {"error": "failed"}
    assert merge(failed, {"a": {"fql": {"error": "again"}}})["a"]["fql"] == {"error": "again"}
    assert merge(before, {"a": {"edp": 3}, "b": {"edp": 4}}) == {
        "a": {"edp": 3, "bc": 2},
        "b": {"edp": 4},
    }
    assert merge(before, {"b": {"skipped": "gone"}})["b"] == {"skipped": "gone"}
    assert read(str(tmp_path / "other.json")) == {"time_to_score": {}}
    (tmp_path / "damaged.json").write_text("[1, 2]")
    with pytest.raises(InputError, match="not the result of a benchmark; remove it"):
        read(str(tmp_path / "damaged.json"))


def test_the_check_leaves_jax_as_it_was():
    """The runs that follow need the accelerator, and the number of devices is not chosen yet."""
    program = """
from experiments import time_to_score
import jax
if __name__ == "__main__":
    time_to_score.check(["kitchen-complete-v0"], ["edp"], {})
    jax.config.update("jax_num_cpu_devices", 2)
    print(len(jax.devices()))
"""
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""}
    command = [sys.executable, "-c", program]
    found = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert found.stdout == "2\n", found.stderr
