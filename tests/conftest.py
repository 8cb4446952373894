"""Tests run on the CPU, divided into eight devices, so that members are spread over several.

What is compiled once is kept. For all tests: tiny learners and datasets, a web server on this
machine that can misbehave, and D4RL's files where they are there.
"""

import dataclasses
import http.server
import os
import pathlib
import re
import signal
import tempfile
import threading

import pytest

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_force_host_platform_device_count=8"
    # programs that run for a moment: what compiles soonest, not what runs fastest
    " --xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false",
)

# A shell that starts the tests in the background lets them ignore these, and what they start, too.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

_cache = tempfile.TemporaryDirectory(prefix="edp_jax_tests_")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", _cache.name)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.5")


TINY = {"hidden_dims": (16, 16), "num_timesteps": 10, "sampler_calls": 3, "ema_start": 2}


@pytest.fixture(scope="session")
def tiny_learner():
    """tiny_learner(name, **settings) -> Algorithm, for 3 observation and 2 action columns."""
    from edp_jax import TaskSpec, algorithms

    def make(name="edp_td3", **changes):
        settings = algorithms.settings(name, **(TINY | changes))
        return algorithms.make(name, settings, TaskSpec(3, 2))

    return make


@pytest.fixture(scope="session")
def tiny_rows():
    """tiny_rows(weights=None) -> Rows, 40 transitions that fit `tiny_learner`."""
    import numpy as np

    from edp_jax import TaskSpec, Transition
    from edp_jax.training.batches import Rows
    from edp_jax.types import pack

    rng = np.random.default_rng(0)
    transitions = Transition(
        observation=rng.normal(size=(40, 3)).astype(np.float32),
        action=rng.uniform(-1, 1, (40, 2)).astype(np.float32),
        reward=rng.normal(size=40).astype(np.float32),
        discount=(rng.uniform(size=40) < 0.9).astype(np.float32),
        next_observation=rng.normal(size=(40, 3)).astype(np.float32),
    )
    return lambda weights=None: Rows(pack(transitions), TaskSpec(3, 2), weights)


@pytest.fixture(scope="session")
def write_tiny():
    """write_tiny(path): an .npz file with random numbers of Hopper's sizes, 400 steps."""
    import numpy as np

    def write(path):
        rng = np.random.default_rng(0)
        np.savez(
            path,
            observations=rng.normal(size=(400, 11)),
            actions=rng.uniform(-1, 1, (400, 3)),
            rewards=rng.normal(size=400),
            terminals=np.arange(400) % 20 == 19,
            timeouts=np.zeros(400, bool),
            action_low=-np.ones(3),
            action_high=np.ones(3),
        )

    return write


@dataclasses.dataclass
class Server:
    """Sends `content` for every path; a request gets at most the next of `cuts` bytes."""

    url: str
    content: bytes
    cuts: list[int]
    with_range: bool
    status: int
    requests: list[str]  # paths
    ranges: list[str | None]  # of the requests


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        served: Server = self.server.served
        wanted = self.headers.get("Range")
        served.requests.append(self.path)
        served.ranges.append(wanted)
        size = len(served.content)
        start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1]) if wanted and served.with_range else 0
        if served.status != 200:
            return self.answer(served.status, b"")
        if start >= size:
            return self.answer(416, b"", {"Content-Range": f"bytes */{size}"})
        body = served.content[start:]
        sent = body[: served.cuts.pop(0)] if served.cuts else body
        if start:
            return self.answer(
                206,
                sent,
                {
                    "Content-Range": f"bytes {start}-{size - 1}/{size}",
                    "Content-Length": str(len(body)),
                },
            )
        return self.answer(200, sent, {"Content-Length": str(len(body))})

    def answer(self, status, body, headers=()):
        self.send_response(status)
        for name, value in dict(headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def serve(monkeypatch):
    """serve(content, cuts=[...], with_range=True, status=200) -> Server."""
    monkeypatch.setenv("no_proxy", "*")
    running = []

    def start(content: bytes, *, cuts=(), with_range=True, status=200) -> Server:
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.served = Server(
            f"http://127.0.0.1:{server.server_port}/",
            content,
            list(cuts),
            with_range,
            status,
            [],
            [],
        )
        threading.Thread(
            target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        ).start()
        running.append(server)
        return server.served

    yield start
    for server in running:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="session")
def d4rl_dir():
    """d4rl_dir(task) -> the folder of D4RL's files, in $EDP_DATA_DIR or beside the repository.

    Skips the test where that of the task is not there.
    """
    beside = pathlib.Path(__file__).parents[2] / "shared" / "data"
    folder = pathlib.Path(os.environ.get("EDP_DATA_DIR", beside))

    def find(task: str) -> pathlib.Path:
        if not (folder / task).is_dir():
            pytest.skip(f"no {folder / task}: set EDP_DATA_DIR to the folder that holds it")
        return folder

    return find
