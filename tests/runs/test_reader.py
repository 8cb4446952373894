"""A run is read back from its files."""

import json

import numpy as np
import pytest

from edp_jax import InputError
from edp_jax.runs import Run
from edp_jax.training.members import Member


def test_settings_members_and_starts_are_those_of_config_json(make_run):
    run = make_run()
    assert run.config["num_steps"] == 20 and run.dataset["sha256"] == "abc"
    assert run.title == "edp_iql on hopper-medium-v2" and run.starts == [{"step": 0}]
    assert run.members == tuple(
        Member(seed, (("eta", eta),)) for eta in (0.5, 2.0) for seed in (3, 4)
    )
    assert run.evaluations is None and run.summary is None and run.checkpoint_step is None
    assert run.metrics.steps.size == 0 and run.metrics.values == {}


def test_evaluations_have_the_axes_time_member_episode(make_run, episode_lines, returns_at):
    found = make_run(episode_lines((10, 20))).evaluations
    assert found.steps.tolist() == [10, 20]
    np.testing.assert_array_equal(found.returns, returns_at((10, 20)))
    np.testing.assert_allclose(found.scores, found.returns / 10)
    np.testing.assert_array_equal(found.lengths, np.broadcast_to([7, 8], (2, 4, 2)))
    assert (found.unit, found.env_steps) == ("score", None)
    np.testing.assert_allclose(found.means[0], [1.05, 11.05, 21.05, 31.05])


def test_rows_may_stand_in_any_order(make_run, episode_lines, returns_at):
    lines = episode_lines((10,))
    found = make_run(lines[4:] + lines[:4]).evaluations
    np.testing.assert_array_equal(found.returns, returns_at((10,)))


def test_where_a_score_is_missing_returns_are_compared(make_run, episode_lines):
    lines = episode_lines((10,)) + episode_lines((20,), scored=False)
    found = make_run(lines).evaluations
    assert found.scores is None and found.unit == "return"
    np.testing.assert_array_equal(found.means[:, 1], [110.5, 120.5])


def test_the_evaluations_of_an_online_run_have_environment_steps(make_online_run):
    """The other columns are read as without them: (t + 100 r) / 10."""
    evaluations = make_online_run((10, 20)).evaluations
    assert evaluations.env_steps.tolist() == [0, 50]
    np.testing.assert_allclose(evaluations.means, [[1, 11, 21, 31], [2, 12, 22, 32]])


def test_the_number_of_episodes_may_change(make_run, episode_lines):
    """Two episodes, then three: the missing one does not count; a NaN that was run does."""
    lines = episode_lines((10,)) + episode_lines((20,), episodes=3)
    lines[1] = "10,3,0.5,1,nan,8,nan\n"
    found = make_run(lines).evaluations
    assert found.returns.shape == (2, 4, 3) and found.lengths[0, :, 2].tolist() == [-1] * 4
    np.testing.assert_allclose(found.means[0], [np.nan, 11.05, 21.05, 31.05])
    np.testing.assert_allclose(found.means[1], [2.1, 12.1, 22.1, 32.1])


def test_what_was_not_written_to_its_end_is_left_out(make_run, episode_lines, metric_lines):
    cut = episode_lines((10, 20))[:-1]
    run = make_run(cut, metric_lines[:-1] + ["10,4,2.0,13,20,0."])
    assert run.evaluations.steps.tolist() == [10] and run.metrics.steps.tolist() == [5]


def test_metrics_have_the_axes_time_member(make_run, metric_lines):
    metrics = make_run(metrics=metric_lines).metrics
    assert metrics.steps.tolist() == [5, 10]
    assert list(metrics.values) == ["actor/loss", "critic/loss", "critic/q_mean"]
    np.testing.assert_array_equal(metrics.values["actor/loss"], [[5, 6, 7, 8], [10, 11, 12, 13]])
    assert np.isnan(metrics.values["critic/q_mean"]).all()


def test_times_are_those_of_times_csv(make_run, tmp_path):
    assert make_run().times is None
    (tmp_path / "times.csv").write_text("step,seconds,evaluating\n5,3.5,0\n10,7,2.5\n15,9")
    times = Run(str(tmp_path)).times
    assert times.steps.tolist() == [5, 10] and times.seconds.tolist() == [3.5, 7.0]
    assert times.evaluating.tolist() == [0.0, 2.5]
    (tmp_path / "times.csv").write_text("step,minutes\n5,3\n")
    with pytest.raises(InputError, match="times.csv: not the table of this run"):
        _ = Run(str(tmp_path)).times


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "not there, so .* holds no run"),
        ("{", "cannot be read"),
        ('{"format": 2}', "not the config.json of a run"),
        (
            json.dumps({"config": {"algorithm": "td3"}, "dataset": {}, "starts": []}),
            r"another version of edp_jax \(format 1, not 2\); use that version, or a new folder",
        ),
    ],
)
def test_a_folder_without_a_run_of_this_version_is_refused(tmp_path, content, says):
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    for ask in (lambda run: run.config, lambda run: run.state(None), lambda run: run.metrics):
        (tmp_path / "metrics.csv").write_text("step,seed\n1,0\n")
        with pytest.raises(InputError, match=says) as error:
            ask(Run(str(tmp_path)))
        assert "\n" not in str(error.value)


def test_what_a_run_does_not_have_is_said(make_run, episode_lines):
    run = make_run(["10,9,0.5,0,1,1,1\n"])
    with pytest.raises(InputError, match="evaluations.csv: not the table of this run"):
        _ = run.evaluations
    with pytest.raises(InputError, match="has no checkpoint yet"):
        run.state(None)
    with pytest.raises(
        InputError, match="policy.: no such folder; .* writes its policy/ when it stops"
    ):
        run.policy()


def test_estimates_of_checkpoints_are_read_as_a_run_writes_them(make_run, tmp_path):
    row = {"step": 4, "as_good": True} | dict.fromkeys(
        ("value", "low", "high", "pessimistic", "drift"), 1.5
    )
    for judged, found in (
        ([row], [row]),
        ([row, {"step": 2}], None),
        ([row | {"step": "4"}], None),
        ([], None),
        (4, None),
    ):
        (tmp_path / "summary.json").write_text(json.dumps({"judged": judged}))
        assert make_run().judged == found


def test_estimates_are_out_of_date_once_the_run_has_trained_on(make_run, tmp_path):
    """Of steps 2 and 4; a run that is made longer and killed leaves a newer checkpoint alone."""
    values = dict.fromkeys(("value", "low", "high", "pessimistic", "drift"), 1.5)
    judged = [{"step": step, "as_good": True} | values for step in (2, 4)]
    (tmp_path / "summary.json").write_text(json.dumps({"judged": judged}))
    for saved, found in ((2, judged), (4, judged), (5, None)):
        (tmp_path / "checkpoints" / str(saved)).mkdir(parents=True)
        assert make_run().judged == found
