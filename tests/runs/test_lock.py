"""One process at a time in the folder of a run."""

import os
import socket
import subprocess
import sys
import threading
import time

import pytest

from edp_jax import InputError
from edp_jax.runs import lock
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
    assert (tmp_path / "lock").read_text() == ""
    with locked(str(tmp_path)):
        pass


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """A folder whose lock names a process of another machine; signs of life come every 20 ms."""
    monkeypatch.setattr(lock, "BEAT", 0.02)
    monkeypatch.setattr(lock, "PATIENCE", 0.2)
    (tmp_path / "lock").write_text("process 7 on far\nanother machine\n")
    return tmp_path


def test_a_dead_process_of_another_machine_gives_no_sign_of_life(elsewhere):
    told = []
    with locked(str(elsewhere), told.append):
        assert (elsewhere / "lock").read_text().startswith(f"process {os.getpid()} ")
    assert told == ["process 7 on far had this folder last; looking for 0.2 s whether it is alive"]


def test_a_living_one_is_left_alone(elsewhere):
    ended = threading.Event()
    beat = threading.Thread(target=lock._beat, args=(str(elsewhere / "lock"), ended))
    beat.start()
    try:
        with (
            pytest.raises(InputError, match="process 7 on far trains there now"),
            locked(str(elsewhere), lambda line: None),
        ):
            pass
    finally:
        ended.set()
        beat.join()
    assert (elsewhere / "lock").read_text().startswith("process 7 on far")


def test_a_process_that_trains_gives_signs_of_life(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "BEAT", 0.01)
    with locked(str(tmp_path)):
        before = lock._changed(str(tmp_path / "lock"))
        deadline = time.monotonic() + 5
        while lock._changed(str(tmp_path / "lock")) == before and time.monotonic() < deadline:
            time.sleep(0.01)
        assert lock._changed(str(tmp_path / "lock")) > before
