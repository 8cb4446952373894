"""Runs are read and sorted into groups; what is missing is named."""

import json

import numpy as np
import pytest

from edp_jax import InputError
from edp_jax.reports import folders, groups, plans, results, score_tables


def read(*folders):
    found, unreadable = results.read_runs(map(str, folders))
    return groups.make_groups(found), unreadable


def labels(*folders):
    return [(group.task, group.label) for group in read(*folders)[0][0]]


def test_a_run_is_read_seed_by_seed(write_run):
    """Two evaluations of two seeds with two episodes each."""
    scores = np.array([[[1.0, 3.0], [10.0, 20.0]], [[5.0, 7.0], [30.0, 40.0]]])
    folder = write_run("a", scores, seeds=(4, 7), rate=5.0, critic=[[1, 2], [3, 4]])
    four, seven = results.read_run(str(folder))
    assert (four.seed, seven.seed, seven.learner) == (4, 7, "edp_td3")
    assert four.steps.tolist() == [10, 20] and four.scores.tolist() == [2.0, 6.0]
    assert seven.episodes.tolist() == [[10.0, 20.0], [30.0, 40.0]]
    assert seven.critic.tolist() == [2.0, 4.0]
    assert four.counts and four.seconds(four.steps).tolist() == [2.0, 4.0]
    assert four.machines == ("box",) and four.short_commits == ("0123456",)


def test_a_machine_is_told_with_its_accelerators(write_run):
    gpus = {"devices": ["gpu:0 NVIDIA H100", "gpu:1 NVIDIA H100"]}
    old = {"devices": ["cpu:0 cpu"], "machine": None, "git_commit": "1" * 40 + "-dirty"}
    folders = write_run("a", [[1.0]], start=gpus), write_run("b", [[1.0]], start=old)
    (first,), (second,) = map(results.read_run, map(str, folders))
    assert first.machines == ("box with 2 x NVIDIA H100",) and second.machines == ("1 x cpu",)
    assert second.short_commits == ("1111111-dirty",)


def test_the_clock_of_a_run_tells_its_time_without_evaluations(write_run):
    folder = write_run("a", [[1.0], [2.0]], times=[(10, 8.0, 0.0), (20, 17.0, 4.0)])
    (result,) = results.read_run(str(folder))
    assert result.seconds(result.steps).tolist() == [8.0, 13.0]


def test_folders_are_searched_down_to_the_runs(write_run, tmp_path):
    inner = write_run("a/b", [[1.0]])
    (inner / "policy").mkdir()
    (inner / "policy" / "config.json").write_text("{}")
    write_run("c", [[1.0]])
    found = [str(tmp_path / "runs" / name) for name in ("a/b", "c")]
    assert folders.find_runs([str(tmp_path / "runs")]) == found
    assert folders.find_runs([str(tmp_path / "*" / "c"), str(tmp_path / "runs")]) == found
    with pytest.raises(
        InputError, match="--runs=.*nothing: no run there .*config.json or .*summary"
    ):
        folders.find_runs([str(tmp_path / "nothing")])


def test_runs_without_their_config_are_found_and_tell_why(write_run, tmp_path):
    """One failed before it wrote config.json, one was killed then, and of one it was deleted.

    The config.json of a policy inside a run does not make that a run.
    """
    failed = tmp_path / "runs" / "a"
    failed.mkdir(parents=True)
    (failed / "status.json").write_text('{"state": "failed", "reason": "no such\\ndata"}')
    lost = write_run("b", [[1.0]])
    (lost / "policy").mkdir()
    (lost / "config.json").rename(lost / "policy" / "config.json")
    killed = tmp_path / "runs" / "c"
    killed.mkdir()
    (killed / "status.json").write_text('{"state": "running"}')
    found = folders.search([str(tmp_path / "runs")])
    assert found == ([], [str(failed), str(lost), str(killed)], [])
    first, second, third = map(folders.describe, found.without_config)
    assert "c has no config.json; it is just beginning, or was stopped then" in third.reason
    assert first.state == "failed" and first.reason.endswith("config.json: no such data")
    assert second.state == "unreadable" and "b has no config.json; restore it" in second.reason
    with pytest.raises(InputError, match="--runs: failed, and there is no config.json: no such"):
        folders.find_runs([str(tmp_path / "runs")])


def test_a_run_of_a_sweep_that_failed_tells_why(write_run):
    folder = write_run("a", [[1.0]], num_steps=500, finished=False)
    (folder / "status.json").write_text('{"state": "failed", "reason": "the disk is full"}')
    (result,) = results.read_run(str(folder))
    assert result.state == "unfinished" and result.problems == ("failed: the disk is full",)


def _change_last(text, cell):
    return text[: text.rindex(",") + 1] + cell + "\n"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda text: "".join(text.splitlines(True)[:-2]), "has 2 of its 4 rows up to update 20"),
        (
            lambda text: _change_last(text, "41"),
            "has other rows up to update 20 than the run wrote",
        ),
        (lambda text: _change_last(text, "abc"), "has 3 of its 4 rows up to update 20"),
        (lambda text: text[:-2], "has 3 of its 4 rows up to update 20"),
        (
            lambda text: text.replace("seed", "sid", 1),
            "has other rows up to update 20 than the run",
        ),
        (lambda text: text.replace("step", "at", 1), "first line is not that of a table"),
        (lambda text: text.replace("20,1,", "20,9,", 1), "has other rows up to update 20 than the"),
        (None, "has 0 of its 4 rows up to update 20"),
    ],
    ids=[
        *("rows lost", "score edited", "no number", "torn line", "header changed"),
        *("header broken", "unknown seed", "deleted"),
    ],
)
@pytest.mark.parametrize("name", ["evaluations.csv", "metrics.csv"])
def test_a_finished_run_whose_tables_are_not_as_it_wrote_them_does_not_count(
    write_run, name, change, says
):
    folder = write_run("a", [[10.0, 20.0], [30.0, 40.0]])
    assert all(result.state == "finished" for result in results.read_run(str(folder)))
    table = folder / name
    if change is None:
        table.unlink()
    else:
        table.write_text(change(table.read_text()))
    for result in results.read_run(str(folder)):
        assert result.state == "damaged" and not result.counts and not len(result.scores)
        assert result.damage.startswith(str(table)) and says in result.damage


def test_rows_beyond_the_end_of_a_finished_run_do_not_count(write_run):
    folder = write_run("a", [[1.0]])
    table = folder / "evaluations.csv"
    with open(table, "a") as file:
        file.write("20,0,0,2,5,2\n")
    (result,) = results.read_run(str(folder))
    assert not result.counts and not len(result.scores)
    assert result.damage == f"{table} goes on to update 20, its summary to 10"


def test_a_finished_run_that_goes_on_is_compared_with_nothing(write_run):
    """Its summary is that of its former end, and rows have been added since."""
    folder = write_run("a", [[1.0]], num_steps=500)
    with open(folder / "evaluations.csv", "a") as file:
        file.write("20,0,0,2,5,2\n")
    (result,) = results.read_run(str(folder))
    assert result.state == "unfinished" and result.scores.tolist() == [1.0, 2.0]


def test_a_summary_without_digests_is_told(write_run):
    (result,) = results.read_run(str(write_run("a", [[1.0]], summary={"tables": None})))
    assert result.counts and "an older summary.json has no digests" in result.problems[0]


def test_runs_that_cannot_be_read_do_not_stop_the_others(write_run):
    sound, broken, strange = (write_run(name, [[1.0]]) for name in "abc")
    (broken / "config.json").write_text("{")
    (strange / "summary.json").write_text('{"updates_per_second": 3}')
    (found, _), unreadable = read(sound, broken, strange)
    assert [result.workdir for group in found for result in group.results] == [str(sound)]
    assert [each.workdir for each in unreadable] == [str(broken), str(strange)]
    assert "cannot be read" in unreadable[0].reason
    assert "not those of a run" in unreadable[1].reason


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"finished": False}, None),
        ({"summary": False}, None),  # killed, or still running
        ({"num_steps": 500}, None),  # it goes on beyond its former end
        ({"critic": [[1.0], [np.nan]]}, "before update 20: critic/q_mean"),
        ({"summary": {"diverged": [{"seed": 0, "update": 15}]}}, "in update 15"),
    ],
)
def test_what_did_not_end_soundly_does_not_count(write_run, changes, says):
    (result,) = results.read_run(str(write_run("a", [[1.0], [2.0]], **changes)))
    assert not result.counts and result.diverged == says


def test_a_last_evaluation_without_a_result_does_not_count(write_run):
    failures = [{"step": 20, "reason": "no simulator"}]
    folder = write_run("a", [[1.0], [np.nan]], summary={"failed_evaluations": failures})
    (result,) = results.read_run(str(folder))
    assert not result.counts
    assert result.problems == (
        "evaluation at update 20 failed: no simulator",
        "1 of 2 evaluations without a result, also the last",
    )


def test_settings_are_named_where_they_are_not_the_tasks_defaults(write_run):
    """eta is 1 by default on one task and 0.005 on the other; 2 and 2.0 are the same."""
    plain = write_run("a", [[1.0]], eta=1.0)
    changed = write_run("b", [[1.0]], eta=2)
    same = write_run("c", [[1.0]], eta=2.0, seeds=(1,), log_every=7, eval_every=9, eval_episodes=1)
    elsewhere = write_run("d", [[1.0]], eta=0.005, task="kitchen-complete-v0")
    assert labels(plain, changed, same, elsewhere) == [
        ("hopper-medium-v2", "edp_td3"),
        ("hopper-medium-v2", "edp_td3 eta=2"),
        ("kitchen-complete-v0", "edp_td3"),
    ]


def test_settings_that_differ_in_a_late_digit_are_told_apart(write_run):
    found = [write_run(f"{eta}", [[1.0]], eta=eta) for eta in (0.1234567, 0.1234568)]
    names = [label for _, label in labels(*found)]
    assert names == ["edp_td3 eta=0.1234567", "edp_td3 eta=0.1234568"]


def test_the_name_of_a_learner_does_not_depend_on_other_runs(write_run):
    """eta=0.1 is the default of built-in tasks; a data file has the learner's own default, 1."""
    own = write_run("a", [[1.0]], task="/data/own.npz", num_candidates=1, eta=1.0)
    small = {"hidden_dims": [32, 32], "eta": 0.1, "num_timesteps": 1000}
    paper = write_run("b", [[1.0]], **small)
    built_in = write_run("c", [[1.0]], task="builtin/hopper-medium", **small)
    assert labels(own) == [("own.npz", "edp_td3 num_candidates=1")]
    assert labels(paper) == [("hopper-medium-v2", "edp_td3 eta=0.1 hidden_dims=(32,32)")]
    assert labels(own, paper, built_in) == [
        ("builtin/hopper-medium", "edp_td3 hidden_dims=(32,32)"),
        *(labels(paper) + labels(own)),
    ]


def test_length_and_environment_are_named_only_where_they_tell_runs_apart(write_run):
    """So are settings that have no default in this version."""
    short = write_run("a", [[1.0]], env_id="Mine-v0", gone=1)
    long = write_run("b", [[1.0], [2.0]], env_id="Mine-v0", gone=2)
    other = write_run("c", [[1.0], [2.0], [3.0]], eta=2.0)
    assert labels(short) == labels(long) == [("hopper-medium-v2", "edp_td3")]
    assert labels(short, long, other) == [
        ("hopper-medium-v2", "edp_td3 eta=2"),
        ("hopper-medium-v2", "edp_td3 gone=1 num_steps=10"),
        ("hopper-medium-v2", "edp_td3 gone=2 num_steps=20"),
    ]


def test_a_point_of_a_sweep_is_one_more_setting(write_run):
    plain = write_run("a", [[1.0]], eta=1.0)
    swept = write_run("b", [[5.0]], eta=1.0, point={"eta": 0.5})
    ((_, group), _), _ = read(plain, swept)
    assert group.label == "edp_td3 eta=0.5" and group.values("last").tolist() == [5.0]


def test_different_data_of_one_name_are_told_apart(write_run):
    mine = write_run("a", [[1.0]], task="/here/own.npz", sha256="1" * 64)
    yours = write_run("b", [[1.0]], task="/there/own.npz", sha256="2" * 64)
    assert labels(mine) == [("own.npz", "edp_td3")]
    found = [("own.npz (data 11111111)", "edp_td3"), ("own.npz (data 22222222)", "edp_td3")]
    assert labels(mine, yours) == found


def test_returns_do_not_mix_with_scores(write_run):
    scored = write_run("a", [[50.0]])
    returned = write_run("b", [[1600.0]], seeds=(1,), scored=False)
    (found, _), _ = read(scored, returned)
    assert [(group.task, group.unit) for group in found] == [
        ("hopper-medium-v2", "score"),
        ("hopper-medium-v2 (returns)", "return"),
    ]
    assert list(groups.by_label(found)) == ["edp_td3"]
    assert groups.by_label(found)["edp_td3"] == found[:1]


def test_of_a_seed_that_was_run_twice_the_longer_run_counts(write_run):
    short = write_run("a", [[1.0]], num_steps=20, finished=False, eta=2.0)
    long = write_run("b", [[1.0], [2.0]], eta=2.0)
    (((group,), repeated), _) = read(short, long)
    assert [result.workdir for result in group.results] == [str(long)]
    ((task, label, result, kept),) = repeated
    assert (task, label) == (group.task, group.label) == ("hopper-medium-v2", "edp_td3 eta=2")
    assert (result.workdir, kept) == (str(short), str(long))


def test_of_two_runs_of_one_length_one_that_counts_is_taken(write_run):
    folders = [write_run(name, [[1.0], [last]]) for name, last in (("a", np.nan), ("b", 2.0))]
    (((group,), _), _) = read(*folders)
    assert [result.workdir for result in group.results] == [str(folders[1])]


def test_a_removed_run_is_missing(write_run):
    """Every learner is expected on every task with every seed that any run has."""
    folders = [
        write_run(f"{learner}-{task}", [[1.0, 2.0]], learner=learner, task=task)
        for learner in ("edp_td3", "iql")
        for task in ("hopper-medium-v2", "kitchen-complete-v0")
    ]
    (found, _), _ = read(*folders)
    assert groups.missing(found) == []
    (found, _), _ = read(*folders[:3])
    assert groups.missing(found) == [
        ("kitchen-complete-v0", "iql", 0),
        ("kitchen-complete-v0", "iql", 1),
    ]


def test_a_table_can_say_what_is_expected(write_run, tmp_path):
    (found, _), _ = read(write_run("a", [[1.0, 2.0]]))
    table = tmp_path / "expected.csv"
    row = "hopper-medium-v2,edp_td3,"
    table.write_text(f"task,learner,seed\n{row}1\n{row}2\n")
    assert groups.missing(found, groups.read_expected(str(table))) == [
        ("hopper-medium-v2", "edp_td3", 2)
    ]
    table.write_text("task,learner,seed\na, edp_td3 eta=2, 1\n")
    assert groups.read_expected(str(table)) == {("a", "edp_td3 eta=2", 1)}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("task,seed\na,1\n", "cannot be read as a table; give"),
        ("task,learner,seed\na,b,one\n", "cannot be read as a table; give"),
        ("task,learner,seed\na,,1\n", "cannot be read as a table; give"),
        ("task,learner,seed\na\n", "cannot be read as a table; give"),
        ("task;learner;seed\n", "cannot be read as a table; give"),
        ("task;learner;seed\na;b;1\n", "cannot be read as a table; give"),
        ("", "cannot be read as a table; give"),
        ("task,learner,seed\n", "lists no run; give one row per run"),
    ],
)
def test_a_table_that_says_nothing_is_refused(tmp_path, content, says):
    table = tmp_path / "expected.csv"
    table.write_text(content)
    with pytest.raises(InputError, match=f"expected.csv: {says}"):
        groups.read_expected(str(table))


def plan(name, *, seeds=(0,), sweep=None, **settings):
    config = {"task": "hopper-medium-v2", "algorithm": "edp_td3", "seeds": seeds, **settings}
    return {"name": name, "settings": config | {"sweep": sweep or {}}}


def test_a_sweep_says_what_is_missing(write_run, tmp_path):
    """Of what it lists: b was removed, c failed. Seed 1 of the learner in d was never planned."""
    kept = write_run("a", [[1.0, 2.0]], eta=1.0)
    write_run("d", [[1.0]], learner="iql")
    failed = tmp_path / "runs" / "c"
    failed.mkdir()
    (failed / "status.json").write_text('{"state": "failed", "reason": "no data"}')
    records = [
        plan("a", seeds=(0, 1), eta=1.0),
        plan("b", seeds=(0, 4), eta=1.0, sweep={"eta": (1.0, 2.0)}),
        plan("c", num_candidates=1),
        plan("d", algorithm="iql"),
    ]
    (tmp_path / "runs" / "suite.json").write_text(json.dumps(records))
    found = folders.search([str(kept)])
    assert found.sweeps == folders.search([str(tmp_path)]).sweeps == [str(tmp_path / "runs")]
    planned, unreadable = plans.read_plans(found.sweeps)
    assert len(planned) == 2 + 4 + 1 + 1 and not unreadable
    absent = [each for each in planned if each.workdir in (str(failed), f"{failed.parent}/b")]
    keys = groups.planned_keys(absent, results.read_run(str(kept)))
    task = "hopper-medium-v2"
    assert keys.pop(str(failed)) == ((task, "edp_td3 num_candidates=1", 0),)
    ((folder, removed),) = keys.items()
    assert not folders.is_run(folder) and folders.is_run(str(failed))
    (found, _), _ = read(kept)
    assert groups.missing(found, removed) == [
        (task, "edp_td3", 4),
        (task, "edp_td3 eta=2", 0),
        (task, "edp_td3 eta=2", 4),
    ]


def test_the_plan_of_the_working_folder_names_its_runs_as_they_are_found(
    write_run, tmp_path, monkeypatch
):
    write_run("a", [[1.0]])
    (tmp_path / "runs" / "suite.json").write_text(json.dumps([plan("a")]))
    monkeypatch.chdir(tmp_path / "runs")
    found = folders.search(["."])
    ((planned,), _) = plans.read_plans(found.sweeps)
    assert found.runs == [planned.workdir] == ["a"]


def test_an_older_plan_has_what_was_changed(tmp_path):
    record = {"name": "a", "config": "edp_td3", "task": "kitchen-mixed-v0"}
    overrides = {"seeds": [3], "num_candidates": 1}
    (tmp_path / "suite.json").write_text(json.dumps([record | {"overrides": overrides}]))
    ((planned,), _) = plans.read_plans([str(tmp_path)])
    assert (planned.task, planned.learner, planned.seed) == ("kitchen-mixed-v0", "edp_td3", 3)
    assert planned.settings["num_candidates"] == 1 and planned.settings["eta"] == 0.005


@pytest.mark.parametrize("content", ["{", "3", '["a"]', '[{"name": "a"}]', '{"a": 1}'])
def test_a_plan_that_cannot_be_read_is_told(tmp_path, content):
    (tmp_path / "suite.json").write_text(content)
    planned, ((path, reason, state),) = plans.read_plans([str(tmp_path)])
    assert planned == [] and path == str(tmp_path / "suite.json") and state == "no plan"
    assert "the command of the sweep writes it again" in reason


def test_domains_are_those_of_the_paper():
    tasks = ("walker2d-medium-v2", "pen-human-v1", "antmaze-umaze-v0", "builtin/hopper-medium")
    assert [groups.domain_of(t) for t in tasks] == ["gym", "adroit", "antmaze", "builtin"]
    others = ("antmaze-umaze-v2", "door-human-v1", "own.npz")
    assert [groups.domain_of(t) for t in others] == ["other antmaze", "other adroit", "other"]


def test_averages_over_tasks_tell_how_long_their_runs_were(write_run):
    """A run that does not count is not among them."""
    short = write_run("a", [[1.0]])
    long = write_run("b", [[1.0], [2.0]], task="walker2d-medium-v2")
    stopped = write_run("c", [[1.0]] * 3, seeds=(1,), num_steps=10, finished=False)
    (found, _), _ = read(short, long, stopped)
    for make in (score_tables.domain_averages, score_tables.aggregates):
        table = make(found)
        column = [each.name for each in table.columns].index("updates")
        assert table.rows[0][column] == (10, 20)


def test_the_papers_domain_mean_stands_where_all_its_tasks_are(write_run):
    """Kitchen, OMS: EDP 80.5. Ours: (90 + 60 + 30) / 3, until a task is there twice."""
    folders = [
        write_run(f"{kind}", [[score]], task=f"kitchen-{kind}-v0")
        for kind, score in (("complete", 90.0), ("partial", 60.0), ("mixed", 30.0))
    ]
    (found, _), _ = read(*folders)
    row = score_tables.domain_averages(found).rows[0]
    assert row[:3] == ("kitchen", "edp_td3", "3 of 3") and row[5][0] == 60.0
    assert row[-2:] == (80.5, pytest.approx(-20.5))
    more = write_run("more", [[0.0]], task="kitchen-mixed-v0", sha256="other")
    (found, _), _ = read(*folders, more)
    assert score_tables.domain_averages(found).rows[0][-2:] == (None, None)
