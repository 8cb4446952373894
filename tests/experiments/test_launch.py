"""The command line: repeated flags, and streams that nobody reads."""

import io
import os
import pathlib
import signal
import subprocess
import sys
import tomllib

import pytest

from edp_jax import InputError, data
from edp_jax.errors import as_flags
from experiments import launch, tasks

ROOT = pathlib.Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        (["--config.hidden_dims=(16,16)", "--config.hidden_dims=(8,8)"], [1]),
        (["--config.a=1", "--config.b=2", "--config.a=3"], [1, 2]),
        (["--config.sweep.eta=(1,)", "--config.eta=2", "-config.sweep.eta=(3,)"], [1, 2]),
        (["--config=a.py", "--workdir=x", "--config.flag", "--config.other"], [0, 1, 2, 3]),
    ],
)
def test_the_last_value_of_a_key_counts(typed, kept):
    assert launch.last_of_each(typed) == [typed[index] for index in kept]


def test_a_value_may_stand_behind_its_flag():
    typed = ["--config.seeds", "(0,1)", "--config.shift", "-1", "--config.seeds", "(2,)", "rest"]
    expected = ["--config.shift=-1", "--config.seeds=(2,)", "rest"]
    assert launch.last_of_each(typed) == expected


def test_a_stream_without_a_reader_costs_nothing():
    reader, writer = os.pipe()
    with open(writer, "w", encoding="ascii") as pipe:
        stream = launch.Lasting(pipe)
        print("before", file=stream, flush=True)
        assert os.read(reader, 100) == b"before\n"
        os.close(reader)
        for _ in range(3):
            print("lost", file=stream, flush=True)
        assert not stream.isatty()


def test_a_stream_escapes_what_its_encoding_lacks():
    raw = io.BytesIO()
    stream = launch.Lasting(io.TextIOWrapper(raw, encoding="ascii"))
    print("caf\u00e9 \u2713", file=stream, flush=True)
    assert raw.getvalue() == b"caf\\xe9 \\u2713\n"


def test_a_closed_stream_takes_everything():
    assert launch.Lasting(None).write("lost") == 4


def start(*arguments: str, **variables: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=ROOT,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [("JAX_ENABLE_X64", "maybe"), ("JAX_DEFAULT_MATMUL_PRECISION", "nonsense")],
)
def test_a_variable_that_jax_cannot_read_is_one_line(name, value):
    done = start("experiments.settings", "bc", **{name: value})
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("error: JAX cannot be imported (") and value in done.stderr
    assert name.lower() in done.stderr.lower() and done.stderr.count("\n") == 1


def test_every_program_tells_variables_that_change_numbers():
    done = start("experiments.settings", "bc", JAX_ENABLE_X64="1")
    assert done.returncode == 0 and "JAX_ENABLE_X64=1 is not used" in done.stderr


def test_ctrl_c_ends_the_imports_without_a_traceback():
    code = (
        "import signal, sys; sys.argv[0] = '-m'; sys.orig_argv = ['', '-m', 'experiments.main']; "
        "import experiments; signal.raise_signal(signal.SIGINT)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == -signal.SIGINT and done.stderr == ""


def test_importing_the_programs_leaves_ctrl_c_alone():
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        (["--config=bc", "--workdir="], "--workdir is missing"),
        (["--config=bc", "--workdir=x", "--tau=1"], "write --config.tau=VALUE"),
        (["--config=bc", "--workdir=x", "--config.TAU=1"], "'TAU' is unknown: did you mean 'tau'"),
    ],
)
def test_what_was_meant_is_said(typed, says):
    done = start("experiments.main", *typed)
    assert done.returncode == 2 and done.stdout == ""
    assert says in done.stderr and done.stderr.count("\n") == 1


def test_ctrl_c_is_told_in_a_word(monkeypatch, capsys):
    def interrupted(argv):
        raise KeyboardInterrupt

    monkeypatch.setattr(launch.app, "run", lambda guarded, flags_parser: guarded([]))
    for name in ("stdout", "stderr", "unraisablehook"):
        monkeypatch.setattr(sys, name, getattr(sys, name))  # as it was, afterwards
    with pytest.raises(SystemExit) as ended:
        launch.run(interrupted)
    assert ended.value.code == 130
    assert capsys.readouterr() == ("", "interrupted\n")


def test_the_console_command_is_there():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["scripts"] == {"edp-jax": "edp_jax.experiments:command"}
    code = "import experiments, sys; sys.argv = ['edp-jax', '--help']; experiments.command()"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and "--workdir" in done.stdout


def test_a_setting_of_a_run_is_called_as_the_flag_that_was_typed(tmp_path):
    told = "config.env_id=x: give --config.env_kwargs; config.env_identity and --config.seeds stay"
    with (
        pytest.raises(InputError, match="^--env_id=x: give --env_kwargs; config.env_id.* --config"),
        as_flags(("env_id", "env_kwargs")),
    ):
        raise InputError(told)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written to; give another one as --data_dir"):
        tasks.show("hopper-medium-v2", str(tmp_path / "file"), data.Layout())
