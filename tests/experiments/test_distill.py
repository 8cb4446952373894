"""Students of a whole run: their folder is a run, and what cannot be a student is refused."""

import json
import pathlib
import types
from typing import NamedTuple

import jax
import numpy as np
import pytest

from edp_jax import InputError, TaskSpec, configuration
from edp_jax.algorithms import STUDENTS
from edp_jax.configuration import build
from edp_jax.export import PolicyFile, save_policy
from edp_jax.runs import Run, record
from edp_jax.training import loop
from edp_jax.training.checkpoint import Checkpoints
from edp_jax.training.hosts import Stopped
from experiments import distill, evaluate, export

from ..algorithms.builders import same
from .conftest import TINY, NoSignals

STEPS = {"num_steps": 4}


def untrained_run(folder: pathlib.Path, learner: str) -> Run:
    """Writes what a run leaves in `folder`/run, without training: two seeds, data of tiny.npz."""
    changes = TINY | {"seeds": (0, 1), "env_id": "none", "num_candidates": 2, "log_every": 1}
    config = configuration.make_config(learner, str(folder / "tiny.npz"), **changes)
    settings, workdir = configuration.resolve(config), str(folder / "run")
    dataset = build.load_dataset(settings, workdir, lambda line: None)
    algorithm = build.make_algorithm(settings, dataset)
    (folder / "run").mkdir()
    record.write_config(workdir, settings.config, dataset.info, build.make_members(settings), 0)
    checkpoints = Checkpoints(str(folder / "run" / "checkpoints"), None)
    state = loop.init_members(algorithm, settings.run.seeds)
    checkpoints.save(4, state)
    checkpoints.close()
    members = tuple({"seed": seed} for seed in settings.run.seeds)
    file = PolicyFile(learner, algorithm.settings, dataset.spec, members, dataset.units)
    save_policy(str(folder / "run" / "policy"), file, jax.vmap(algorithm.policy_params)(state))
    return Run(workdir)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory, write_tiny) -> Run:
    """A run of EDP-TD3 that students learn from; its data have the sizes of Hopper's."""
    folder = tmp_path_factory.mktemp("distill")
    write_tiny(folder / "tiny.npz")
    return untrained_run(folder, "edp_td3")


@pytest.fixture(scope="module")
def student(teacher) -> Run:
    out = str(pathlib.Path(teacher.workdir) / "one_call")
    assert distill.distill(str(teacher.workdir), out, STEPS, NoSignals()) == 0
    return Run(out)


def arrays(run: Run) -> dict[str, np.ndarray]:
    with np.load(pathlib.Path(run.workdir) / "policy" / "params.npz", allow_pickle=False) as file:
        return {name: file[name] for name in file}


def test_the_folder_is_a_run_with_policies_that_call_once(teacher, student, capsys):
    assert student.config["algorithm"] == "one_call_edp_td3"
    assert student.config["teacher_step"] == 4 and student.config["chain_calls"] == 2
    assert student.summary["finished"] and student.metrics.values["actor/distance"].shape == (4, 2)
    first, second = (student.policy(seed=seed)(np.zeros(11)) for seed in (0, 1))
    assert first.shape == (3,) and not np.array_equal(first, second)
    request = evaluate.Request(episodes=1, environment="Hopper-v4")
    evaluate.evaluate(str(student.workdir), {"num_candidates": ["1"]}, request)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("one_call_edp_td3 on ")
    assert lines[3].split()[2:4] == ["a0_hat", "1"]
    with pytest.raises(InputError, match="--sampler_calls=5 must be at least 1 and at most 1"):
        evaluate.evaluate(str(student.workdir), {"sampler_calls": ["5"]}, request)


@pytest.mark.parametrize(
    ("which", "given", "says"),
    [
        ({"seed": 7}, {}, "policy seed=7 is not in"),
        ({"eta": 0.5}, {}, "policy eta=0.5 is not in"),
        ({}, {"execute": "2"}, "execute=2: the policy chooses single actions"),
    ],
)
def test_what_an_export_asks_for_is_checked_before_the_checkpoint_is_read(
    student, monkeypatch, which, given, says
):
    monkeypatch.setattr(Run, "state", lambda *_: pytest.fail("a checkpoint was read"))
    with pytest.raises(InputError, match=says):
        export.take_out(str(student.workdir), "last", which, given)


def test_an_export_draws_the_candidates_that_are_asked_for(tmp_path, write_tiny):
    """Where critics do not choose, an exported `edp` draws one sample, or as many as are asked for.

    The critics of an untrained `edp` do not choose.
    """
    write_tiny(tmp_path / "tiny.npz")
    workdir = str(untrained_run(tmp_path, "edp").workdir)
    for given, count in (({}, 1), ({"num_candidates": "3"}, 3)):
        program, _ = export.take_out(workdir, "last", {}, given)
        assert program.acting["num_candidates"] == count
        assert program.interface.random_numbers["noise"] == (count, 3)


class Signals:
    """Asks to stop at the second check after the training has begun."""

    def __init__(self, path: pathlib.Path):
        self.path, self.checks = path, 0

    def check(self) -> None:
        self.checks += self.path.exists()
        if self.checks == 2:
            raise Stopped


def test_a_student_that_was_stopped_ends_like_one_that_was_not(teacher, student, tmp_path):
    out = tmp_path / "stopped"
    with pytest.raises(Stopped):
        distill.distill(str(teacher.workdir), str(out), STEPS, Signals(out / "config.json"))
    assert 0 < Run(str(out)).checkpoint_step < 4
    distill.distill(str(teacher.workdir), str(out), STEPS, NoSignals())
    expected = arrays(student)
    for name, array in arrays(Run(str(out))).items():
        np.testing.assert_array_equal(array, expected[name])


def test_what_does_not_fit_is_refused_by_the_flags_of_this_program(teacher, student):
    workdir, out = str(teacher.workdir), str(student.workdir)
    with pytest.raises(InputError, match="--out=.*: is the folder of the teacher"):
        distill.distill(workdir, workdir, STEPS, NoSignals())
    with pytest.raises(InputError, match="--out=.*--guidance=0.0, not 0.5; use a new --out"):
        distill.distill(workdir, out, STEPS | {"guidance": 0.5}, NoSignals())
    with pytest.raises(InputError, match="--out=.* a run with --sampler_calls=2, not 1; use a"):
        distill.distill(workdir, out, STEPS | {"sampler_calls": 1}, NoSignals())
    with pytest.raises(InputError, match="^--sampler=ddpm: draws noise on its way"):
        distill.distill(workdir, out, STEPS | {"sampler": "ddpm"}, NoSignals())
    with pytest.raises(InputError, match="has no checkpoint '3'"):
        distill.distill(workdir, out, STEPS, NoSignals(), "3")


@pytest.mark.parametrize("other", [{"algorithm": "bc_diffusion"}, {"sha256": "other"}])
def test_the_folder_of_another_run_is_named_as_such(student, tmp_path, other):
    """A student of the same learner on other data, and a run that is no student."""
    record = json.loads((pathlib.Path(student.workdir) / "config.json").read_text())
    record["config"] |= {name: other[name] for name in other if name in record["config"]}
    record["dataset"] |= {name: other[name] for name in other if name in record["dataset"]}
    (tmp_path / "config.json").write_text(json.dumps(record))
    teacher = str(pathlib.Path(student.workdir).parent)
    with pytest.raises(InputError, match="--out=.* holds a run of .* no student of edp_td3 on"):
        distill.distill(teacher, str(tmp_path), STEPS, NoSignals())


def run_of(learner: str, **changes) -> Run:
    """What `student_settings` reads of a run."""
    config = configuration.make_config(learner, "builtin/hopper-medium", **changes)
    box = {"action_low": [-2.0], "action_high": [2.0]}
    return types.SimpleNamespace(config=config, workdir="DIR", members=(), dataset=box)


@pytest.mark.parametrize(
    ("run", "changes", "message"),
    [
        (run_of("td3_bc"), {}, "--workdir=DIR: td3_bc has no diffusion policy; name the run"),
        (run_of("one_call_edp"), {}, "--workdir=DIR: one_call_edp acts in one call already"),
        (run_of("edp_iql", sampler="ddpm"), {}, "chain_sampler=ddpm: draws noise on its way"),
        (run_of("edp_iql", sampler="ddim", ddim_eta=0.5), {}, "chain_sampler=ddpm: draws noise"),
        (run_of("edp_iql"), {"guidance": -1.0}, "config.guidance=-1.0 must be at least 0"),
        (run_of("bc_diffusion"), {"guidance": 1.0}, "guidance=1: the teacher has no critics"),
    ],
)
def test_runs_that_cannot_teach_are_refused(run, changes, message):
    with pytest.raises(InputError, match=message):
        distill.student_settings(run, 5, changes)


def test_settings_are_the_teachers_but_for_what_a_student_does_otherwise():
    run = run_of(
        "edp_td3", sampler="ddpm", sampler_calls=7, distributed=True, eta=0.3, lr_decay_steps=9
    )
    changes = {"sampler": "ddim", "starting_noise": 0.5, "num_steps": 10}
    settings = distill.student_settings(run, 5, changes)
    learner = settings.learner
    assert type(learner) is STUDENTS["one_call_edp_td3"].settings
    assert (learner.sampler, learner.sampler_calls, learner.starting_noise) == ("a0_hat", 1, 0.5)
    assert (learner.chain_sampler, learner.chain_calls, learner.teacher_step) == ("ddim", 7, 5)
    assert learner.lr_decay_steps == 0  # a student is trained for longer
    assert learner.eta == 0.3 and settings.run.num_steps == settings.run.eval_every == 10
    assert not settings.processes.distributed and settings.action_box == ((-2.0,), (2.0,))


class State(NamedTuple):
    """What the choice of starting noise reads of the members' states."""

    chosen: np.ndarray
    choosy: np.ndarray
    diverged: np.ndarray


def test_students_get_the_median_of_what_sound_teachers_choose_for_their_chain(monkeypatch, capsys):
    made = []

    def make(name, learner, spec):
        made.append((name, learner.sampler, learner.sampler_calls, spec))

        def policy_params(state):
            return {"actor": {"noise_scale": state.chosen, "choosy": state.choosy}}

        return algorithms.make(name, learner, spec)._replace(policy_params=policy_params)

    algorithms = types.SimpleNamespace(**vars(distill.algorithms))
    monkeypatch.setattr(distill.algorithms, "make", make)
    run = run_of("edp", horizon=4, sampler="ddpm", sampler_calls=7)
    run.dataset["summary"] = {"observation_dim": 11, "action_dim": 3}
    nobody = np.zeros(4, bool)
    states = State(np.array([1.0, 0.1, 0.0, 0.3]), nobody, np.array([-1, -1, 5, -1]))
    run.state = lambda algorithm, step: states
    assert distill.chosen_noise(run, 5, {"sampler": "ddim", "num_steps": 10}) == 0.3
    assert made[-1] == ("edp", "ddim", 7, TaskSpec(11, 3, 4))
    assert capsys.readouterr().out.endswith("chose: 1, 0.1, 0.3; students: 0.3\n")
    states = states._replace(choosy=np.array([True, False, False, False]))
    assert distill.chosen_noise(run, 5, {"sampler": "ddim"}) == 0.2  # of 0.2, 0.1 and 0.3
    assert "some of them choose among candidates" in capsys.readouterr().out
    states = states._replace(diverged=np.zeros(4))
    with pytest.raises(InputError, match="--workdir=DIR: all its members have diverged"):
        distill.chosen_noise(run, 5, {})
    with pytest.raises(InputError, match="starting_noise=-1.0 must be at least 0"):
        distill.chosen_noise(run_of("edp_iql"), 5, {"starting_noise": -1.0})


def test_members_that_diverged_get_no_student_and_other_data_are_refused(teacher, student, capsys):
    settings = configuration.resolve(student.config)
    dataset = build.load_dataset(settings, str(student.workdir), lambda line: None)
    algorithm = build.make_algorithm(configuration.resolve(teacher.config), dataset)
    state = teacher.state(algorithm)

    def with_diverged(*updates: int) -> Run:
        marked = state.replace(diverged=np.array(updates, np.int32))
        return types.SimpleNamespace(
            **{name: getattr(teacher, name) for name in ("config", "dataset", "members", "title")},
            workdir="DIR",
            state=lambda algorithm, step: marked,
        )

    begin = distill.make_begin(with_diverged(3, -1), 4, settings, dataset)
    assert "seed 0 diverged in update 3 and gets no student" in capsys.readouterr().out
    untrained = build.make_algorithm(settings, dataset)
    begun = begin(loop.init_members(untrained, (0, 1)))
    policy, networks = jax.vmap(untrained.policy_params)(begun), state.networks
    for name in ("actor", "critic"):
        assert same(policy[name], networks[name].target_params)
    assert begun.diverged.tolist() == [3, -1] and begun.step.tolist() == [0, 0]
    with pytest.raises(InputError, match="all its members have diverged"):
        distill.make_begin(with_diverged(3, 2), 4, settings, dataset)
    other = types.SimpleNamespace(workdir="DIR", dataset={"sha256": "other"})
    with pytest.raises(InputError, match="--workdir=DIR: its dataset .* has changed since"):
        distill.make_begin(other, 4, settings, dataset)
