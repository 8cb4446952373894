"""Sweeps of runs that are stand-ins: what is started, watched, tried again, skipped and told."""

import dataclasses
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import pytest
from etils.epath import backend
from fsspec.implementations.local import LocalFileSystem
from rich.console import Console

from edp_jax import InputError
from edp_jax.runs.lock import locked
from edp_jax.training.hosts import Stopped
from edp_jax.training.progress import progress_line
from experiments import board, jobs, launchers, leases, mirror, suites, sweep
from experiments.jobs import FAILED, FINISHED, RUNNING, STOPPED, WAITING, Job, Needs, Outcome

ROOT = pathlib.Path(__file__).parents[2]
FINISH = """
import json, sys
folder = sys.argv[-1].removeprefix("--workdir=")
json.dump({"finished": True, "num_steps": 10}, open(folder + "/summary.json", "w"))
"""
PRINT = f"print({progress_line(5, 10, 1234.5, 70.0, 'score 3.0')!r}, flush=True)\n"
DIE_ONCE = """
import os, sys
mark = sys.argv[-1].removeprefix("--workdir=") + "/mark"
if not os.path.exists(mark):
    open(mark, "w").close()
    os.kill(os.getpid(), 9)
"""
SAVE_WHEN_ASKED = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))
print("ready", flush=True)
time.sleep(60)
"""


@pytest.fixture
def job(tmp_path):
    """job(code, name): a job of Python code that needs ten updates to finish."""
    return lambda code, name="run": Job(name, str(tmp_path / name), 10, ("-c", code))


def wait_for(condition) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_run_that_was_killed_goes_on_by_itself(job):
    run = job(PRINT + DIE_ONCE + FINISH)
    assert jobs.supervise(run, Needs(retries=1)) == Outcome(FINISHED)
    status = jobs.read_status(run)
    assert (status["state"], status["attempt"], status["step"]) == (FINISHED, 2, 5)
    assert jobs.is_finished(run)
    log = pathlib.Path(run.workdir, jobs.LOG).read_text()
    assert log.count("updates/s") == 2
    jobs.supervise(run, Needs())
    assert pathlib.Path(run.workdir, jobs.LOG).read_text() == log  # not started again


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import os; os.kill(os.getpid(), 9)", "killed by SIGKILL"),
        ("print('error: too bad'); raise SystemExit(2)", "too bad"),
        ("1 / 0", "exit code 1: ZeroDivisionError: division by zero"),
    ],
)
def test_a_failure_is_told_in_one_line(job, code, reason):
    assert jobs.supervise(job(code), Needs(retries=0)) == Outcome(FAILED, reason)


def test_what_is_read_from_the_output_of_a_run_is_what_a_run_prints(tmp_path):
    line = progress_line(1500, 20_000, 12.5, 4000.0, "score 3.0")
    assert jobs.progress(f"before\n\r\033[K{line}\nafter") == {
        "step": 1500,
        "updates_per_second": 12.5,
        "left": "1 h 06 min",
        "evaluated": "score 3.0",
    }
    assert jobs.progress(progress_line(1, 2, None, float("nan")))["updates_per_second"] is None
    with locked(str(tmp_path)), pytest.raises(InputError, match=jobs.BUSY):
        locked(str(tmp_path)).__enter__()


def test_a_run_saves_its_state_when_it_is_asked_to_stop(job):
    run = job(SAVE_WHEN_ASKED)

    def stopping():
        return "ready" in pathlib.Path(run.workdir, jobs.LOG).read_text()

    assert jobs.supervise(run, Needs(), stopping) == Outcome(STOPPED)


def test_a_run_ends_when_what_watches_it_is_killed(job, tmp_path):
    run = job(f"import os, time\nopen({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\n"
              "time.sleep(60)")  # fmt: skip
    code = f"from experiments import jobs; jobs.supervise(jobs.{run!r}, jobs.Needs())"
    watcher = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
    pid = tmp_path / "pid"
    wait_for(lambda: pid.exists() and pid.read_text())
    os.kill(watcher.pid, signal.SIGKILL)
    watcher.wait()

    def is_gone() -> bool:
        status = pathlib.Path("/proc", pid.read_text(), "stat")
        return not status.exists() or status.read_text().split()[2] == "Z"

    wait_for(is_gone)


def test_runs_get_cores_of_their_own():
    with leases.lease("test", ["0", "1", "2"], 2) as first:
        assert first == ["0", "1"]
        with leases.lease("test", ["0", "1", "2"], 1) as second:
            assert second == ["2"]
            with leases.lease("test", ["0", "1", "2"], 1) as third:
                assert third == []
    with leases.lease("test", ["0", "1", "2"], 3) as all_free:
        assert len(all_free) == 3
    assert leases.shares(["0", "1"], 0.5) == ["0.0", "0.1", "1.0", "1.1"]
    assert leases.shares(["0", "1"], 2) == leases.shares(["0", "1"], 0.6) == ["0", "1"]


def test_a_device_is_shared_or_taken_as_a_whole():
    halves, whole = leases.shares(["7"], 0.5), leases.shares(["7"], 1)
    with leases.lease("test", halves, 1) as first, leases.lease("test", halves, 1) as second:
        assert (first, second) == (["7.0"], ["7.1"])
        with leases.lease("test", whole, 1) as third:
            assert third == []
    with leases.lease("test", whole, 1) as first, leases.lease("test", halves, 1) as second:
        assert (first, second) == (["7"], [])
    with leases.lease("test", halves, 2) as both:
        assert both == halves


def test_a_run_keeps_to_its_cores(job, tmp_path):
    code = f"import os; open({str(tmp_path / 'c')!r}, 'w').write(repr(os.sched_getaffinity(0)))\n"
    jobs.supervise(job(code + FINISH), Needs(cpus=1))
    assert (tmp_path / "c").read_text() in [f"{{{core}}}" for core in leases.cores()]


def test_a_failure_stops_no_other_run_and_finished_ones_are_skipped(job, capsys):
    done, good, bad = job(FINISH, "done"), job(PRINT + FINISH, "good"), job("1 / 0", "bad")
    jobs.supervise(done, Needs())
    listed = [bad, done, good]
    todo = [run for run in listed if not jobs.is_finished(run)]
    assert todo == [bad, good]
    options = launchers.Options(at_once=1)
    with launchers.local(todo, Needs(), options) as pending, board.Board() as shown:
        under_way = dict(zip(todo, pending, strict=True))
        rows = sweep.follow(listed, under_way, lambda: None, shown)
    assert [row.state for row in rows] == [FAILED, FINISHED, FINISHED]
    assert sweep.report(rows, "runs/x") == 1
    printed = capsys.readouterr().out
    assert "finished good: 5 / 10 | score 3.0 | 1,234.5" in printed
    assert "failed   bad: exit code 1: ZeroDivisionError: division by zero\n" in printed
    assert "1 failed, 2 finished in runs/x" in printed


def test_a_sweep_that_is_stopped_asks_the_same_of_its_runs(job, capsys):
    first, second = job(SAVE_WHEN_ASKED, "first"), job(FINISH, "second")
    options = launchers.Options(at_once=1)

    def stop():
        raise Stopped

    with launchers.local([first, second], Needs(), options) as pending, board.Board() as shown:
        log = pathlib.Path(first.workdir, jobs.LOG)
        wait_for(lambda: log.exists() and "ready" in log.read_text())
        under_way = dict(zip([first, second], pending, strict=True))
        rows = sweep.follow([first, second], under_way, stop, shown)
    assert [row.state for row in rows] == [STOPPED, STOPPED]
    assert sweep.report(rows, "x") == 75 and "the same command goes on" in capsys.readouterr().out


def test_a_run_that_judges_its_checkpoints_has_finished_afterwards(job):
    run = dataclasses.replace(job(FINISH), judged=True)
    jobs.supervise(run, Needs())
    assert not jobs.is_finished(run) and jobs.is_finished(dataclasses.replace(run, judged=False))
    summary = pathlib.Path(run.workdir, "summary.json")
    summary.write_text(json.dumps(json.loads(summary.read_text()) | {"judged": [{"step": 10}]}))
    assert jobs.is_finished(run)


def test_a_second_sweep_of_a_folder_is_refused(tmp_path):
    out = str(tmp_path / "sweep")
    with sweep.alone(out):
        with pytest.raises(InputError, match=f"--out={out}: process {os.getpid()} on .* there now"):
            sweep.alone(out).__enter__()
    with sweep.alone(out):  # it is free again
        pass


def test_a_launcher_that_refuses_leaves_what_an_earlier_sweep_has_left(job, tmp_path):
    bad = job("1 / 0")
    jobs.supervise(bad, Needs(retries=0))
    sweep.write_record(str(tmp_path), [{"name": "before"}])
    refused = [("local", Needs(tpus=1), launchers.Options())]
    refused += [("local", Needs(cpus=10_000), launchers.Options())]
    refused += [("ray", Needs(), launchers.Options(at_once=2))]
    for launcher, needs, options in refused:
        with pytest.raises(InputError):
            sweep.train([bad], str(tmp_path), launcher, needs, options, [{"name": "after"}], {})
    assert jobs.read_status(bad)["state"] == FAILED
    assert json.loads((tmp_path / "suite.json").read_text()) == [{"name": "before"}]
    assert sweep.train([bad], str(tmp_path), "local", Needs(), launchers.Options(), [{}], {}) == 1
    assert json.loads((tmp_path / "suite.json").read_text()) == [{}]


class Cluster:
    """Stands in for the package ray; knows a cluster of this machine, or none."""

    def __init__(self, running=False, error=None):
        self.running, self.error, self.started = running, error, []

    def init(self, address, num_cpus=None, **_):
        if num_cpus and self.running:
            raise ValueError("num_cpus must not be provided")
        self.started.append((address, num_cpus))
        if self.error:
            raise self.error


def test_ray_is_started_with_the_cores_of_this_process_or_joined(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    new, running, named = Cluster(), Cluster(running=True), Cluster()
    launchers._connect(new, "")
    launchers._connect(running, "")
    launchers._connect(named, "far:6379")
    monkeypatch.setenv("RAY_ADDRESS", "near:6379")
    launchers._connect(named, "")
    assert new.started == [(None, len(leases.cores()))] and running.started == [(None, None)]
    assert named.started == [("far:6379", None), (None, None)]


@pytest.mark.parametrize(
    ("address", "says"),
    [("", "try again when the machine is less busy"), ("far:6379", "^--address=far:6379: no Ray")],
)
def test_ray_that_cannot_be_had_is_one_line_with_a_remedy(monkeypatch, address, says):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(InputError, match=says) as refused:
        launchers._connect(Cluster(error=RuntimeError("the raylet timed out " * 20)), address)
    assert len(str(refused.value)) <= 300


def test_without_slurm_nothing_is_started(job, tmp_path, monkeypatch):
    pytest.importorskip("submitit", reason="needs submitit")
    monkeypatch.setenv("PATH", "")
    options = launchers.Options(folder=str(tmp_path / "slurm"))
    with (
        pytest.raises(InputError, match="start it where sbatch works"),
        launchers.slurm([job(FINISH)], Needs(), options),
    ):
        pass
    assert not (tmp_path / "run").exists()


def test_slurm_gets_what_a_run_needs_and_tells_how_it_ended(job, tmp_path, monkeypatch):
    submitit = pytest.importorskip("submitit", reason="needs submitit")

    class Debug(submitit.AutoExecutor):
        """Runs jobs in this process."""

        def __init__(self, folder, cluster, **options):
            assert cluster == "slurm" and options == {"slurm_max_num_timeout": 0}
            super().__init__(folder, cluster="debug")

        def update_parameters(self, **parameters):
            assert parameters.items() >= {"cpus_per_task": 1, "slurm_partition": "x"}.items()

    monkeypatch.setattr(submitit, "AutoExecutor", Debug)
    options = launchers.Options(slurm={"partition": "x"}, folder=str(tmp_path / "slurm"))
    listed = [job(FINISH, "good"), job("1 / 0", "bad")]
    with launchers.slurm(listed, Needs(retries=0), options) as pending:
        assert [each.outcome().state for each in pending] == [FINISHED, FAILED]


def test_ray_runs_jobs_and_tells_failures(job, monkeypatch):
    pytest.importorskip("ray", reason="needs ray")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    listed = [job(DIE_ONCE + FINISH, "good"), job("1 / 0", "bad")]
    with launchers.ray(listed, Needs(), launchers.Options()) as pending, board.Board() as shown:
        under_way = dict(zip(listed, pending, strict=True))
        rows = sweep.follow(listed, under_way, lambda: None, shown)
    assert [row.state for row in rows] == [FINISHED, FAILED]
    assert rows[1].reason == "exit code 1: ZeroDivisionError: division by zero"


def test_a_sweep_that_is_stopped_stops_its_tasks_on_ray(job, monkeypatch):
    pytest.importorskip("ray", reason="needs ray")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    listed = [job(SAVE_WHEN_ASKED, "running"), job(SAVE_WHEN_ASKED, "waiting")]
    log = pathlib.Path(listed[0].workdir, jobs.LOG)

    def stop():
        if log.exists() and "ready" in log.read_text():
            raise Stopped

    needs = Needs(cpus=len(leases.cores()))  # one at a time
    with launchers.ray(listed, needs, launchers.Options()) as pending, board.Board() as shown:
        rows = sweep.follow(listed, dict(zip(listed, pending, strict=True)), stop, shown)
    assert [row.state for row in rows] == [STOPPED, STOPPED]
    assert jobs.read_status(listed[0])["state"] == STOPPED and not jobs.read_status(listed[1])


def test_the_table_shows_what_matters_first_and_counts_the_rest():
    status = {"step": 5, "num_steps": 10, "updates_per_second": 2.0, "left": "3 s", "host": "h"}
    rows = [board.Row(f"done{i}", FINISHED, status) for i in range(20)]
    rows += [board.Row("broken", FAILED, {}, "no [disk]"), board.Row("going", RUNNING, status)]
    console = Console(width=120, height=10, record=True, file=open(os.devnull, "w"))
    console.print(board.table(rows, console.height))
    text = console.export_text()
    assert text.index("going") < text.index("broken") < text.index("done0")
    assert "failed: no [disk]" in text and "5 / 10" in text and "3 s" in text
    assert "1 running, 1 failed, 20 finished; 18 more are not shown" in text
    assert board.summary([board.Row("a", WAITING)]) == "1 waiting"


def test_storage_gets_tables_before_checkpoints_and_the_summary_last(tmp_path, monkeypatch):
    local, remote = tmp_path / "local", tmp_path / "remote"
    for name in ("summary.json", "checkpoints/5/default/d", "checkpoints/7.tmp/d", "metrics.csv"):
        (local / name).parent.mkdir(parents=True, exist_ok=True)
        (local / name).write_text(name)
    (local / "lock").touch()
    stamps, copied, copy = {}, [], mirror._copy

    def noted(path, name, *others):
        copied.append(name)
        copy(path, name, *others)

    monkeypatch.setattr(mirror, "_copy", noted)
    mirror.push(str(local), str(remote), stamps)
    assert copied == ["metrics.csv", "checkpoints/5/default/d", "summary.json"]
    (local / "checkpoints/5").rename(local / "checkpoints/9")
    (local / "metrics.csv").write_text("longer than before")
    mirror.push(str(local), str(remote), stamps)
    names = [p.relative_to(remote).as_posix() for p in remote.rglob("*") if p.is_file()]
    assert sorted(names) == ["checkpoints/9/default/d", "metrics.csv", "summary.json"]
    fresh = tmp_path / "fresh"
    mirror.pull(str(remote), str(fresh), {})
    assert (fresh / "metrics.csv").read_text() == "longer than before"
    assert (fresh / "checkpoints/9/default/d").read_text() == "checkpoints/5/default/d"


STOP_ONCE = """
import os, sys
folder = sys.argv[-1].removeprefix("--workdir=")
print("sees", sorted(os.listdir(folder)), flush=True)
os.makedirs(folder + "/checkpoints/5", exist_ok=True)
open(folder + "/checkpoints/5/arrays", "w").close()
if not os.path.exists(folder + "/mark"):
    open(folder + "/mark", "w").close()
    sys.exit(75)
"""


@pytest.fixture
def bucket(tmp_path, monkeypatch):
    """gs://bucket is a folder, which stands in for Google's storage."""

    class Bucket(LocalFileSystem):
        protocol = "gcs"

        @classmethod
        def _strip_protocol(cls, path):
            return str(path).replace("gs://bucket", str(tmp_path))

        def mkdir(self, path, create_parents=True, **options):
            super().mkdir(path, create_parents, **options)

    monkeypatch.setattr(backend.fsspec_backend, "_get_filesystem", lambda name: Bucket())
    return tmp_path


def test_a_run_on_cloud_storage_goes_on_from_what_was_copied_there(bucket):
    run = Job("run", "gs://bucket/run", 10, ("-c", STOP_ONCE + FINISH))
    assert jobs.supervise(run, Needs()) == Outcome(STOPPED)
    assert not jobs.is_finished(run) and jobs.read_status(run)["state"] == STOPPED
    assert jobs.supervise(run, Needs()) == Outcome(FINISHED)
    assert jobs.is_finished(run) and (bucket / "run" / "checkpoints/5/arrays").exists()
    first, second = (bucket / "run" / jobs.LOG).read_text().splitlines()
    assert first == "sees ['output.log']"
    assert second == "sees ['checkpoints', 'mark', 'output.log', 'status.json']"


def test_a_run_goes_on_while_nothing_can_be_written_to_storage(bucket, monkeypatch, capsys):
    copy, failures = mirror._copy, iter(range(100))

    def unreachable(path, name, *others):
        if next(failures) < fails:
            raise ConnectionError("no network")
        copy(path, name, *others)

    monkeypatch.setattr(mirror, "_copy", unreachable)
    monkeypatch.setattr(mirror, "_PAUSES", (0, 0))
    monkeypatch.setattr(jobs, "_PUSH_PERIOD", -1)  # at every look
    monkeypatch.setattr(jobs, "_write_status", lambda *_: open("/no/such/folder"))
    monkeypatch.setattr(mirror.tempfile, "tempdir", str(bucket))
    run = Job("run", "gs://bucket/run", 10, ("-c", "import time; time.sleep(0.2)" + FINISH))
    fails = 100
    state, reason = jobs.supervise(run, Needs())
    warning = capsys.readouterr().err
    assert warning.count("warning: run: its status or files cannot be written") == 1
    folder = pathlib.Path(reason.split()[0])
    assert state == FAILED and (folder / "summary.json").exists() and not jobs.is_finished(run)
    fails, failures = 2, iter(range(100))  # at the first look, and at the end
    assert jobs.supervise(run, Needs()) == Outcome(FINISHED) and jobs.is_finished(run)
    assert [path.name for path in bucket.glob("edp_jax_run_*")] == [folder.name]


def test_a_suite_becomes_commands(tmp_path):
    suite = [
        ("edp_td3", "builtin/hopper-medium", {"num_steps": 7, "seeds": (0, 1)}),
        ("edp_td3", "builtin/hopper-medium", {"sweep": {"eta": (0.1, 0.2)}}),
    ]
    listed, records = suites.make_jobs(suite, "/runs", {"batch_size": 8})
    assert [run.name for run in listed] == [
        "edp_td3__builtin-hopper-medium__batch_size=8__seeds=0-1",
        "edp_td3__builtin-hopper-medium__batch_size=8__sweep=eta-0.1-0.2",
    ]
    assert listed[0].num_steps == 7 and listed[1].num_steps == 15_000
    (first, second) = sweep.commands(listed)
    assert first == (
        "python -m experiments.main --config=edp_td3:builtin/hopper-medium --config.num_steps=7 "
        "'--config.seeds=(0, 1)' --config.batch_size=8 "
        "--workdir=/runs/edp_td3__builtin-hopper-medium__batch_size=8__seeds=0-1"
    )
    assert "'--config.sweep.eta=(0.1, 0.2)'" in second
    first, second = json.loads(json.dumps(records))
    assert first["overrides"]["seeds"] == first["settings"]["seeds"] == [0, 1]
    assert (
        second["settings"]["algorithm"] == "edp_td3" and second["settings"]["num_steps"] == 15_000
    )


def test_runs_that_lack_something_are_found_before_the_first_one_starts(
    tmp_path, capsys, monkeypatch
):
    """One whose data can be had, two without their file, and one without its environment."""
    monkeypatch.chdir(tmp_path)
    pathlib.Path("there.npz").touch()
    suite = [("bc", "there.npz", {"env_id": "none"})]
    suite += [("bc", "gone.npz", {"batch_size": size}) for size in (8, 9)]
    suite += [("bc", "there.npz", {"env_id": "Hoper-v4"})]
    listed, records = suites.make_jobs(suite, str(tmp_path), {})
    lacking = suites.lacking(listed, records)
    assert list(lacking) == listed[1:]
    assert "gone.npz': there is no such file" in lacking[listed[1]] == lacking[listed[2]]
    assert "'gymnasium:Hoper-v4': no such id; use Hopper-v4" in lacking[listed[3]]

    told = r"suite: bc__gone.npz__batch_size=8 \(and 2 more\): data file .* no such file; check the"
    options = launchers.Options()
    with pytest.raises(InputError, match=f"^{told}") as refused:
        sweep.train(listed, str(tmp_path), "local", Needs(), options, records, lacking)
    assert len(str(refused.value)) <= 300 and not pathlib.Path("suite.json").exists()
    sweep.check_there(listed[:1], lacking, "local")  # where the others have finished
    assert not capsys.readouterr().err
    sweep.check_there(listed, lacking, "slurm")  # its machines may have the file
    warning = capsys.readouterr().err
    assert re.fullmatch(f"warning: {told}.*; fine if the machines of the runs have it\n", warning)


def test_settings_of_all_runs_are_read_as_python_or_as_text():
    given = ["num_steps=5", "seeds=(0,1)", "likelihood=elbo", "env_kwargs={}"]
    assert suites.parse_pairs("set", given) == {
        "num_steps": 5,
        "seeds": (0, 1),
        "likelihood": "elbo",
        "env_kwargs": "{}",
    }
    assert suites.parse_pairs("set", ["sweep={'eta':(0.5,1.0)}"]) == {"sweep": {"eta": (0.5, 1.0)}}
    with pytest.raises(InputError, match="--set=seeds: has no value; write --set=seeds=VALUE"):
        suites.parse_pairs("set", ["seeds"])


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("sweep=3", "sweep=3: must name settings"),
        ("sweep={'eta':3}", "'sweep' hold values by setting"),
        ("sweep={[]:1}", "must name settings"),
        ("x={[]:1}", "x"),
        ("seeds=[[]]", "seeds"),
        ("eta={1,2}", "eta"),
        (f"eta={'(' * 500}", "eta"),
    ],
)
def test_settings_of_all_runs_that_are_none_are_refused(given, says):
    suite = [("edp_td3", "builtin/hopper-medium", {})]
    with pytest.raises(InputError, match=says) as refused:
        suites.make_jobs(suite, "runs", suites.parse_pairs("set", [given]))
    assert len(str(refused.value)) <= 300 and "\n" not in str(refused.value)


@pytest.mark.parametrize("name", suites.suite_names())
def test_our_suites_can_be_configured(name):
    listed, _ = suites.make_jobs(suites.read_suite(name), "runs", {})
    assert len({run.workdir for run in listed}) == len(listed)
    expected = {"paper": 200, "smoke": 6, "ablations": 32, "learners": 110}
    assert expected[name] == len(listed)


@pytest.mark.parametrize(
    ("suite", "says"),
    [
        ("no_such", "use one of ablations, learners, paper, smoke"),
        ("def get_suite(): return []", "is empty"),
        ("def get_suite(): return [('bc', 'x')]", "is no run"),
        ("def get_suite(): return 1 / 0", "line 1 fails with ZeroDivisionError"),
        ("pass", r"has no function get_suite\(\)"),
        ("def get_suite():\n    return {}['a']", "line 2 fails with KeyError: 'a'"),
        ("import json\ndef get_suite():\n    json.loads('{')", "line 3 fails with JSONDecodeError"),
        ("pass\n\ndef get_suite(:", "line 3 fails with SyntaxError"),
        ("raise SystemExit('no')", "line 1 fails with SystemExit: no"),
        (
            "def get_suite(): return [('bc', 'hopper-medium-v2', {'eta': 1})]",
            "bc does not read eta",
        ),
        ("def get_suite(): return [('nobody', 'hopper-medium-v2', {})]", "no learner of that name"),
        (
            "def get_suite(): return [('bc', 'hopper-medium-v2', {'num_steps': 1})] * 2",
            "is there 2 times",
        ),
    ],
)
def test_a_suite_that_cannot_be_run_is_refused(tmp_path, suite, says):
    path = tmp_path / "suite.py"
    path.write_text(suite)
    name = "no_such" if suite == "no_such" else str(path)
    with pytest.raises(InputError, match=says) as refused:
        suites.make_jobs(suites.read_suite(name), "runs", {})
    assert len(str(refused.value)) <= 300
