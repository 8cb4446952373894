"""Commands as a user types them, with their exit codes and what they print."""

import dataclasses
import json
import os
import pathlib
import subprocess
import sys

import pytest

from edp_jax import configuration
from experiments import main

ROOT = pathlib.Path(__file__).parents[2]
# Reads a list of arguments per line and answers with the exit code of a child, so that what is slow
# to import is imported once.
SERVER = """
import json, os, sys
from edp_jax.data import d4rl, download
from experiments import main
download._PAUSE = 0
for line in sys.stdin:
    request = json.loads(line)
    child = os.fork()
    if child == 0:
        for number, name in ((1, "stdout"), (2, "stderr")):
            os.dup2(os.open(request[name], os.O_WRONLY | os.O_CREAT), number)
        d4rl.URL = request["d4rl_url"]
        sys.argv = ["main", *request["arguments"]]
        main.command()
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@dataclasses.dataclass(frozen=True)
class Result:
    code: int
    stdout: str
    stderr: str


@pytest.fixture(scope="module")
def main_server():
    options = {
        "cwd": ROOT,
        "env": os.environ | {"no_proxy": "*"},
        "stdin": subprocess.PIPE,
        "stdout": subprocess.PIPE,
    }
    with subprocess.Popen([sys.executable, "-c", SERVER], text=True, **options) as process:
        yield process
        process.stdin.close()


@pytest.fixture
def type_main(main_server, tmp_path_factory):
    """type_main(*arguments, d4rl_url=...) -> Result of `python -m experiments.main`.

    By default D4RL cannot be reached.
    """

    def run(*arguments: str, d4rl_url: str = "http://127.0.0.1:1/") -> Result:
        folder = tmp_path_factory.mktemp("printed")
        printed = {name: str(folder / name) for name in ("stdout", "stderr")}
        print(
            json.dumps({"arguments": arguments, "d4rl_url": d4rl_url} | printed),
            file=main_server.stdin,
            flush=True,
        )
        code = int(main_server.stdout.readline())
        return Result(code, *(pathlib.Path(path).read_text() for path in printed.values()))

    return run


TINY = {
    "hidden_dims": (8, 8),
    "num_timesteps": 10,
    "sampler_calls": 2,
    "batch_size": 8,
    "seeds": (0,),
    "num_steps": 4,
    "log_every": 2,
    "eval_every": 4,
    "eval_episodes": 2,
}


class NoSignals:
    """Stands in for `StopSignals` where none will come."""

    def check(self) -> None:
        pass


@pytest.fixture
def train_tiny(tmp_path):
    """train_tiny(task, **settings): a run of EDP-TD3 with tiny networks in tmp_path/run."""

    def train(task: str, **changes) -> pathlib.Path:
        config = configuration.make_config("edp_td3", task, **TINY | changes)
        main.train(configuration.resolve(config), str(tmp_path / "run"), NoSignals())
        return tmp_path / "run"

    return train
