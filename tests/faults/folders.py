"""Folders of several files, damaged: datasets, policies and runs."""

import functools
import json
import os
import pathlib
import random
import shutil
import tempfile
from typing import Any

import numpy as np

from tests.faults.inputs import steps, write
from tests.faults.mutate import mutate_arrays, mutate_bytes, mutate_json

Rng = random.Random
Folder = pathlib.Path


def write_lerobot(rng: Rng, folder: Folder) -> str:
    import pyarrow
    from pyarrow import parquet

    rows = steps(20)
    info: Any = {
        "codebase_version": "v2.1",
        "robot_type": "arm",
        "fps": 30,
        "total_episodes": 2,
        "total_frames": 20,
        "total_tasks": 1,
        "chunks_size": 1000,
        "data_path": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
        "features": {
            "observation.state": {"dtype": "float32", "shape": [3], "names": ["a", "b", "c"]},
            "observation.image": {"dtype": "video", "shape": [4, 4, 3], "names": None},
            "action": {"dtype": "float32", "shape": [2], "names": {"motors": ["x", "y"]}},
        },
    }
    episodes: list[Any] = [{"episode_index": index, "length": 10} for index in range(2)]
    chosen = rng.choice(("info", "episodes", "rows", "bytes"))
    info = mutate_json(rng, info) if chosen == "info" else info
    episodes = mutate_json(rng, episodes) if chosen == "episodes" else episodes
    (folder / "meta").mkdir()
    (folder / "data/chunk-000").mkdir(parents=True)
    (folder / "meta/info.json").write_text(json.dumps(info))
    (folder / "meta/episodes.jsonl").write_text("\n".join(map(json.dumps, episodes)))
    for index in range(2):
        part = slice(10 * index, 10 * index + 10)
        columns = {
            "observation.state": rows["observations"][part].tolist(),
            "action": rows["actions"][part].tolist(),
            "episode_index": [index] * 10,
            "frame_index": list(range(10)),
        }
        parquet.write_table(
            pyarrow.table(columns), folder / f"data/chunk-000/episode_{index:06d}.parquet"
        )
    if chosen in ("rows", "bytes"):
        files = "data/*/*" if chosen == "rows" else "meta/*"
        path = rng.choice(sorted(folder.glob(files)))
        path.write_bytes(mutate_bytes(rng, path.read_bytes()))
    return f"lerobot:{folder}"


@functools.cache
def _kept() -> Folder:
    """A folder for what is made once; it is gone when the program is."""
    kept = tempfile.TemporaryDirectory(prefix="edp_jax_kept_")
    _KEPT.append(kept)
    return pathlib.Path(kept.name)


_KEPT: list[Any] = []


@functools.cache
def _minari_dataset(data_format: str) -> Folder:
    """A folder of Minari's with one dataset, test/flat-v0."""
    import gymnasium
    import minari

    folder = _kept() / data_format
    os.environ["MINARI_DATASETS_PATH"] = str(folder)
    table = {key: np.split(value, 4) for key, value in steps().items()}
    buffers = [
        minari.data_collector.EpisodeBuffer(
            observations=np.concatenate([observations, observations[:1]]),
            actions=actions,
            rewards=rewards,
            terminations=terminals,
            truncations=timeouts,
        )
        for observations, actions, rewards, terminals, timeouts in zip(*table.values(), strict=True)
    ]
    minari.create_dataset_from_buffers(
        "test/flat-v0",
        buffers,
        observation_space=gymnasium.spaces.Box(-np.inf, np.inf, (3,), np.float32),
        action_space=gymnasium.spaces.Box(-2, 2, (2,), np.float32),
        data_format=data_format,
        ref_min_score=0.0,
        ref_max_score=1.0,
    )
    return folder


def write_minari(rng: Rng, folder: Folder) -> str:
    """Mostly the metadata are damaged, as JSON or as bytes; else what they lead to."""
    shutil.copytree(_minari_dataset(rng.choice(("hdf5", "arrow"))), folder / "minari")
    os.environ["MINARI_DATASETS_PATH"] = str(folder / "minari")
    chosen = folder / "minari/test/flat-v0/data/metadata.json"
    if rng.random() < 0.2:
        chosen = rng.choice([path for path in sorted(folder.rglob("*")) if path.is_file()])
    content = chosen.read_bytes()
    if chosen.suffix == ".json" and rng.random() < 0.6:
        chosen.write_text(json.dumps(mutate_json(rng, json.loads(content))))
    else:
        chosen.write_bytes(mutate_bytes(rng, content))
    return "minari:test/flat-v0"


@functools.cache
def _policy() -> Folder:
    """The policies of two members of a run."""
    import jax

    from edp_jax import TaskSpec, Units, algorithms
    from edp_jax.export import PolicyFile, save_policy

    settings = algorithms.settings("bc", hidden_dims=(8,))
    spec = TaskSpec(3, 2)
    algorithm = algorithms.make("bc", settings, spec)
    params = [algorithm.policy_params(algorithm.init(jax.random.key(seed))) for seed in (0, 1)]
    units = Units(
        np.zeros(3, np.float32),
        np.ones(3, np.float32),
        -np.ones(2, np.float32),
        np.ones(2, np.float32),
    )
    members = ({"seed": 0, "tau": 0.5}, {"seed": 1, "tau": 0.5})
    folder = _kept() / "policy"
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *params)
    save_policy(str(folder), PolicyFile("bc", settings, spec, members, units), stacked)
    return folder


def write_policy(rng: Rng, folder: Folder) -> str:
    """Bytes or values of one of the two files are damaged."""
    place = folder / "policy"
    shutil.copytree(_policy(), place)
    settings, params = place / "policy.json", place / "params.npz"
    how = rng.randrange(4)
    if how == 0:
        settings.write_text(json.dumps(mutate_json(rng, json.loads(settings.read_text()))))
    elif how == 1:
        with np.load(params) as stored:
            arrays = dict(stored)
        np.savez(params, **mutate_arrays(rng, arrays))
    else:
        path = settings if how == 2 else params
        path.write_bytes(mutate_bytes(rng, path.read_bytes()))
    return str(place)


def read_policy(name: str) -> None:
    """Loads a policy and asks it for an action; its numbers are finite, or it says so."""
    from edp_jax import load_policy

    policy = load_policy(name)
    assert np.isfinite(policy(np.zeros(policy.observation_dim))).all()


@functools.cache
def _record() -> dict[str, Any]:
    """config.json of a run of two members."""
    from edp_jax.configuration import make_config
    from edp_jax.runs.reader import FORMAT

    config = make_config("bc", "hopper-medium-v2")
    dataset = {"name": "hopper-medium-v2", "path": None, "sha256": "0" * 64, "size_bytes": None}
    start = {
        "step": 0,
        "git_commit": None,
        "versions": {},
        "environment": {},
        "devices": ["cpu:0 cpu"],
    }
    members = [{"seed": 0}, {"seed": 1}]
    return {
        "format": FORMAT,
        "config": config,
        "dataset": dataset,
        "members": members,
        "starts": [start],
    }


def write_config(rng: Rng, folder: Folder) -> str:
    """config.json is damaged, as JSON or as bytes; summary.json and the tables stay sound."""
    record = json.loads(json.dumps(_record()))
    content = json.dumps(mutate_json(rng, record) if rng.random() < 0.5 else record)
    if rng.random() < 0.5:
        content = mutate_bytes(rng, content.encode())
    write(folder / "config.json", content if isinstance(content, bytes) else content.encode())
    (folder / "summary.json").write_text('{"finished": false, "num_steps": 20}')
    head = "step,seed,episode,return,length,score\n"
    rows = [f"20,{seed},0,1.5,9,0.5\n" for seed in (0, 1)]
    (folder / "evaluations.csv").write_text(head + "".join(rows))
    return str(folder)


def read_run(name: str) -> None:
    """Reads a run as `edp_jax.runs.Run`, as `evaluate` and as a training that goes on."""
    from edp_jax import InputError, configuration
    from edp_jax.runs import Run, record

    run = Run(name)
    refused = None
    for look in (
        lambda: run.members,
        lambda: run.title,
        lambda: run.starts,
        lambda: run.dataset["sha256"],
        lambda: run.evaluations,
        lambda: run.summary,
        lambda: configuration.resolve(run.config),
        lambda: record.check_workdir(name, _record()["config"], _record()["dataset"], ()),
    ):
        try:
            look()
        except InputError as error:
            refused = refused or error
    if refused is not None:
        raise refused
