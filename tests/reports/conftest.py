"""Folders of runs made by hand: config.json, the two tables, and summary.json."""

import json

import numpy as np
import pytest

from edp_jax.runs.reader import FORMAT
from edp_jax.training.tables import EVALUATIONS, METRICS, CsvTable


def lines(header, rows) -> str:
    return "".join(",".join(map(str, row)) + "\n" for row in [header, *rows])


@pytest.fixture
def write_run(tmp_path):
    """write_run(name, scores, ...) -> the folder of a run, see `writer`."""
    return writer(tmp_path)


@pytest.fixture(scope="session")
def run_writer():
    """run_writer(folder) -> a function like `write_run` that writes below the folder."""
    return writer


def writer(root):
    """write(name, scores, ...) -> the folder of a run with these evaluations.

    `scores` is [T, S, E] or [T, S], of evaluations after 10, 20, ... updates. The critic's value is
    `critic` [T, S] at the same steps, 1 unless it is given.
    """

    def write(
        name,
        scores,
        *,
        task="hopper-medium-v2",
        learner="edp_td3",
        seeds=None,
        critic=None,
        finished=True,
        rate=2.0,
        num_steps=None,
        summary=None,
        sha256="abc",
        start=None,
        scored=True,
        times=None,
        point=None,
        **settings,
    ):
        scores = np.asarray(scores, float)
        scores = scores if scores.ndim == 3 else scores[:, :, None]
        number, size, episodes = scores.shape
        seeds = list(range(size)) if seeds is None else list(seeds)
        swept = point or {}
        critic = np.ones((number, size)) if critic is None else np.asarray(critic, float)
        steps = [10 * (t + 1) for t in range(number)]
        done = 10 * number
        config = {"task": task, "algorithm": learner, "num_steps": num_steps or done, **settings}
        record = {
            "format": FORMAT,
            "config": config,
            "dataset": {"sha256": sha256},
            "members": [{"seed": seed, **swept} for seed in seeds],
            "starts": [
                {"git_commit": "0123456789" * 4, "devices": ["cpu:0 cpu"], "machine": "box"}
                | (start or {})
            ],
        }
        told = {
            "num_steps": done,
            "finished": finished,
            "updates_per_second": {"per_seed": rate},
            "failed_evaluations": [],
        }
        folder = root / "runs" / name
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(json.dumps(record))
        evaluated = [
            (step, seed, *swept.values(), e, value, 5, value if scored else "")
            for step, of_step in zip(steps, scores.tolist(), strict=True)
            for seed, of_seed in zip(seeds, of_step, strict=True)
            for e, value in enumerate(of_seed)
        ]
        header = ("step", "seed", *swept, "episode", "return", "length", "score")
        (folder / "evaluations.csv").write_text(lines(header, evaluated))
        metrics = [
            (step, seed, *swept.values(), value)
            for step, of_step in zip(steps, critic.tolist(), strict=True)
            for seed, value in zip(seeds, of_step, strict=True)
        ]
        header = ("step", "seed", *swept, "critic/q_mean")
        (folder / "metrics.csv").write_text(lines(header, metrics))
        told["tables"] = {
            name: CsvTable(str(folder / name)).rows_so_far for name in (METRICS, EVALUATIONS)
        }
        if summary is not False:
            (folder / "summary.json").write_text(json.dumps(told | (summary or {})))
        if times is not None:
            header = ("step", "seconds", "evaluating")
            (folder / "times.csv").write_text(lines(header, times))
        return folder

    return write
