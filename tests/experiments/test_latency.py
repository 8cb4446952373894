"""Part latency of the benchmark: what it measures and how it puts numbers together."""

import dataclasses

import numpy as np
import pytest

from edp_jax import InputError, TaskSpec, algorithms
from experiments import latency
from experiments.cases import QUICK, Case
from experiments.latency import (
    Way,
    add_scores,
    describe,
    measure,
    read_scores,
    summarise,
    ways_up_to,
)
from experiments.measure import make_algorithm


def test_a_percentile_needs_ten_calls_beyond_it():
    entry = summarise(np.arange(1, 1000) / 1e6)  # 999 calls of 0.001 to 0.999 ms
    assert entry == {"calls": 999, "median_ms": pytest.approx(0.5)}
    entry = summarise(np.arange(1, 10_001) / 1e6)
    assert entry["median_ms"] == pytest.approx(5.0005)
    assert entry["p99_ms"] == pytest.approx(9.9, abs=0.002)
    assert entry["p999_ms"] == pytest.approx(9.99, abs=0.002)


def test_long_chains_and_many_candidates_can_be_left_out():
    assert len(ways_up_to(0)) == len(latency.WAYS)
    assert ways_up_to(3) == tuple(Way("dpm_solver_3", calls) for calls in (3, 2, 1))


@pytest.mark.parametrize(
    ("learner", "ways"),
    [
        ("bc_diffusion", ["dpm_solver_3, 1 calls"]),  # has no critics that could choose
        ("one_call_edp_td3", ["a0_hat, 1 calls"]),
    ],
)
def test_policies_without_a_choice_and_students_are_measured(tmp_path, monkeypatch, learner, ways):
    monkeypatch.setattr(latency, "FORMATS", ("jit",))
    settings = algorithms.settings(learner, hidden_dims=(8, 8), num_timesteps=15)
    if learner == "bc_diffusion":
        settings = settings.replace(sampler_calls=1)
    folder = latency.untrained(str(tmp_path), learner, settings, TaskSpec(3, 2))
    sizes = dataclasses.replace(QUICK, max_calls=1, max_observations=1, asked=1000)
    results = measure(folder, sizes, lambda line: None)
    assert list(results) == ways and results[ways[0]]["jit"]["calls"] >= 1000
    assert results[ways[0]]["jit"]["p99_ms"] >= results[ways[0]]["jit"]["median_ms"] > 0


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
    ways = [str(Way("ddim", 15)), str(Way("dpm_solver_3", 15, 10)), str(Way("ddpm", 100))]
    results = {way: {"jit": {"median_ms": 1.0, "actions_per_second": {"1": 5.0}}} for way in ways}
    first = write(tmp_path / "a.csv", "5,0,0,2.0,9,50.0,1,ddim,15", "5,0,1,2.0,9,70.0,1,ddim,15")
    second = write(tmp_path / "b.csv", "5,0,0,2.0,9,,10,dpm_solver_3,15")  # no score: its return
    add_scores(results, read_scores([first, second]))
    assert [results[way]["jit"].get("score") for way in ways] == [60.0, 2.0, None]
    assert describe(results)[0] == "| ddim, 15 calls | jit | 1.000 | - | - | 5 | 60.0 |"


def test_episodes_that_failed_count_in_no_score(tmp_path):
    rows = ("5,0,0,2.0,9,50.0,1,ddim,15", "5,0,1,nan,-1,nan,1,ddim,15")
    assert read_scores([write(tmp_path / "a.csv", *rows)]) == {"ddim, 15 calls": 50.0}


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
    monkeypatch.setattr(latency, "WAYS", (Way("ddpm", 1000), Way("dpm_solver_3", 1)))
    monkeypatch.setattr(latency, "FORMATS", ("jit", ".onnx"))
    monkeypatch.setattr(latency, "UNROLLED", 0)  # so that no package is needed
    sizes = dataclasses.replace(QUICK, max_calls=0, max_observations=10)
    settings = make_algorithm(Case("act", 1, "edp_td3"), QUICK).settings
    folder = latency.untrained(str(tmp_path), "edp_td3", settings, TaskSpec(3, 2))
    lines = []
    results = measure(folder, sizes, lines.append)
    for forms in results.values():
        assert forms["jit"]["median_ms"] > 0
        assert set(forms["jit"]["actions_per_second"]) == {"1", "10"}
        assert "too long" in forms[".onnx"]["error"]
    assert len(lines) == 4
