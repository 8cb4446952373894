"""One process at a time in the folder of a run."""

import os
import socket
import subprocess
import sys

import pytest

from edp_jax import InputError
from edp_jax.runs.lock import locked

HOLDER = """
import sys
from edp_jax.runs.lock import locked
with locked(sys.argv[1]):
    print("locked", flush=True)
    sys.stdin.read()
"""


def test_a_second_process_is_refused_with_host_and_number_of_the_first(tmp_path):
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as first:
        assert first.stdout.readline() == "locked\n"
        owner = f"process {first.pid} on {socket.gethostname()} trains there now"
        for _ in range(2):  # a refused one leaves the name of the first
            with pytest.raises(InputError, match=owner), locked(str(tmp_path)):
                pass
        first.kill()
    with locked(str(tmp_path)):  # of a dead process it is taken over
        assert (tmp_path / "lock").read_text().startswith(f"process {os.getpid()} ")
    with locked(str(tmp_path)):
        pass
