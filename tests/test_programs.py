"""Compiled programs are kept between runs, and change nothing."""

import json
import os
import pathlib
import subprocess
import sys

import jax
import pytest
from jax._src.lru_cache import LRUCache

from edp_jax import InputError, programs

ROOT = pathlib.Path(__file__).parents[1]

SCRIPT = """
import hashlib
import json
import sys
import jax
import numpy as np
from edp_jax import TaskSpec, algorithms
from edp_jax import programs
from edp_jax.training.batches import Rows
from edp_jax.training.trainer import Trainer

events = []
jax.monitoring.register_event_listener(lambda event, **_: events.append(event.rpartition("/")[2]))
programs.keep_programs(sys.argv[1])
settings = algorithms.settings("edp_td3", hidden_dims=(8, 8), num_timesteps=10, sampler_calls=2)
algorithm = algorithms.make("edp_td3", settings, TaskSpec(3, 2))
rows = np.random.default_rng(0).normal(size=(9, 10)).astype(np.float32)
trainer = Trainer(algorithm, Rows(rows, TaskSpec(3, 2)), seeds=(0, 1), batch_size=4)
state, metrics = trainer.train(trainer.init(), 3)
content = b"".join(np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(state.networks))
counts = {event: events.count(event) for event in ("cache_hits", "cache_misses")}
digest = hashlib.sha256(content).hexdigest()
print(json.dumps(counts | {"state": digest, "metrics": str(metrics)}))
"""


def train(folder) -> dict:
    """Three updates of two seeds in a process of their own."""
    environment = os.environ | {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    command = [sys.executable, "-c", SCRIPT, str(folder)]
    result = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=400, check=False
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


def test_what_lies_under_the_name_of_another_program_is_not_run(tmp_path):
    """JAX's own cache takes f(x) = x + 2 for f(x) = x + 1, or fails in many lines."""
    kept = LRUCache(str(tmp_path), max_size=-1)
    cache = programs.Sealed(kept)
    cache.put("first", b"program 1")
    cache.put("second", b"program 2")
    assert (cache.get("first"), cache.get("second"), cache.get("third")) == (
        *(b"program 1", b"program 2"),
        None,
    )
    first, second = (tmp_path / f"{name}-sealed-cache" for name in ("first", "second"))
    first.write_bytes(second.read_bytes())
    assert cache.get("first") is None and cache.get("second") == b"program 2"
    cache.put("first", b"program 1")  # compiled anew
    assert cache.get("first") == b"program 1"
    damaged = bytearray(first.read_bytes())
    damaged[-1] ^= 1
    for content in (damaged, first.read_bytes()[:-1], b""):
        first.write_bytes(content)
        assert cache.get("first") is None
    assert kept.get("second") is None  # what does not know seals does not see sealed entries


def test_a_second_run_compiles_nothing_and_gives_the_same_numbers(tmp_path):
    first, second, without = train(tmp_path / "kept"), train(tmp_path / "kept"), train("none")
    assert first["cache_hits"] == 0 and first["cache_misses"] >= 2
    assert second["cache_misses"] == 0 and second["cache_hits"] == first["cache_misses"]
    assert (without["cache_hits"], without["cache_misses"]) == (0, 0)
    assert first["state"] == second["state"] == without["state"]
    assert first["metrics"] == second["metrics"] == without["metrics"]


def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file/programs: cannot be written"):
        programs.keep_programs(str(tmp_path / "file" / "programs"))


def test_a_process_can_change_its_mind(tmp_path):
    """Also after it has compiled something, which is when JAX decides."""
    least, folder = "jax_persistent_cache_min_compile_time_secs", "jax_compilation_cache_dir"
    before = jax.config.jax_persistent_cache_min_compile_time_secs, getattr(jax.config, folder)
    jax.config.update(least, 0)
    counts = []
    try:
        for number, where in enumerate((str(tmp_path), "none", str(tmp_path))):
            programs.keep_programs(where)
            jax.jit(lambda x, number=number: x + number)(1.0)
            counts.append(len([path for path in tmp_path.iterdir() if "cache" in path.name]))
    finally:
        jax.config.update(least, before[0])
        jax.config.update(folder, before[1])
        programs.keep_programs("none")
    assert counts[0] and counts[1] == counts[0] and counts[2] > counts[1]


def test_programs_are_kept_in_the_users_cache_folder(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert programs.default_folder() == "/somewhere/edp_jax/xla"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/me")
    assert programs.default_folder() == "/home/me/.cache/edp_jax/xla"
