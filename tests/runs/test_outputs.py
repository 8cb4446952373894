"""What a run leaves when it stops."""

import json
import types

import numpy as np
import pytest

import edp_jax
from edp_jax import InputError, TaskSpec
from edp_jax.runs import Run, outputs, plots
from edp_jax.training.run import Outcome
from edp_jax.training.trainer import Trainer
from edp_jax.types import Units

DATASET = types.SimpleNamespace(
    spec=TaskSpec(3, 2),
    units=Units(np.zeros(3), np.ones(3), -np.ones(2), np.ones(2)),
    reference_scores=(0.0, 10.0),
    behaviour_return=5.0,
)
SEEDS = [{"seed": 3}, {"seed": 4}]
NONE = "nan,-1,nan\n"


def outcome(finished=True, rate=50.0, state=None, diverged=(-1, -1), **more) -> Outcome:
    return Outcome(state, 20, finished, rate, np.array(diverged), **more)


def test_a_summary_holds_the_measures_of_all_evaluations(make_run, run_record, episode_lines):
    """One episode of each, (t + 100 r) / 10: 1 and 11, then 2 and 12."""
    run = make_run(episode_lines((10, 20), SEEDS, episodes=1), record=run_record(SEEDS))
    bounds = np.array([0.0, -1.0]), np.array([100.0, np.inf])
    summary = outputs.summarize_run(run, DATASET, outcome(possible_returns=bounds), 75.0)
    assert summary["possible_returns"] == [[0.0, -1.0], [100.0, np.inf]]
    assert summary["algorithm"] == "edp_iql" and summary["seeds"] == [3, 4]
    assert (summary["finished"], summary["num_steps"], summary["unit"]) == (True, 20, "score")
    assert (summary["behaviour_return"], summary["behaviour_score"]) == (5.0, 50.0)
    np.testing.assert_allclose(summary["per_seed"]["last"], [2, 12])
    assert summary["rat"]["mean"] == pytest.approx(6.5)
    assert summary["updates_per_second"] == {"per_seed": 50.0, "total": 100.0}
    assert outputs.describe(summary).splitlines() == [
        "score, mean of 2 seeds: last evaluation 7.0; best of 2 (oms) 7.0; "
        "mean of the last 2 (rat) 6.5",
        "score of the dataset's behaviour: 50.0",
        "time: 1 min 15 s, 50.0 updates/s per seed",
    ]


def test_what_came_of_an_online_phase(make_online_run):
    """Means over seeds 3 and 4, (t + 100 r) / 10: 6.0, then 6.5 and 7.0; without seed 4 less 5."""
    run = make_online_run((10, 15, 20), SEEDS)
    summary = outputs.summarize_run(run, DATASET, outcome(), 75.0)
    expected = {"env_steps": 50, "before": 6.0, "lowest": 6.5, "last": 7.0}
    assert summary["online"] == pytest.approx(expected)
    assert outputs.describe(summary).splitlines()[1] == (
        "50 steps in the environment per seed: lowest evaluation since 6.5, before them 6.0"
    )
    summary = outputs.summarize_run(run, DATASET, outcome(diverged=(-1, 12)), 75.0)
    assert summary["online"]["lowest"] == pytest.approx(1.5)


def test_what_does_not_count_is_said(make_run, run_record, episode_lines):
    """Seed 4 diverged; an episode of seed 3 was broken, so that 2.1 of update 20 stands alone."""
    lines = episode_lines((10, 20), SEEDS)
    lines[6] = "20,4,0,nan,-1,nan\n"
    assert lines[4] == "20,3,0,20.0,7,2.0\n"
    lines[4] = "20,3,0,nan,-1,nan\n"
    run = make_run(lines, record=run_record(SEEDS))
    summary = outputs.summarize_run(run, DATASET, outcome(diverged=(-1, 15)), 75.0)
    assert summary["diverged"] == [{"seed": 4, "update": 15}]
    assert summary["last"] == {"mean": pytest.approx(2.1), "std": 0.0, "seeds": 1}
    assert np.isnan(summary["per_seed"]["oms"][1])
    assert (summary["episodes_not_counted"], summary["without_result"]) == (1, 2)
    told = outputs.describe(summary).splitlines()
    assert told[0].startswith("score, mean of 1 of 2 seeds: last evaluation 2.1; best of 2 (oms)")
    assert told[2:4] == [
        "seed 4 diverged in update 15 and counts nowhere",
        "episodes with NaN or infinite numbers, which do not count: 1",
    ]


def test_all_episodes_that_were_run_and_do_not_count_are_counted(make_run, run_record):
    """Of seed 3 one of 2, then the only one; of seed 4 none of 2, then its only one counts."""
    lines = [f"10,3,0,1,7,1\n10,3,1,{NONE}", f"10,4,0,{NONE}10,4,1,{NONE}"]
    lines += [f"20,3,0,{NONE}", "20,4,0,2,7,2\n"]
    run = make_run(lines, record=run_record(SEEDS))
    assert run.evaluations.num_episodes.tolist() == [[2, 2], [1, 1]]
    summary = outputs.summarize_run(run, DATASET, outcome(), 75.0)
    assert (summary["episodes_not_counted"], summary["without_result"]) == (4, 2)
    summary = outputs.summarize_run(run, DATASET, outcome(diverged=(-1, 30)), 75.0)
    assert summary["episodes_not_counted"] == 2


def test_a_sweep_is_summed_up_point_by_point(make_run, episode_lines):
    run = make_run(episode_lines((10,), scored=False))
    summary = outputs.summarize_run(run, DATASET, outcome(False, None, None, (-1,) * 4), 5.0)
    assert [point["sweep"] for point in summary["points"]] == [{"eta": 0.5}, {"eta": 2.0}]
    assert [point["last"]["mean"] for point in summary["points"]] == [60.5, 260.5]
    lines = outputs.describe(summary).splitlines()
    assert lines[0] == "not finished: 20 updates are done"
    assert lines[1].startswith("eta 0.5, return, mean of 2 seeds: last evaluation 60.5; best of 1")
    assert lines[3:] == ["return of the dataset's behaviour: 5.0", "time: 5 s"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"evaluates": False}, "the run has no environment"),
        ({"failures": ((10, "the arm is stuck"),)}, "each evaluation failed"),
        ({}, "the first evaluation comes after 50 updates"),
    ],
)
def test_why_nothing_was_evaluated_is_said(make_run, metric_lines, changes, reason):
    reached = outcome(diverged=(-1,) * 4)._replace(**changes)
    summary = outputs.summarize_run(make_run(metrics=metric_lines), DATASET, reached, 5.0)
    assert "unit" not in summary
    assert f"nothing was evaluated: {reason}" in outputs.describe(summary)


@pytest.fixture
def finish(make_run, run_record, metric_lines, tiny_learner, tiny_rows, tmp_path):
    """finish(finished) writes the last files of a run of seeds 3 and 4."""
    record = run_record(SEEDS)
    record["config"] |= {"algorithm": "edp_td3"}
    lines = [f"{step},{seed},{step},1,2\n" for step in (5, 10) for seed in (3, 4)]
    make_run(metrics=lines, record=record)
    trainer = Trainer(tiny_learner(), tiny_rows(), seeds=(3, 4), batch_size=8)

    def finish(finished):
        reached = outcome(finished, state=trainer.init())
        outputs.finish(str(tmp_path), trainer, DATASET, reached, wall_seconds=5.0)
        return Run(str(tmp_path))

    return finish


def test_an_unfinished_run_leaves_summary_picture_and_policies(finish, tmp_path, capsys):
    run = finish(finished=False)
    assert (run.summary["finished"], run.summary["num_steps"]) == (False, 20)
    assert not outputs.is_finished(str(tmp_path), 20)
    assert (tmp_path / "learning_curve.png").read_bytes().startswith(b"\x89PNG")
    observation = np.random.default_rng(0).normal(size=(50, 3))
    actions = [run.policy(seed=seed)(observation) for seed in (3, 4)]
    assert actions[0].shape == (50, 2) and not np.array_equal(*actions)
    expected = edp_jax.load_policy(str(tmp_path / "policy"), seed=4)(observation)
    np.testing.assert_array_equal(actions[1], expected)
    printed = capsys.readouterr().out
    for name in ("learning_curve.png", "policy"):
        assert str(tmp_path / name) in printed


def test_only_a_finished_run_of_that_length_counts_as_finished(finish, tmp_path):
    finish(finished=True)
    assert outputs.is_finished(str(tmp_path), 20) and not outputs.is_finished(str(tmp_path), 21)


def test_a_run_with_rows_beyond_its_end_is_made_again(finish, tmp_path, capsys):
    finish(finished=True)
    with open(tmp_path / "metrics.csv", "a") as file:
        file.write("25,3,25,1,2\n")
    assert not outputs.is_finished(str(tmp_path), 20)
    assert "metrics.csv goes on to update 25, its summary to 20" in capsys.readouterr().out


def test_a_run_does_not_fail_for_want_of_a_picture(finish, tmp_path, capsys, monkeypatch):
    def missing(picture):
        raise InputError("package 'matplotlib': not installed")

    monkeypatch.setattr(plots, "figure_class", missing)
    finish(finished=True)
    assert "package 'matplotlib': not installed\n" in capsys.readouterr().out
    assert not (tmp_path / "learning_curve.png").exists()
    assert json.loads((tmp_path / "summary.json").read_text())["finished"]
