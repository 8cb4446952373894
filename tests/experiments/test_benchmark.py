"""The benchmark: what it measures, how it puts numbers together; not how fast anything is."""

import collections
import dataclasses
import json
import math
import pathlib
import subprocess
import sys

import jax
import pytest

from edp_jax.configuration import make_config
from experiments import benchmark, benchmark_figure, cases, measure, paper_speed
from experiments.cases import LEARNERS, QUICK, Case, Sizes
from experiments.measure import TASK, Program, calibrate, make_algorithm, rotate

ROOT = pathlib.Path(__file__).parents[2]


def launch(folder, *arguments):
    command = [sys.executable, "-m", "experiments.benchmark", f"--output={folder}", *arguments]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=900, check=False
    )


@pytest.mark.parametrize("learner", LEARNERS)
def test_a_learner_is_measured_as_it_is_configured(learner):
    """With the settings of the paper's task, but for what the sizes cut down."""
    whole, quick = (
        make_algorithm(Case("train", 8, learner), sizes).settings for sizes in (Sizes(), QUICK)
    )
    config = make_config(learner, TASK)
    assert {name: config[name] for name in vars(whole)} == vars(whole)
    assert quick.hidden_dims == (QUICK.width,) * QUICK.depth
    for name in {"sampler_calls", "num_candidates"} & vars(whole).keys():
        assert getattr(quick, name) == min(getattr(whole, name), QUICK.max_calls)


def test_the_bars_are_the_programs_of_the_papers_figure():
    """Network calls under the gradient and in the target: what the ablations are about."""
    programs = {}
    for title, bar in paper_speed.ABLATIONS.items():
        if bar.learner:
            case = Case(bar.kind, 8, bar.learner, bar.changes)
            made = make_algorithm(case, Sizes()).settings
            sampler = made.num_timesteps, made.sampler, made.sampler_calls, made.num_candidates
            programs[title] = (bar.learner, *sampler)
    assert programs == {
        "Diffusion-QL": ("diffusion_ql", 100, "ddpm", 100, 10),
        "EDP without DPM-Solver": ("edp_td3", 100, "ddpm", 100, 10),
        "EDP without action approximation": ("diffusion_ql", 1000, "dpm_solver_3", 15, 10),
        "EDP, naive loop": ("edp_td3", 1000, "dpm_solver_3", 15, 10),
        "EDP": ("edp_td3", 1000, "dpm_solver_3", 15, 10),
    }


def test_precision_of_products_holds_while_a_program_is_built_and_run(monkeypatch):
    seen = []

    def build(case, sizes, rows):
        seen.append(jax.config.jax_default_matmul_precision)
        return Program(
            lambda steps: seen.append(jax.config.jax_default_matmul_precision) or 1.0,
            1.0,
            {"compile_seconds": 0.0},
        )

    monkeypatch.setitem(measure._BUILDERS, "train", build)
    chosen = cases.choose_cases(["precision"], [], Sizes(max_seeds=64))
    assert set(chosen) == {
        ("precision", f"{seeds} seeds", name) for seeds in (1, 64) for name in cases.PRECISIONS
    }
    case = chosen["precision", "64 seeds", "float32"]
    measure.measure([case], QUICK, lambda line: None)
    assert set(seen) == {"float32"}
    assert jax.config.jax_default_matmul_precision is None


def test_equal_programs_are_one_case():
    """The paper's EDP is a learner, a bar of the figure, a batch size and a row of the roofline."""
    chosen = cases.choose_cases(
        cases.PARTS, ["edp_td3"], Sizes(max_batch=1024, max_observations=100)
    )
    edp = Case("train", 256, "edp_td3")
    shared = {path for path, case in chosen.items() if case == edp}
    assert shared == {
        ("learners", "edp_td3"),
        ("ablations", "EDP", "training"),
        ("batch", "256"),
        ("curves", "num_transitions", "1000000"),
        ("stream", "device"),
        ("roofline", "learners", "edp_td3"),
    }
    assert {path[1] for path in chosen if path[0] == "batch"} == {"256", "512", "1024"}
    assert {path[1] for path in chosen if path[0] == "sampling"} == {"1", "10", "100"}
    changed = collections.defaultdict(list)
    for path, case in chosen.items():
        if path[0] == "curves":
            changed[path[1]].append(dict(case.changes) or case.num_transitions)
    assert changed["sampler_calls"] == [{"sampler_calls": calls} for calls in (1, 2, 5, 10, 15, 30)]
    assert changed["width"] == [{"hidden_dims": (width,) * 3} for width in (64, 128, 256, 512)]
    assert changed["num_transitions"] == [1_000, 10_000, 100_000, None]  # the last are all


def test_a_value_that_the_sizes_cut_down_is_measured_as_the_usual_program():
    """At most 10 calls, 128 units and 50,000 rows: what is as large or larger is not built twice.

    The paper's bars without EDP's sampler and approximation are left out as well.
    """
    sizes = Sizes(max_calls=10, width=128, num_transitions=50_000, max_points=4)
    chosen = cases.choose_cases(["curves", "ablations"], [], sizes)
    usual = Case("train", 256, "edp_td3")
    same = {path[1:] for path, case in chosen.items() if case == usual}
    assert same == {
        *(("sampler_calls", "10"), ("width", "128"), ("width", "256"), ("width", "512")),
        *(("num_transitions", "100000"), ("num_transitions", "1000000"), ("EDP", "training")),
    }
    small = chosen["curves", "width", "64"]
    assert make_algorithm(small, sizes).settings.hidden_dims == (64, 64, 64)
    two = cases.choose_cases(["ablations"], [], dataclasses.replace(sizes, max_points=1))
    assert {path[1] for path in two} == {"EDP", "EDP, naive loop"}


def test_a_measurement_takes_about_the_time_it_is_given():
    """A program of 0.01 s per step, 1 s: 100 steps; of 5 s: one."""
    assert calibrate(lambda steps: 0.01 * steps, 1.0) == 100
    assert calibrate(lambda steps: 5.0 * steps, 1.0) == 1


def test_programs_take_turns():
    """Two programs, two rounds; the second slows down to half its rate in the last round."""
    calls = []
    seconds = {"a": 0.5, "b": 0.25}

    def program(name, amount):
        def run(steps):
            calls.append(name)
            return steps * seconds[name] * (2 if name == "b" and calls.count("b") == 4 else 1)

        return Program(run, amount, {})

    a, b = Case("train", 1), Case("train", 2)
    rates = rotate({a: program("a", 1), b: program("b", 10)}, rounds=2, seconds=0.1)
    assert (
        calls == ["a", "a", "b", "b"] + ["a", "b"] * 2
    )  # at first each one warms up and finds out how many steps to take
    assert rates == {a: [2.0, 2.0], b: [40.0, 20.0]}


def test_rates_beside_the_papers_and_the_naive_loops():
    rates = {"EDP": 30.0, "EDP, naive loop": 20.0, "Diffusion-QL": 5.0}
    compared = paper_speed.compare_with_paper(
        {title: {"training": {"updates_per_second": rate}} for title, rate in rates.items()}
    )
    assert compared["EDP"]["ratio_to_naive"] == 1.5
    assert compared["EDP"]["paper"] == {"updates_per_second": 116.21, "actions_per_second": 411.79}
    assert compared["Diffusion-QL"]["ratio_to_naive"] == 0.25
    assert compared["Diffusion-QL, PyTorch"] == {
        "paper": {"updates_per_second": 4.66, "actions_per_second": 18.67}
    }


def test_operations_per_second_as_a_fraction_of_the_limits():
    """3 operations per update, 100 updates/s, limits of 1000 and 600.

    A learner whose operations nobody has counted is left out.
    """
    new = {"flops_per_update": None, "updates_per_second": 1.0, "compile_seconds": 1.0}
    entries = {
        "matmul": {"flops_per_second": 1000.0},
        "chain": {"flops_per_second": 600.0},
        "learners": {"edp_td3": new | {"flops_per_update": 3, "updates_per_second": 100.0}}
        | {"new": new},
    }
    assert benchmark.compare_with_limits(entries)["learners"] == {
        "edp_td3": {
            "flops_per_update": 3,
            "flops_per_second": 300.0,
            "of_matmul": 0.3,
            "of_chain": 0.5,
        }
    }


def test_a_picture_says_when_its_numbers_are_not_the_papers_sizes():
    whole, quick = (
        benchmark_figure.describe_sizes(dataclasses.asdict(sizes)) for sizes in (Sizes(), QUICK)
    )
    assert whole == "observation 17, action 6, batch 256"
    assert quick.startswith("observation 3, action 2, batch 16, networks or samplers cut down")


@pytest.mark.parametrize(
    "ending",
    [(1, "jaxlib: RESOURCE_EXHAUSTED: Out of memory"), (-9, "")],
    ids=["refused", "killed"],
)
def test_seeds_are_tried_until_memory_ends(monkeypatch, ending):
    """A process that stands for one in which four seeds do not fit."""

    def run(command, **_):
        flags = dict(
            argument.removeprefix("--").split("=") for argument in command if "=" in argument
        )
        if flags["num_seeds"] == "4":
            return subprocess.CompletedProcess(command, ending[0], "", ending[1])
        result = {
            "machine": {"devices": 1},
            "peak_rss_bytes": 5,
            "learners": {"edp_td3": {"updates_per_second": 7.0}},
        }
        pathlib.Path(flags["output"], "benchmark.json").write_text(json.dumps(result))
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(benchmark.subprocess, "run", run)
    entries = benchmark.measure_seeds(dataclasses.replace(QUICK, max_seeds=16))
    assert [entry["seeds"] for entry in entries] == [1, 2, 4]
    assert entries[1]["updates_per_second"] == 7.0 and entries[2] == {
        "seeds": 4,
        "error": "out of memory",
    }


def test_any_other_end_of_a_process_is_an_error(monkeypatch):
    monkeypatch.setattr(
        benchmark.subprocess,
        "run",
        lambda command, **_: subprocess.CompletedProcess(command, 1, "", "broken"),
    )
    with pytest.raises(RuntimeError, match="broken"):
        benchmark.measure_seeds(QUICK)


@pytest.mark.slow
def test_every_part_leaves_its_numbers(tmp_path):
    """`--quick` with all parts."""
    result = launch(tmp_path, "--quick")
    usual = set(cases.PARTS) - set(cases.ON_REQUEST)
    assert result.returncode == 0, result.stderr
    found = json.loads((tmp_path / "benchmark.json").read_text())
    assert (tmp_path / "benchmark.png").read_bytes().startswith(b"\x89PNG")
    assert usual <= set(found)

    assert set(found["learners"]) == set(benchmark.QUICK_LEARNERS)
    for entry in found["learners"].values():
        assert (
            entry["updates_per_second"] > 0
            and entry["compile_seconds"] > 0
            and len(entry["rounds"]) == 1
        )
        assert entry["memory"]["argument"] > 0
    assert set(found["ablations"]) == set(paper_speed.ABLATIONS)
    ratios = {title: entry.get("ratio_to_naive") for title, entry in found["ablations"].items()}
    assert {title for title, ratio in ratios.items() if ratio} == {"EDP", "EDP, naive loop"}
    assert found["ablations"]["EDP"]["acting"]["actions_per_second"] > 0
    assert found["ablations"]["EDP, naive loop"]["ratio_to_naive"] == 1.0
    assert [entry["seeds"] for entry in found["seeds"]] == [1]
    assert {setting: list(entries) for setting, entries in found["curves"].items()} == {
        setting: [str(values[0])] for setting, values in cases.CURVES.items()
    }
    assert all(found["stream"][place]["updates_per_second"] > 0 for place in ("device", "host"))
    assert set(found["batch"]) == {"16"} and set(found["sampling"]) == {"1", "10"}
    assert all(entry["actions_per_second"] > 0 for entry in found["sampling"].values())
    for name, entry in found["roofline"]["learners"].items():
        trained = found["learners"][name]
        assert math.isclose(
            entry["flops_per_second"], trained["flops_per_update"] * trained["updates_per_second"]
        )
        assert math.isclose(
            entry["of_matmul"],
            entry["flops_per_second"] / found["roofline"]["matmul"]["flops_per_second"],
        )
    assert found["peak_rss_bytes"] > 0 and found["machine"]["jax"]
    assert "| learners edp_td3 |" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (("--parts=lerners",), "--parts: 'lerners' is unknown: use some of learners, ablations"),
        (("--learners=td3",), "--learners: 'td3' is unknown: use some of edp, edp_td3"),
        (("--rounds=0",), "rounds"),
    ],
)
def test_useless_flags_are_refused_in_one_line(tmp_path, arguments, names):
    result = launch(tmp_path / "new", *arguments)
    assert result.returncode == 2 and names in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "new").exists()
