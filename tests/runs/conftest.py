"""Folders of runs made by hand."""

import json

import numpy as np
import pytest

from edp_jax.runs import Run
from edp_jax.runs.reader import FORMAT

MEMBERS = [{"seed": seed, "eta": eta} for eta in (0.5, 2.0) for seed in (3, 4)]


def make_record(members=MEMBERS, **changes) -> dict:
    config = {"task": "hopper-medium-v2", "algorithm": "edp_iql", "num_steps": 20}
    config["eval_every"] = 50
    dataset = {"sha256": "abc", "name": "hopper-medium-v2", "path": "", "summary": {}}
    content = {"config": config, "dataset": dataset, "members": members, "starts": [{"step": 0}]}
    return {"format": FORMAT} | content | changes


def evaluation_lines(steps, members=MEMBERS, episodes=2, scored=True) -> list[str]:
    """Member r's return of episode e at step t is t + 100 r + e, its score a tenth of that."""
    lines = []
    for step in steps:
        for index, member in enumerate(members):
            for episode in range(episodes):
                value = step + 100.0 * index + episode
                score = f"{value / 10}" if scored else ""
                ids = ",".join(map(str, member.values()))
                lines.append(f"{step},{ids},{episode},{value},{7 + episode},{score}\n")
    return lines


@pytest.fixture
def make_run(tmp_path):
    """make_run(evaluations, metrics, record=...) -> Run with these lines of its tables."""

    def make(evaluations=None, metrics=None, record=None) -> Run:
        record = record or make_record()
        names = ",".join(record["members"][0])
        (tmp_path / "config.json").write_text(json.dumps(record))
        if evaluations is not None:
            head = f"step,{names},episode,return,length,score\n"
            (tmp_path / "evaluations.csv").write_text(head + "".join(evaluations))
        if metrics is not None:
            head = f"step,{names},actor/loss,critic/loss,critic/q_mean\n"
            (tmp_path / "metrics.csv").write_text(head + "".join(metrics))
        return Run(str(tmp_path))

    return make


@pytest.fixture
def make_online_run(make_run, tmp_path):
    """make_online_run(steps, members) -> Run online from update 10 on, 5 steps per update."""

    def make(steps, members=MEMBERS) -> Run:
        record = make_record(members)
        record["config"] |= {"num_steps": 10, "online_steps": 50}
        lines = evaluation_lines(steps, members, episodes=1)
        timed = [line.replace(",", f",{5 * (int(line[:2]) - 10)},", 1) for line in lines]
        names = ",".join(members[0])
        head = f"step,env_steps,{names},episode,return,length,score\n"
        (tmp_path / "evaluations.csv").write_text(head + "".join(timed))
        return make_run(record=record)

    return make


@pytest.fixture
def metric_lines():
    """Row of member r at step t: the metrics t + r, 2 t and NaN."""
    return [
        f"{step},{','.join(map(str, member.values()))},{step + index},{2 * step},nan\n"
        for step in (5, 10)
        for index, member in enumerate(MEMBERS)
    ]


@pytest.fixture
def episode_lines():
    return evaluation_lines


@pytest.fixture
def run_record():
    return make_record


def expected_returns(steps, num_members=4, episodes=2) -> np.ndarray:
    axes = np.ix_(steps, 100.0 * np.arange(num_members), np.arange(episodes))
    return sum(axes)


@pytest.fixture
def returns_at():
    return expected_returns
