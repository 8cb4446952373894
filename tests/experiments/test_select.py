"""Policies are ranked without a simulator."""

import dataclasses
import json
import shutil
import types

import numpy as np
import pytest

from edp_jax import InputError, algorithms, configuration
from edp_jax.configuration import build
from edp_jax.files import sha256_of
from edp_jax.runs import Run, record
from edp_jax.selection import dynamics, fqe, pool, ranking, recommend, truth
from edp_jax.training import loop
from edp_jax.training.checkpoint import Checkpoints
from edp_jax.training.hosts import Stopped
from experiments import judge_select, select
from tests.experiments.conftest import TINY

VALUES = {
    "step": "all",
    "max_rows": 0,
    "samples": 2,
    "num_candidates": ["1", "10"],
    "selection_temperature": [],
    "sampler": [],
    "sampler_calls": [],
    "starting_noise": [],
}
FAST = dataclasses.replace(fqe.FQE(), num_updates=20, hidden_dims=(8,), batch_size=16)

IMAGINED = dynamics.Imagination(num_updates=20, hidden_dims=(8,), num_episodes=3, length=4)


@pytest.fixture(scope="module")
def own_run(tmp_path_factory, write_tiny):
    """The folder of a run of two seeds on a file of its own, with two checkpoints, untrained."""
    folder = tmp_path_factory.mktemp("own")
    write_tiny(folder / "own.npz")
    config = configuration.make_config(
        "edp_td3", str(folder / "own.npz"), **TINY | {"seeds": (0, 1)}
    )
    settings, workdir = configuration.resolve(config), folder / "runs" / "first"
    workdir.mkdir(parents=True)
    dataset = build.load_dataset(settings, str(workdir), lambda line: None)
    members = build.make_members(settings)
    record.write_config(str(workdir), settings.config, dataset.info, members, 0)
    checkpoints = Checkpoints(str(workdir / "checkpoints"), None)
    for step in (2, 4):
        seeds = [10 * step + member.seed for member in members]
        checkpoints.save(step, loop.init_members(build.make_algorithm(settings, dataset), seeds))
    checkpoints.close()
    return workdir


@pytest.fixture(scope="module")
def ranked(own_run):
    out = own_run.parent / "selection"
    out.mkdir()
    select.select([str(own_run)], str(out), FAST, VALUES, IMAGINED)
    return out


def test_every_checkpoint_seed_and_way_of_acting_is_ranked(own_run, ranked):
    rows = ranking.read_ranking(str(ranked))
    policies = {(row["step"], row["seed"], row["num_candidates"]) for row in rows}
    assert policies == {(s, r, n) for s in "24" for r in "01" for n in ("1", "10")}
    assert [int(row["rank"]) for row in rows] == list(range(1, 9))
    found = (np.array([float(row[name]) for row in rows]) for name in ("pessimistic", "drift"))
    assert (np.diff(ranking.together(*found)) <= 0).all()
    assert rows[0]["as_good"] == "1"
    assert rows[0]["name"].startswith("first at ")
    signs = "denoising_loss", "sample_loss", "td_error"
    assert all(float(row[name]) > 0 for row in rows for name in (*signs, "drift"))
    for name, number in (("denoising_loss", 1), ("sample_loss", 2)):  # of its data, of own actions
        found = {row[name] for row in rows if row["step"] == "2" and row["seed"] == "0"}
        assert len(found) == number
    assert (ranked / ranking.FIGURE).stat().st_size > 0


def recommend_in(run, lines, check_stop=lambda: None):
    recommend.recommend(
        str(run), lambda step: step in (2, 4), lines.append, check_stop, FAST, IMAGINED
    )


def test_the_best_checkpoint_is_the_one_that_the_data_recommend(ranked, copy_run, monkeypatch):
    """Its estimate is the mean over both seeds of what `select` finds, acting as in the run."""
    folder, lines = copy_run("other"), []
    recommend_in(folder, lines)
    judged = Run(folder).judged
    rows = [row for row in ranking.read_ranking(str(ranked)) if row["num_candidates"] == "10"]
    for each in judged:
        values = [float(row["value"]) for row in rows if int(row["step"]) == each["step"]]
        assert len(values) == 2 and each["value"] == pytest.approx(np.mean(values), rel=1e-3)
    drift = {
        step: np.mean([float(row["drift"]) for row in rows if row["step"] == step]) for step in "24"
    }
    both = ranking.together(
        np.array([each["pessimistic"] for each in judged]),
        np.array([drift[str(each["step"])] for each in judged]),
    )
    assert both[0] >= both[1] and judged[0]["as_good"]
    best = judged[0]["step"]
    assert Run(folder).find_checkpoint("best") == best and f"after {best}" in lines[-2]
    monkeypatch.setattr(recommend, "judge", lambda *_: pytest.fail("judged again"))
    again = []
    recommend_in(folder, again)
    assert again == lines[-2:]
    shutil.rmtree(folder / "checkpoints" / str(best))
    with pytest.raises(
        InputError, match="no checkpoint that was evaluated or judged; use last or one"
    ):
        Run(folder).find_checkpoint("best")


def test_a_run_that_is_stopped_while_it_is_judged_is_not_judged(copy_run):
    folder, checks = copy_run("other"), iter((False, True))

    def check_stop():
        if next(checks):
            raise Stopped

    with pytest.raises(Stopped):
        recommend_in(folder, [], check_stop)
    assert Run(folder).judged is None


def test_members_that_have_diverged_in_the_end_count_in_no_checkpoint(monkeypatch):
    """Of three members the second diverges. The means of the others are 1, 2 and 3.

    Their ranks are 1, 2 and 3, those of the mean drifts 2, 1 and 5 are 2, 3 and 1.
    """
    values = {6: {0: 2.0, 2: 4.0}, 4: {0: 1.0, 1: 50.0, 2: 3.0}, 2: {0: 0.0, 1: 60.0, 2: 2.0}}
    drifts = {6: {0: 3.0, 2: 7.0}, 4: {0: 2.0, 1: 90.0, 2: 0.0}, 2: {0: 2.0, 1: 0.0, 2: 2.0}}
    examined = [
        types.SimpleNamespace(
            contender=types.SimpleNamespace(step=s, index=i),
            choices=value,
            signs=types.SimpleNamespace(drift=drifts[s][i]),
        )
        for s, of_members in values.items()
        for i, value in of_members.items()
    ]
    recorded = types.SimpleNamespace(episode=np.repeat(np.arange(4), 5))
    source = types.SimpleNamespace(settings=types.SimpleNamespace(learner=None))
    monkeypatch.setattr(pool, "open_runs", lambda *_: (recorded, [source]))
    monkeypatch.setattr(recommend, "imagine", lambda *_: None)
    monkeypatch.setattr(recommend, "examine", lambda *_: examined)
    monkeypatch.setattr(
        recommend, "estimate", lambda *given: np.array(given[2])[:, None, None] + np.zeros((5, 6))
    )
    judged = recommend.judge("", [6, 4, 2], print, lambda: None, FAST, IMAGINED)
    names = "step", "value", "drift", "as_good"
    assert [tuple(each[name] for name in names) for each in judged] == [
        (4, pytest.approx(2.0), 1.0, True),
        (6, pytest.approx(3.0), 5.0, True),
        (2, pytest.approx(1.0), 2.0, False),
    ]


@pytest.mark.parametrize(
    ("order", "as_good", "which", "of_the_last"),
    [
        ((6, 2, 4), {4}, "recommend the last of 3 checkpoints, after 6", "tell it from 1 of the"),
        ((6, 2, 4), {}, "recommend the last of 3 checkpoints, after 6", "all others are estimated"),
        ((4, 6, 2), {6}, "of 3 checkpoints the data recommend that after 4", "cannot tell it from"),
        ((4, 6, 2), {2}, "of 3 checkpoints the data recommend that after 4", "the last, after 6"),
    ],
)
def test_what_the_data_say_of_the_last_checkpoint_is_told(order, as_good, which, of_the_last):
    judged = [{"step": step, "as_good": step in {order[0], *as_good}} for step in order]
    lines = recommend.describe(judged).splitlines()
    assert which in lines[0] and of_the_last in lines[1] and len(lines) == 2


def test_one_checkpoint_is_no_choice(copy_run):
    with pytest.raises(InputError, match="nothing to choose; lower --config.keep_every"):
        recommend.recommend(str(copy_run("other")), lambda step: step == 4, print, print, FAST)


def test_a_learner_that_cannot_act_so_acts_as_in_its_run(capsys):
    """One-call students have a single call; a feed-forward policy has no calls at all."""
    sources = [
        types.SimpleNamespace(
            folder=name,
            settings=types.SimpleNamespace(algorithm=name, learner=algorithms.settings(name)),
        )
        for name in ("edp_td3", "one_call_bc_diffusion", "td3_bc")
    ]
    ways = select.all_ways(sources, {"sampler_calls": ["5", "15"]})
    assert [way.sampler_calls for way in ways[0]] == [5, 15]
    assert ways[1:] == [[each.settings.learner] for each in sources[1:]]
    assert capsys.readouterr().out.count("acts as in its run") == 2
    with pytest.raises(InputError, match="td3_bc has no such setting"):
        select.all_ways(sources[2:], {"sampler_calls": ["5"]})


@pytest.fixture
def copy_run(own_run, tmp_path):
    """copy_run(name, **dataset): a copy of the run that says another thing of its dataset."""

    def copy(name, **dataset):
        shutil.copytree(own_run, tmp_path / name)
        path = tmp_path / name / "config.json"
        content = json.loads(path.read_text())
        content["dataset"] |= dataset
        path.write_text(json.dumps(content))
        return tmp_path / name

    return copy


def test_runs_of_other_data_are_refused(own_run, copy_run):
    other = copy_run("other", sha256="0" * 64)
    with pytest.raises(InputError, match="have different data"):
        pool.open_runs([str(own_run), str(other)], print)


def test_data_that_changed_are_refused(copy_run):
    """By select, whose user typed --runs, and by a run that judges itself."""
    folder = copy_run("other", sha256="0" * 64)
    with pytest.raises(InputError, match="^--runs: .* has changed since; restore it"):
        pool.open_runs([str(folder)], print)
    with pytest.raises(InputError, match="^config.best_by=fqe: .* has changed since; restore it"):
        recommend_in(folder, [])


def test_data_without_rewards_are_refused(own_run, copy_run, tmp_path):
    path = own_run.parents[1] / "own.npz"
    arrays = dict(np.load(path))
    np.savez(tmp_path / "own.npz", **arrays | {"rewards": np.zeros(400)})
    run = copy_run("other", sha256=sha256_of(tmp_path / "own.npz"))
    config = run / "config.json"
    config.write_text(config.read_text().replace(str(path), str(tmp_path / "own.npz")))
    with pytest.raises(InputError, match="has no rewards"):
        pool.open_runs([str(run)], print)


def test_a_run_without_checkpoints_is_refused(copy_run, tmp_path):
    run = copy_run("other")
    shutil.rmtree(run / "checkpoints")
    with pytest.raises(InputError, match="no checkpoint yet"):
        select.select([str(run)], str(tmp_path), FAST, VALUES)


def test_a_run_without_checkpoints_is_refused_before_others_are_examined(
    own_run, copy_run, tmp_path, monkeypatch
):
    run = copy_run("other")
    shutil.rmtree(run / "checkpoints")
    monkeypatch.setattr(select, "examine", lambda *_: pytest.fail("this takes minutes"))
    with pytest.raises(InputError, match="no checkpoint yet"):
        select.select([str(own_run), str(run)], str(tmp_path), FAST, VALUES)


def test_true_scores_are_found_by_step_member_and_way_of_acting(own_run, ranked):
    """The run acts with 10 candidates; the larger of two tables on one policy counts."""
    rows = ranking.read_ranking(str(ranked))
    head = "step,seed,episode,return,length,score"
    episodes = [(0, 5, 10.0), (1, 5, 30.0), (2, -1, 99.0)]  # the last does not count
    own = "".join(f"4,1,{e},7.0,{length},{score}\n" for e, length, score in episodes)
    again = "".join(f"4,1,{e},7.0,5,{e},1\n4,1,{e},7.0,5,{e},10\n" for e in (1, 2, 3))
    (own_run / "evaluations.csv").write_text(f"{head}\n{own}")
    found = dict(zip(map(policy_of, rows), truth.true_scores(rows), strict=True))
    assert found.pop(("4", "1", "10")) == 20.0
    assert np.isnan(list(found.values())).all()
    (own_run / "evaluate.csv").write_text(f"{head},num_candidates\n{again}")
    found = dict(zip(map(policy_of, rows), truth.true_scores(rows), strict=True))
    assert found["4", "1", "10"] == found["4", "1", "1"] == 2.0
    other = "".join(f"4,1,{e},700.0,5,\n" for e in range(9))  # of an environment without scores
    (own_run / "evaluate_other.csv").write_text(f"{head}\n{other}")
    found = dict(zip(map(policy_of, rows), truth.true_scores(rows), strict=True))
    assert found["4", "1", "10"] == 2.0
    found = truth.true_scores(rows, "evaluate_other.csv")  # where none has scores, returns count
    assert found[np.isfinite(found)].tolist() == [700.0]


def policy_of(row):
    return row["step"], row["seed"], row["num_candidates"]


def test_estimates_are_judged_by_hand():
    row = {"denoising_loss": "nan", "excess": "0", "distance": "1", "workdir": "r", "value": "1"}
    rows = [
        row | {"step": "10", "pessimistic": "3", "td_error": "2", "drift": "0.5", "rank": "1"},
        row | {"step": "20", "pessimistic": "1", "td_error": "nan", "drift": "0.1", "rank": "3"},
        row | {"step": "40", "pessimistic": "2", "td_error": "1", "drift": "0.2", "rank": "2"},
    ]
    found = judge_select.estimates(rows)
    assert found["FQE and drift"].tolist() == [-1.0, -3.0, -2.0]
    assert "denoising_loss" not in found  # no policy has it
    assert found["td_error"].tolist() == [-2.0, -2.0, -1.0]
    assert found["last"].tolist() == [0.25, 0.5, 1.0]
    judged = judge_select.judge_table(found, np.array([90.0, 60.0, 80.0]))
    assert judged["FQE, pessimistic"].tolist() == [1.0, 0.0, 0.0]
    assert judged["last"].tolist() == [-0.5, 10.0, 0.0]  # the last one, then all three
