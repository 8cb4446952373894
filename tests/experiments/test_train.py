"""Whole runs in this process: what a folder refuses, what it takes up again, what it holds."""

import csv
import json
import os
import re
import subprocess

import gymnasium
import h5py
import numpy as np
import pytest

import edp_jax
from edp_jax import InputError, configuration
from edp_jax.configuration import build
from edp_jax.evaluation import guarded
from edp_jax.runs import Run
from edp_jax.selection import recommend
from edp_jax.training import evaluator
from edp_jax.training.hosts import Stopped
from edp_jax.types import EnvSpec
from experiments import evaluate, main, video

TASK = "hopper-medium-v2"
TINY = {
    "hidden_dims": (8, 8),
    "num_timesteps": 10,
    "sampler_calls": 2,
    "batch_size": 8,
    "seeds": (0, 1),
    "num_steps": 4,
    "log_every": 1,
    "eval_every": 2,
    "eval_episodes": 2,
    "checkpoint_every": 2,
}


class Signals:
    """Asks to stop at the `stop_at`-th check."""

    def __init__(self, stop_at: int | None = None):
        self.stop_at, self.checks = stop_at, 0

    def check(self) -> None:
        self.checks += 1
        if self.checks == self.stop_at:
            raise Stopped


def write_dataset(path, observation_dim=11, size=60):
    rng = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        file["observations"] = rng.normal(size=(size, observation_dim)).astype(np.float32)
        file["actions"] = rng.uniform(-1, 1, (size, 3)).astype(np.float32)
        file["rewards"] = rng.normal(size=size).astype(np.float32)
        file["terminals"] = np.arange(size) % 20 == 19
        file["timeouts"] = np.zeros(size, bool)


@pytest.fixture
def folder(tmp_path):
    write_dataset(tmp_path / "hopper_medium-v2.hdf5")
    return tmp_path


def resolve(folder, task=TASK, learner="edp_td3", **changes):
    changes = {**TINY, "data_dir": str(folder), **changes}
    return configuration.resolve(configuration.make_config(learner, task, **changes))


def train(folder, workdir="run", signals=None, **changes) -> Run:
    settings = resolve(folder, **changes)
    main.train(settings, str(folder / workdir), signals or Signals())
    return Run(str(folder / workdir))


def contents(folder):
    with np.load(folder / "policy" / "params.npz", allow_pickle=False) as params:
        arrays = {name: params[name] for name in params}
    tables = {name: (folder / name).read_bytes() for name in ("metrics.csv", "evaluations.csv")}
    return arrays, tables


def test_a_run_stopped_in_an_evaluation_ends_like_one_that_was_not(folder):
    train(folder, "whole")
    with pytest.raises(Stopped):
        train(folder, "stopped", signals=Signals(stop_at=5))
    stopped = Run(str(folder / "stopped"))
    assert not stopped.summary["finished"] and stopped.summary["num_steps"] == 2
    train(folder, "stopped")
    found, expected = contents(folder / "stopped"), contents(folder / "whole")
    assert found[1] == expected[1]
    for name, array in expected[0].items():
        np.testing.assert_array_equal(found[0][name], array)
    run = Run(str(folder / "stopped"))
    assert [start["step"] for start in run.starts] == [0, 2]
    assert run.summary["finished"] and run.summary["num_steps"] == 4


def test_an_interrupted_run_has_a_picture_a_summary_and_policies(folder, capsys):
    """Stopped by a signal after its first update, before any evaluation."""
    with pytest.raises(Stopped):
        train(folder, signals=Signals(stop_at=4))  # three lines come before
    run = Run(str(folder / "run"))
    assert run.metrics.steps.tolist() == [1] and run.evaluations is None
    assert not run.summary["finished"] and run.summary["num_steps"] == 1
    assert run.checkpoint_step == 1 and (folder / "run" / "learning_curve.png").exists()
    assert run.policy(seed=1)(np.zeros(11)).shape == (3,)
    printed = capsys.readouterr().out
    assert "not finished: 1 updates are done" in printed and "learning curve: " in printed


def test_an_evaluation_that_fails_is_in_the_summary_and_costs_no_training(
    folder, monkeypatch, capsys
):
    def rollout(*arguments, **keywords):
        raise RuntimeError("the simulator crashed")

    with monkeypatch.context() as broken:
        broken.setattr(evaluator, "rollout", rollout)
        run = train(folder, num_steps=2)
    assert run.summary["finished"] and run.evaluations is None
    assert [entry["step"] for entry in run.summary["failed_evaluations"]] == [2]
    assert run.summary["failed_evaluations"][0]["reason"].endswith("the simulator crashed")
    assert "failures in evaluations: 1, the last at 2: environment" in capsys.readouterr().out
    longer = train(folder)
    assert longer.evaluations.steps.tolist() == [2, 4]  # the missed one is made up for
    assert longer.summary["failed_evaluations"] == []


def test_a_run_is_read_back_as_it_was(folder):
    run = train(folder)
    assert run.title == "edp_td3 on hopper-medium-v2" and run.config["seeds"] == [0, 1]
    assert run.dataset["summary"]["transitions"] == 60
    assert [str(member) for member in run.members] == ["seed 0", "seed 1"]
    assert run.metrics.steps.tolist() == [1, 2, 3, 4]
    assert run.evaluations.returns.shape == (2, 2, 2) and run.evaluations.unit == "score"
    last = run.evaluations.means[-1].mean()
    assert run.summary["last"]["mean"] == pytest.approx(last)
    assert run.summary["algorithm"] == "edp_td3"
    algorithm = build.make_algorithm(
        resolve(folder), build.load_dataset(resolve(folder), "", print)
    )
    state = run.state(algorithm)
    assert state.step.tolist() == [4, 4]


def acting(num_candidates=(), selection_temperature=(), sampler_calls=(), starting_noise=()):
    given = {
        "num_candidates": num_candidates,
        "selection_temperature": selection_temperature,
        "sampler_calls": sampler_calls,
        "starting_noise": starting_noise,
    }
    return {name: list(map(str, values)) for name, values in given.items()}


def test_a_run_is_evaluated_again_as_it_was_and_acting_in_other_ways(folder, capsys, monkeypatch):
    run = train(folder)
    capsys.readouterr()
    ways = acting(num_candidates=(1, 10), selection_temperature=(0, 1))
    evaluate.evaluate(run.workdir, ways, evaluate.Request(episodes=2))
    title, members, head, *rows, _ = capsys.readouterr().out.splitlines()
    assert title == "edp_td3 on hopper-medium-v2 after 4 updates" and members == "seed 0; seed 1"
    assert head.split()[:6] == [*evaluate.ACTING, "score,"]
    ids = [row.split()[:4] for row in rows]
    assert [(way[0], way[3]) for way in ids] == [("1", "2"), ("10", "2"), ("10", "2")]
    assert [way[1] for way in ids[1:]] == ["0.0", "1.0"]
    last = run.summary["last"]["mean"]
    assert rows[2].split()[5] == f"{last:.1f}:" and len({row.split()[5] for row in rows}) == 3
    with pytest.raises(InputError, match="sampler_calls=11"):
        evaluate.evaluate(run.workdir, acting(sampler_calls=(11,)))
    with pytest.raises(InputError, match="holds no run"):
        evaluate.evaluate(str(folder), acting())
    capsys.readouterr()
    home = str(folder / "hopper_medium-v2.hdf5")  # not a folder
    monkeypatch.setenv("HOME", home)
    for request, says in (
        (evaluate.Request(env_kwargs='{"a": 1}'), '--env_kwargs={"a": 1}: belongs to --env_id'),
        (
            evaluate.Request(environment="Hopper-v4", env_kwargs="4"),
            "^--env_kwargs='4' must be a JSON",
        ),
        (evaluate.Request(table="/no/such/a.csv"), "/no/such/a.csv: cannot be written"),
        (evaluate.Request(video="/no/such/a.mp4"), "/no/such/a.mp4: cannot be written"),
        (evaluate.Request(table="~/a.csv"), f"^{home}/a.csv: cannot be written"),
        (evaluate.Request(video="~/a.mp4"), f"^{home}/a.mp4: cannot be written"),
    ):
        with pytest.raises(InputError, match=says):
            evaluate.evaluate(run.workdir, acting(), request)
    assert not capsys.readouterr().out  # before any episode


def test_another_environment_pays_returns_and_who_has_diverged_is_not_filmed(
    folder, monkeypatch, capsys
):
    read, filmed = Run.state, []

    def evaluation(settings, dataset, algorithm, *given, **options):
        values, has_scores = np.full((2, 1), 7.0), dataset.reference_scores is not None
        result = evaluator.Evaluation(values, np.ones((2, 1), int), values if has_scores else None)
        return lambda state: result

    def state(diverged):
        monkeypatch.setattr(
            Run, "state", lambda *given: read(*given).replace(diverged=np.array(diverged))
        )

    monkeypatch.setattr(build, "make_evaluate", evaluation)
    monkeypatch.setattr(video, "make_choose", lambda *given: given[-1])
    monkeypatch.setattr(video, "film", lambda *given: filmed.append(given) or (0.0, 1))
    run, film = train(folder, num_steps=2), str(folder / "film.mp4")
    assert run.evaluations.unit == "score"
    request = evaluate.Request(1, environment="Hopper-v4", video=film)
    state((3, -1))
    evaluate.evaluate(run.workdir, acting(), request)
    printed = capsys.readouterr().out
    assert "return, mean of all members" in printed
    assert "no scores: the reference scores are of another environment; --env_id=task" in printed
    assert [row["score"] for row in read_csv(folder / "run" / evaluate.TABLE)] == ["", ""]
    seed = evaluator.episode_seeds((1,), 2, 1, 0).item()  # of the second member
    assert [(path, member, s) for path, member, _, s in filmed] == [(film, 1, seed)]
    state((3, 3))
    with pytest.raises(InputError, match="all policies have diverged"):
        evaluate.evaluate(run.workdir, acting(), request)


def test_reference_scores_belong_to_an_environment(folder):
    other, run = EnvSpec("gymnasium:Other-v0"), EnvSpec("gymnasium:Hopper-v4", "{}")
    settings = resolve(folder, env_id="Hopper-v4")
    foreign = [evaluate.is_foreign(env, settings) for env in (other, run, EnvSpec("hopper"))]
    assert foreign == [True, False, False]
    given = resolve(folder, reference_scores=(0.0, 4.0))  # by the user, of what he names
    alone = resolve(folder, task=str(folder / "hopper_medium-v2.hdf5"))  # has no environment
    assert not evaluate.is_foreign(other, given) and not evaluate.is_foreign(other, alone)


def test_a_reset_that_fails_gives_nan_in_the_shape_of_an_observation():
    class Broken:
        observation_space, action_space = gymnasium.spaces.Box(0, 255, (3,), np.uint8), None

        def reset(self, seed):
            if seed:
                raise RuntimeError("no level")
            return np.zeros(3, np.uint8), {}

    environment = guarded.Guarded(Broken())
    assert environment.reset(seed=0)[0].tolist() == [0, 0, 0]
    assert np.isnan(environment.reset(seed=1)[0]).tolist() == [True] * 3
    assert environment.error == "RuntimeError: no level"
    assert environment.reset(seed=0) and environment.error == ""


def read_csv(path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_the_best_checkpoint_is_kept_and_evaluated_again(folder, monkeypatch, capsys):
    means = iter((1.0, 5.0, 3.0, 2.0))

    def evaluation(settings, dataset, algorithm, check_stop, **options):
        def evaluate(state):
            values = np.full((2, 2), next(means))
            return evaluator.Evaluation(values, np.ones((2, 2), int), values)

        return evaluate

    with monkeypatch.context() as scripted:
        scripted.setattr(build, "make_evaluate", evaluation)
        run = train(folder, num_steps=8, keep_last=1)
    assert sorted(os.listdir(folder / "run" / "checkpoints")) == ["4", "8"]
    steps = [run.find_checkpoint(which) for which in ("last", "best", "4")]
    assert steps == [8, 4, 4]
    with pytest.raises(InputError, match="no checkpoint '2'; use last, best or one of 8, 4"):
        run.find_checkpoint("2")
    capsys.readouterr()
    table = folder / "episodes.csv"
    request = evaluate.Request(episodes=3, step="best", table=str(table))
    evaluate.evaluate(run.workdir, acting(num_candidates=(1, 2)), request)
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].endswith("after 4 updates") and printed[-1] == f"all episodes: {table}"
    rows = read_csv(table)
    assert len(rows) == 2 * 2 * 3  # ways, seeds, episodes
    assert [rows[0][name] for name in ("step", "seed", "num_candidates")] == ["4", "0", "1"]
    mean = np.mean([float(row["score"]) for row in rows[:6]])
    assert printed[3].split()[5] == f"{mean:.1f}:"
    other = evaluate.Request(episodes=3, step="best", seed=1, table=str(table))
    evaluate.evaluate(run.workdir, acting(num_candidates=(1, 2)), other)
    assert not {row["return"] for row in rows} & {row["return"] for row in read_csv(table)}


def test_a_run_judges_its_checkpoints_by_the_data_when_it_has_finished(folder, monkeypatch, capsys):
    """Stopped while it does so, it does it at the next start; made longer, it does it again."""
    asked = []

    def judge(workdir, steps, *_):
        asked.append(sorted(steps))
        if len(asked) == 1:
            raise Stopped
        names = ("value", "low", "high", "pessimistic", "drift")
        order = sorted(steps, key=lambda step: step != 2)
        return [{"step": step, "as_good": True} | dict.fromkeys(names, 1.0) for step in order]

    def again(num_steps=4, keep_every=2):
        path = str(folder / "hopper_medium-v2.hdf5")
        periods = {"log_every": 9, "eval_every": 9, "checkpoint_every": 9, "keep_every": keep_every}
        return train(folder, task=path, best_by="fqe", num_steps=num_steps, **periods)

    monkeypatch.setattr(recommend, "judge", judge)
    with pytest.raises(Stopped):
        again()
    run = Run(str(folder / "run"))
    assert run.summary["finished"] and run.judged is None
    with pytest.raises(InputError, match="no checkpoint that was evaluated or judged; use last or"):
        run.find_checkpoint("best")
    steps = [again().find_checkpoint("best") for _ in range(2)]
    assert steps == [2, 2] and asked == [[2, 4], [2, 4]]
    assert capsys.readouterr().out.count("of 2 checkpoints the data recommend that after 2") == 2
    longer = again(num_steps=5)  # the end counts, the former one as a second update
    assert asked[2:] == [[2, 4, 5]] and len(longer.judged) == 3
    with pytest.raises(InputError, match="config.best_by=fqe: only the last checkpoint is kept"):
        again(num_steps=6, keep_every=3)  # too late for the third update


def test_data_that_cannot_judge_are_refused_before_anything_is_written(folder):
    path = folder / "hopper_medium-v2.hdf5"
    with h5py.File(path, "r+") as file:
        file["rewards"][:] = 0
    with pytest.raises(InputError, match="config.best_by=fqe: .* has no rewards, so nothing tells"):
        train(folder, task=str(path), learner="bc_diffusion", best_by="fqe", keep_every=2)
    assert not (folder / "run").exists()


def test_a_run_without_an_environment_is_evaluated_in_one_and_failures_do_not_count(
    folder, monkeypatch, capsys
):
    run = train(folder, task=str(folder / "hopper_medium-v2.hdf5"))
    with pytest.raises(InputError, match="name one of gymnasium with --env_id"):
        evaluate.evaluate(run.workdir, acting())
    steps = iter(range(1000))

    def fails_once(self, action, step=guarded.Guarded.step):
        if next(steps) == 2:  # of the third episode, since all start side by side
            self._environment = None
        return step(self, action)

    monkeypatch.setattr(guarded.Guarded, "step", fails_once)
    request = evaluate.Request(2, environment="Hopper-v4", env_kwargs='{"max_episode_steps": 3}')
    evaluate.evaluate(run.workdir, acting(), request)
    printed = capsys.readouterr()
    told = "seed 1, episode 0: the environment failed at step 1 (AttributeError: 'NoneType'"
    assert told in printed.err and printed.err.count("warning: ") == 1
    first, second, failed, last = read_csv(folder / "run" / evaluate.TABLE)
    assert (failed["length"], failed["return"], failed["score"]) == ("-1", "nan", "")
    returns = [float(row["return"]) for row in (first, second, last)]
    means = f"{(returns[0] + returns[1]) / 2:.1f}, {returns[2]:.1f} (1 of 2 count)"
    assert printed.out.splitlines()[-2].endswith(means)


def test_a_mean_says_of_how_many_it_is_where_some_do_not_count():
    """(1 + 3) / 2 and 8 alone; of all it is (2 + 8) / 2, and not (1 + 3 + 8) / 3."""
    returns = np.array([[1.0, 3.0], [8.0, np.nan]])
    lengths = np.array([[5, 5], [5, -1]])
    found = evaluate.describe_means(evaluator.Evaluation(returns, lengths, None))
    assert found == "5.0: 2.0, 8.0 (1 of 2 count)"
    lengths[1] = -1
    found = evaluate.describe_means(evaluator.Evaluation(returns, lengths, None))
    assert found == "2.0 (1 of 2 members): 2.0, nan (0 of 2 count)"
    found = evaluate.describe_means(evaluator.Evaluation(returns[:1], lengths[:1], None))
    assert found == "2.0: 2.0"


def test_an_episode_is_filmed(folder, capsys):
    pytest.importorskip("imageio_ffmpeg", reason="needs imageio-ffmpeg")
    import imageio_ffmpeg

    try:
        video.choose_backend()
    except InputError as error:
        pytest.skip(str(error))
    run = train(folder, num_steps=2, env_id="Hopper-v4", env_kwargs='{"max_episode_steps": 4}')
    film = str(folder / "film.mp4")
    evaluate.evaluate(run.workdir, acting(), evaluate.Request(1, video=film))
    assert f"film: {film}, 4 steps, return " in capsys.readouterr().out
    frames, seconds = imageio_ffmpeg.count_frames_and_secs(film)
    assert frames == 4


def test_a_simulator_that_fails_in_a_film_is_one_line(tmp_path, monkeypatch):
    pytest.importorskip("imageio_ffmpeg", reason="needs imageio-ffmpeg")

    class Broken:
        render_mode, metadata = "rgb_array", {}
        action_space = gymnasium.spaces.Box(-1, 1, (1,))
        rewards = iter((1.0,))

        def reset(self, seed):
            return np.zeros(2), {}

        def step(self, action):
            return np.zeros(2), next(self.rewards, 0) or 1 / 0, False, False, {}

        def render(self):
            return np.zeros((32, 32, 3), np.uint8)

        def close(self):
            pass

    monkeypatch.setattr(video.envs, "make", lambda *_: (Broken(),))
    film = tmp_path / "film.mp4"
    with pytest.raises(InputError, match="fails in the filmed episode .ZeroDivisionError"):
        video.film(str(film), lambda *_: (np.zeros((1, 1)), 0.0), EnvSpec("broken"), 0)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("platform", "given", "works", "tried"),
    [
        ("linux", None, "osmesa", [("egl", "egl"), ("osmesa", "osmesa")]),
        ("darwin", None, "cgl", [("cgl", "as before")]),
        ("linux", "glfw", "glfw", [("glfw", "as before")]),
    ],
)
def test_what_draws_without_a_display(monkeypatch, platform, given, works, tried):
    seen = []

    def run(command, env, **_):
        seen.append((env["MUJOCO_GL"], env["PYOPENGL_PLATFORM"]))
        return subprocess.CompletedProcess(command, env["MUJOCO_GL"] != works)

    monkeypatch.setenv("PYOPENGL_PLATFORM", "as before")
    monkeypatch.setenv("MUJOCO_GL", given or "")
    monkeypatch.setattr(video.sys, "platform", platform)
    monkeypatch.setattr(video.subprocess, "run", run)
    video.choose_backend()
    assert seen == tried and os.environ["MUJOCO_GL"] == works
    assert os.environ["PYOPENGL_PLATFORM"] == tried[-1][1]


def test_what_is_written_on_a_frame():
    assert video.caption(3, 0.5, 2.25, 7.0) == "step 3   reward 0.50   return 2.2   Q 7.0"
    assert "Q" not in video.caption(3, 0.5, 2.25, float("nan"))
    frame = video.write_on(np.full((49, 70, 3), 200, np.uint8), "step 3")
    assert frame.shape == (48 + 32, 64, 3) and (frame[32:] == 200).all()
    assert (frame[:32] > 0).any() and (frame[:32] == 0).any()


@pytest.mark.parametrize(
    ("learner", "given", "says"),
    [
        ("edp_td3", acting(num_candidates=(0,)), "--num_candidates=0 must be at least 1"),
        (
            "edp_td3",
            acting(selection_temperature=("hot", 1)),
            "--selection_temperature=hot must be a number",
        ),
        ("edp_td3", acting(num_candidates=("1.5",)), "--num_candidates=1.5 must be a whole number"),
        ("iql", acting(sampler_calls=(5,)), "--sampler_calls: iql has no such setting"),
    ],
)
def test_ways_to_act_that_are_refused(learner, given, says):
    with pytest.raises(InputError, match=says):
        evaluate.ways_to_act(learner, edp_jax.algorithms.settings(learner), given)


def test_what_a_folder_of_another_run_refuses(folder, capsys):
    train(folder)
    with pytest.raises(InputError, match="eta=1.0, not 0.5"):
        train(folder, eta=0.5)
    with pytest.raises(InputError, match="holds 4 updates already"):
        train(folder, num_steps=2)
    train(folder)
    assert "finished already" in capsys.readouterr().out
    (folder / "run" / "summary.json").unlink()  # killed before the last files were written
    assert train(folder).summary["num_steps"] == 4
    write_dataset(folder / "hopper_medium-v2.hdf5", size=61)
    with pytest.raises(InputError, match="has changed since"):
        train(folder)


@pytest.mark.parametrize("spelling", ["own.npz", "./own.npz", "sub/../own.npz", "~/own.npz"])
def test_a_path_means_the_same_in_every_working_directory(tmp_path, monkeypatch, spelling):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    settings = resolve("data", spelling, env_id="none", eval_every=1)
    assert settings.config["task"] == settings.task.name == str(tmp_path / "own.npz")
    assert settings.config["data_dir"] == settings.data_dir == str(tmp_path / "data")
    assert resolve("data").config["task"] == TASK  # a name is none


def test_settings_that_training_does_not_depend_on_may_change(folder):
    """The same training, evaluated more often, with more episodes and other candidates."""
    train(folder, "whole", num_steps=8)
    train(folder)
    changed = {"eval_every": 3, "eval_episodes": 3, "log_every": 2, "num_candidates": 2}
    run = train(folder, num_steps=8, **changed)
    assert run.evaluations.steps.tolist() == [2, 4, 6, 8]
    assert (run.evaluations.lengths[0] == -1).sum() == 2  # one episode less of two seeds
    assert (run.evaluations.lengths[1] >= 0).all()  # that of the checkpoint was made again
    assert run.metrics.steps.tolist() == [1, 2, 3, 4, 6, 8]
    assert run.config["eval_every"] == 3
    arrays, expected = contents(folder / "run")[0], contents(folder / "whole")[0]
    for name, array in expected.items():
        np.testing.assert_array_equal(arrays[name], array)


def test_data_of_another_size_than_the_environment_is_refused_before_training(folder):
    write_dataset(folder / "hopper_medium-v2.hdf5", observation_dim=5)
    with pytest.raises(InputError, match="5 observation and 3 action columns, but environment"):
        train(folder)
    assert not (folder / "run").exists()


def test_a_file_without_an_environment_is_trained_on_and_not_evaluated(folder, capsys):
    train(folder, task=str(folder / "hopper_medium-v2.hdf5"))
    printed = capsys.readouterr().out
    assert "nothing was evaluated: the run has no environment" in printed
    assert f"experiments.select --runs={folder / 'run'}" in printed
    files = set(os.listdir(folder / "run"))
    assert {"metrics.csv", "summary.json", "learning_curve.png", "policy"} <= files
    assert "evaluations.csv" not in files


def test_a_sweep_is_a_column_a_curve_and_a_policy_of_its_own(folder, capsys):
    run = train(folder, sweep={"eta": (0.0, 20.0)}, ema_period=1)
    printed = capsys.readouterr().out
    for eta in ("0.0", "20.0"):
        assert f"eta {eta}, score, mean of 2 seeds: last evaluation" in printed
    assert re.search(r"updates/s \| .* left \| best score .* at eta (0|20).0\n", printed)
    for table in ("metrics.csv", "evaluations.csv"):
        with open(folder / "run" / table, newline="") as file:
            read = list(csv.DictReader(file))
        assert len(read) == 16  # 4 steps, or 2 evaluations of 2 episodes, of 2 seeds at 2 points
        assert list(read[0])[:3] == ["step", "seed", "eta"]
        assert {row["eta"] for row in read} == {"0.0", "20.0"}
    points = run.summary["points"]
    assert [point["sweep"] for point in points] == [{"eta": 0.0}, {"eta": 20.0}]
    assert all(len(point["per_seed"]["last"]) == 2 for point in points)
    # many observations: an untrained policy often ends in a corner of the box
    observation = np.random.default_rng(0).normal(size=(50, 11))
    actions = [run.policy(seed=1, eta=eta)(observation) for eta in (0.0, 20.0)]
    assert not np.array_equal(*actions)


def test_a_run_of_an_older_version_is_refused(folder):
    (folder / "run").mkdir()
    old = {"config": {"algorithm": "td3", "policy": "diffusion"}, "dataset": {}, "starts": []}
    (folder / "run" / "config.json").write_text(json.dumps(old))
    with pytest.raises(InputError, match="another version of edp_jax") as error:
        train(folder)
    assert "\n" not in str(error.value)


def test_data_options_reach_the_learner(folder):
    """Rewards are scaled and shifted before they are summed over n steps; rows drawn by return."""
    plain = build.load_dataset(resolve(folder), str(folder), lambda line: None)
    changes = {"reward_scale": 2.0, "reward_shift": 1.0, "n_step": 3, "discount": 0.5}
    settings = resolve(folder, **changes, return_weighting=0.1)
    changed = build.load_dataset(settings, str(folder), lambda line: None)
    r = plain.transitions.reward
    expected = np.dot(2 * r[:3] + 1, [1, 0.5, 0.25])
    np.testing.assert_allclose(changed.transitions.reward[0], expected, rtol=1e-5)
    discount = changed.transitions.discount[[0, 17, 18, 19]]
    np.testing.assert_allclose(discount, [0.25, 0, 0, 0])  # an episode has 20 steps
    assert plain.weights is None and len(set(np.round(changed.weights * 1e12))) == 3  # episodes
    run = train(folder, reward_scale=2.0, n_step=3, return_weighting=0.1)
    assert run.summary["finished"]
