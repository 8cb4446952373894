"""config.json: what a folder takes up again and what it refuses."""

import json
import os
import subprocess

import pytest

from edp_jax import InputError
from edp_jax.runs import Run, record
from edp_jax.training.members import grid

CONFIG = {"algorithm": "edp_td3", "task": "hopper-medium-v2", "eta": 1.0, "eval_every": 10}
CONFIG |= {"hidden_dims": (8, 8)}
DATASET = {"sha256": "abc", "path": None, "name": "hopper-medium-v2"}
MAY_CHANGE = {"eval_every"}


@pytest.fixture
def workdir(tmp_path):
    record.write_config(str(tmp_path), CONFIG, DATASET, grid((3, 4)), 0)
    return str(tmp_path)


def check(workdir, dataset=DATASET, **changes):
    record.check_workdir(workdir, CONFIG | changes, dataset, MAY_CHANGE)


def test_a_run_may_go_on_with_other_settings_that_do_not_train(workdir):
    check(workdir)
    check(workdir, eval_every=20)
    record.write_config(workdir, CONFIG | {"eval_every": 20}, DATASET, grid((3, 4)), 40)
    run = Run(workdir)
    assert run.config["eval_every"] == 20 and [start["step"] for start in run.starts] == [0, 40]
    assert run.members == grid((3, 4)) and run.starts[0]["versions"]["jax"]


def test_what_scores_are_of_changes_only_before_the_first(workdir):
    """Or to and from no environment at all, so that a simulator that fails can be left out."""
    may_change = {"env_id", "env_kwargs", "reference_scores"}
    config = CONFIG | {"env_id": "A-v0", "env_kwargs": "{}", "reference_scores": (0.0, 1.0)}

    def go_on(**changes):
        record.check_workdir(workdir, config | changes, DATASET, may_change)

    others = ({"env_id": "B-v0"}, {"env_kwargs": '{"a": 1}'}, {"reference_scores": (0.0, 2.0)})
    record.write_config(workdir, config, DATASET, grid((3, 4)), 0)
    for change in others:
        go_on(**change)
    with open(os.path.join(workdir, "evaluations.csv"), "w") as file:
        file.write("step,seed,episode,return,length,score\n")
    go_on()
    for change in others:
        with pytest.raises(InputError, match=f"holds a run with {next(iter(change))}=.*that value"):
            go_on(**change)
    go_on(env_id="none")
    record.write_config(workdir, config | {"env_id": "none"}, DATASET, grid((3, 4)), 20)
    go_on()
    with pytest.raises(InputError, match="holds a run with env_id='A-v0', not 'B-v0'"):
        go_on(env_id="B-v0")  # not by the way of none


def test_a_run_of_before_a_setting_goes_on_with_its_default(workdir):
    check(workdir, horizon=1)
    with pytest.raises(InputError, match="holds a run with horizon=1, not 2"):
        check(workdir, horizon=2)


@pytest.mark.parametrize(
    ("name", "default"), [("trust_region", 0.3), ("holdout", 0.1), ("ema_share", 0.2)]
)
def test_a_run_of_edp_from_before_a_setting_goes_on_without_it(tmp_path, name, default):
    config = {"algorithm": "edp", "task": "hopper-medium-v2"}
    record.write_config(str(tmp_path), config, DATASET, grid((0,)), 0)
    without = config | {"trust_region": 0.0, "holdout": 0.0, "ema_share": 0.0}
    assert Run(tmp_path).config == without
    record.check_workdir(str(tmp_path), without, DATASET, ())
    with pytest.raises(InputError, match=f"holds a run with {name}=0.0, not {default}; .*that val"):
        record.check_workdir(str(tmp_path), without | {name: default}, DATASET, ())


def test_of_two_sweeps_the_settings_that_differ_are_named(tmp_path):
    def config(**sweep):
        return CONFIG | {"sweep": {f"setting_{i}": [] for i in range(20)} | sweep}

    record.write_config(str(tmp_path), config(eta=[1.0, 2.0]), DATASET, grid((0,)), 0)
    says = (
        r"holds a run with sweep=\{'eta': \[1.0, 2.0\]\}, not \{'eta': \[1.0\], 'tau': \[0.1\]\};"
    )
    with pytest.raises(InputError, match=says):
        record.check_workdir(str(tmp_path), config(eta=[1.0], tau=[0.1]), DATASET, ())


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"eta": 0.5}, "holds a run with eta=1.0, not 0.5; use a new --workdir"),
        ({"hidden_dims": (8,)}, r"hidden_dims=\[8, 8\], not \[8\]"),
        ({"algorithm": "edp_iql"}, "algorithm='edp_td3', not 'edp_iql'"),
        ({"dataset": DATASET | {"sha256": "abd"}}, "its dataset hopper-medium-v2 has changed"),
    ],
)
def test_another_run_is_refused(workdir, changes, says):
    with pytest.raises(InputError, match=says):
        check(workdir, **changes)


def test_a_file_that_has_moved_is_the_same_data_by_its_content(tmp_path):
    before = CONFIG | {"task": "/old/place/d.npz"}
    record.write_config(str(tmp_path), before, DATASET, grid((3, 4)), 0)
    moved, changed = {"task": "/new/place/d.npz"}, DATASET | {"sha256": "abd"}
    check(str(tmp_path), **moved)
    with pytest.raises(InputError, match="holds a run with task='/old/place/d.npz'"):
        check(str(tmp_path), changed, **moved)
    with pytest.raises(InputError, match="not 'hopper-medium-v2'"):
        check(str(tmp_path), task="hopper-medium-v2")  # brings an environment of its own


def test_folders_that_cannot_take_a_run_are_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be made"):
        check(str(tmp_path / "file" / "run"))
    (tmp_path / "checkpoints").mkdir()
    check(str(tmp_path))  # a start that was refused leaves an empty one
    (tmp_path / "checkpoints" / "10").mkdir()
    with pytest.raises(InputError, match="holds checkpoints but no config.json"):
        check(str(tmp_path))
    (tmp_path / "config.json").write_text('{"config": {"algorithm": "td3"}}')
    with pytest.raises(InputError, match="written by another version"):
        check(str(tmp_path))


def test_processes_share_all_settings_but_those_of_the_machine():
    config = CONFIG | {"process_id": 1, "data_dir": "/mine", "compilation_cache": "none"}
    assert record.shared_settings(config, DATASET) == {"config": CONFIG, "sha256": "abc"}


def test_a_folder_that_is_not_shared_is_refused(workdir, tmp_path):
    record.check_shared(workdir)
    with pytest.raises(InputError, match="name a folder all hosts share"):
        record.check_shared(str(tmp_path / "elsewhere"))


@pytest.mark.parametrize(
    ("place", "tracked", "is_own"),
    [("", True, True), ("", False, False), (".venv/site-packages", False, False)],
)
def test_only_a_checkout_of_its_own_has_a_commit(tmp_path, monkeypatch, place, tracked, is_own):
    """The library as somebody's checkout, copied into a repository, and installed within one."""
    package = tmp_path / place / "edp_jax"
    (package / "runs").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (tmp_path / "README").write_text("")

    def git(*arguments):
        identity = ("-c", "user.name=a", "-c", "user.email=a@b.c")
        subprocess.run(["git", *identity, *arguments], cwd=tmp_path, check=True)

    git("init", "-q")
    git("add", "README", *(["edp_jax"] if tracked else []))
    git("commit", "-qm", "first")
    monkeypatch.setattr(record, "__file__", str(package / "runs" / "record.py"))
    commit = record.git_commit()
    assert (commit is not None and len(commit) == 40) == is_own
    if is_own:
        (tmp_path / "README").write_text("changed")
        assert record.git_commit() == f"{commit}-dirty"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert record.git_commit() is None  # no git here


def test_config_json_is_plain_json(workdir):
    with open(os.path.join(workdir, "config.json")) as file:
        content = json.load(file)
    assert set(content) == {"format", "config", "dataset", "members", "starts"}


def test_a_process_whose_environment_changes_the_numbers_is_refused(workdir, monkeypatch):
    flags = os.environ.get("XLA_FLAGS", "")
    monkeypatch.setenv("XLA_FLAGS", f"{flags} --xla_dump_to=/x")
    check(workdir)
    monkeypatch.setenv("XLA_FLAGS", f"{flags} --xla_cpu_enable_fast_math=true")
    with pytest.raises(InputError, match="its environment has XLA_FLAGS=") as refusal:
        check(workdir)
    assert len(str(refusal.value)) - len(workdir) <= 300
    monkeypatch.setenv("XLA_FLAGS", flags)
    config = json.loads(open(os.path.join(workdir, "config.json"), encoding="utf-8").read())
    config["starts"][-1]["devices"] = ["gpu:0 NVIDIA"]
    with open(os.path.join(workdir, "config.json"), "w", encoding="utf-8") as file:
        json.dump(config, file)
    with pytest.raises(InputError, match="holds a run of gpu devices, and those here are cpu"):
        check(workdir)


def test_other_devices_or_cores_are_said(workdir, monkeypatch):
    assert record.device_change(workdir) is None
    monkeypatch.setenv("NPROC", "71")  # XLA takes the number of its threads from it
    change = record.device_change(workdir)
    assert "core(s) before and 71 now" in change and "differ in their last bits" in change
    monkeypatch.setattr(record.jax, "devices", lambda: [None] * 33)
    assert "33 now, " in record.device_change(workdir)
