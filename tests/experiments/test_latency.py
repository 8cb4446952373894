"""Part latency of the benchmark: what it measures and how it puts numbers together."""

import dataclasses

import numpy as np
import pytest

from edp_jax import InputError, TaskSpec, algorithms
from experiments import benchmark_figure, latency, ways
from experiments.cases import QUICK, Case
from experiments.latency import add_scores, describe, measure, summarise
from experiments.measure import make_algorithm
from experiments.ways import Way, choose_ways, read_scores


def test_a_percentile_needs_ten_calls_beyond_it():
    entry = summarise(np.arange(1, 1000) / 1e6)  # 999 calls of 0.001 to 0.999 ms
    assert entry == {"calls": 999, "median_ms": pytest.approx(0.5)}
    entry = summarise(np.arange(1, 10_001) / 1e6)
    assert entry["median_ms"] == pytest.approx(5.0005)
    assert entry["p99_ms"] == pytest.approx(9.9, abs=0.002)
    assert entry["p999_ms"] == pytest.approx(9.99, abs=0.002)


def test_the_usual_ways_the_own_one_and_those_with_scores_are_measured():
    own = algorithms.settings("edp_td3", sampler_calls=7, num_candidates=4)
    usual = algorithms.settings("edp_td3", sampler_calls=15, num_candidates=10)
    assert choose_ways(usual, 0) == ways.WAYS
    assert set(choose_ways(own, 0)) == {*ways.WAYS, Way("dpm_solver_3", 7, 4)}
    student = algorithms.settings("one_call_edp_td3", num_candidates=10)
    scored = [Way("a0_hat", 1, candidates) for candidates in (7, 3)]
    asked = choose_ways(student, 0, [*scored, Way("ddim", 15)])  # of its teacher
    assert [way.num_candidates for way in asked] == [1, 3, 7, 10, 50]
    assert choose_ways(student, 3, scored) == (Way("a0_hat", 1), Way("a0_hat", 1, 3))


def test_long_chains_and_many_candidates_can_be_left_out():
    settings = algorithms.settings("bc_diffusion", sampler_calls=3)
    assert choose_ways(settings, 3) == tuple(Way("dpm_solver_3", calls) for calls in (3, 2, 1))
    assert all(way.num_candidates == 1 for way in choose_ways(settings, 0))  # it has no choice


@pytest.mark.parametrize(
    ("learner", "told"),
    [
        ("bc_diffusion", ["dpm_solver_3, 1 call"]),  # has no critics that could choose
        ("one_call_edp_td3", ["a0_hat, 1 call"]),
    ],
)
def test_policies_without_a_choice_and_students_are_measured(tmp_path, monkeypatch, learner, told):
    monkeypatch.setattr(latency, "FORMATS", ("jit",))
    settings = algorithms.settings(learner, hidden_dims=(8, 8), num_timesteps=15)
    if learner == "bc_diffusion":
        settings = settings.replace(sampler_calls=1)
    folder = latency.untrained(str(tmp_path), learner, settings, TaskSpec(3, 2))
    sizes = dataclasses.replace(QUICK, max_calls=1, max_observations=1, asked=1000)
    results = measure(folder, sizes, lambda line: None)
    assert list(results) == told and results[told[0]]["jit"]["calls"] >= 1000
    assert results[told[0]]["jit"]["p99_ms"] >= results[told[0]]["jit"]["median_ms"] > 0


def test_a_policy_without_a_sampler_is_refused(tmp_path):
    settings = algorithms.settings("td3_bc", hidden_dims=(8, 8))
    folder = latency.untrained(str(tmp_path), "td3_bc", settings, TaskSpec(3, 2))
    with pytest.raises(InputError, match="td3_bc has no diffusion policy"):
        measure(folder, QUICK, lambda line: None)


def write(path, *rows):
    header = "step,seed,episode,return,length,score,num_candidates,sampler,sampler_calls"
    path.write_text("\n".join([header, *rows]))
    return str(path)


def test_scores_belong_to_the_way_that_they_were_reached_in(tmp_path):
    asked = [str(Way("ddim", 15)), str(Way("dpm_solver_3", 15, 10)), str(Way("ddpm", 100))]
    results = {way: {"jit": {"median_ms": 1.0, "actions_per_second": {"1": 5.0}}} for way in asked}
    first = write(tmp_path / "a.csv", "5,0,0,2.0,9,50.0,1,ddim,15", "5,0,1,2.0,9,70.0,1,ddim,15")
    rows = ("5,0,0,2.0,9,,10,dpm_solver_3,15", "5,0,0,2.0,9,8.0,3,ddim,15")  # no score: its return
    second = write(tmp_path / "b.csv", *rows)
    assert add_scores(results, read_scores([first, second])) == [Way("ddim", 15, 3)]
    assert [results[way]["jit"].get("score") for way in asked] == [60.0, 2.0, None]
    header, _, row, *_, hint = describe(results)
    assert header.startswith("| way of acting | format | median ms |")
    assert header.endswith("| actions/s, batch 1 | score |")
    assert row == "| ddim, 15 calls | jit | 1.000 | - | - | 5 | 60.0 |"
    assert "--asked=10000" in hint


def test_a_learner_without_a_choice_acts_with_one_candidate(tmp_path):
    """evaluate writes - for what a learner does not have."""
    rows = ("5,0,0,2.0,9,50.0,-,dpm_solver_3,15", "5,0,1,4.0,9,100.0,-,dpm_solver_3,15")
    scores = read_scores([write(tmp_path / "a.csv", *rows)])
    assert scores == {Way("dpm_solver_3", 15): 75.0}
    table = write(tmp_path / "td3_bc.csv", "5,0,0,2.0,9,50.0,-,-,-")
    with pytest.raises(InputError, match="td3_bc.csv: its policy is no diffusion policy"):
        read_scores([table])


def test_the_picture_names_the_policy_that_was_measured(tmp_path):
    settings = algorithms.settings("bc_diffusion", hidden_dims=(8, 8), num_timesteps=15)
    folder = latency.untrained(str(tmp_path), "bc_diffusion", settings, TaskSpec(60, 9))
    about = latency.describe_policy(folder)
    results = {"sizes": dataclasses.asdict(QUICK), "policy": about, "latency": {}}
    assert benchmark_figure.describe(results) == "policy: bc_diffusion, observation 60, action 9"
    both = benchmark_figure.describe(results | {"learners": {}})
    assert both.startswith("observation 3, action 2, batch 16") and both.endswith("action 9")


def test_episodes_that_failed_count_in_no_score(tmp_path):
    rows = ("5,0,0,2.0,9,50.0,1,ddim,15", "5,0,1,nan,-1,nan,1,ddim,15")
    assert read_scores([write(tmp_path / "a.csv", *rows)]) == {Way("ddim", 15): 50.0}


def test_a_score_is_of_one_way_of_acting_only(tmp_path):
    """Two temperatures are two policies, whose mean is the score of none."""
    head = "step,seed,episode,return,length,num_candidates,sampler,sampler_calls"
    rows = (f"5,0,0,2.0,9,10,ddim,15,{temperature}" for temperature in (0, 1))
    (tmp_path / "a.csv").write_text("\n".join([f"{head},selection_temperature", *rows]))
    with pytest.raises(InputError, match="ddim, 15 calls, 10 candidates .* several values"):
        read_scores([str(tmp_path / "a.csv")])


def test_a_table_of_something_else_is_refused(tmp_path):
    (tmp_path / "metrics.csv").write_text("step,loss\n1,2\n")
    (tmp_path / "latin.csv").write_bytes(b"step,\xff\n1,2\n")
    write(tmp_path / "words.csv", "5,0,0,two,9,fifty,1,ddim,15")
    write(tmp_path / "short.csv", "5,0,0,2.0")
    write(tmp_path / "empty.csv")
    for name in ("metrics", "none", "latin", "words", "short", "empty"):
        with pytest.raises(InputError, match=f"--scores=.*{name}.csv"):
            read_scores([str(tmp_path / f"{name}.csv")])


def test_a_way_that_a_format_cannot_hold_does_not_end_the_others(tmp_path, monkeypatch):
    """With K = 1000 the untrained policy can make 1000 calls; ONNX has no loops."""
    monkeypatch.setattr(ways, "WAYS", (Way("ddpm", 1000), Way("dpm_solver_3", 1)))
    monkeypatch.setattr(latency, "FORMATS", ("jit", ".onnx"))
    monkeypatch.setattr(latency, "UNROLLED", 0)  # so that no package is needed
    sizes = dataclasses.replace(QUICK, max_calls=0, max_observations=10)
    settings = make_algorithm(Case("act", 1, "edp_td3"), QUICK).settings
    settings = settings.replace(sampler_calls=1, num_candidates=1)  # the own way is one of them
    folder = latency.untrained(str(tmp_path), "edp_td3", settings, TaskSpec(3, 2))
    lines = []
    results = measure(folder, sizes, lines.append)
    for forms in results.values():
        assert forms["jit"]["median_ms"] > 0
        assert set(forms["jit"]["actions_per_second"]) == {"1", "10"}
        assert "too long" in forms[".onnx"]["error"]
    assert len(lines) == 4
