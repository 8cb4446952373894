"""Policies are ranked without a simulator."""

import dataclasses

import pytest

from edp_jax import configuration
from edp_jax.selection import fqe, ranking
from experiments import main, select
from tests.experiments.conftest import TINY, NoSignals

VALUES = {
    "step": "all",
    "max_rows": 0,
    "samples": 2,
    "num_candidates": ["1", "2"],
    "selection_temperature": [],
    "sampler": [],
    "sampler_calls": [],
    "starting_noise": [],
}
FAST = dataclasses.replace(fqe.FQE(), num_updates=20, hidden_dims=(8,), batch_size=16)


@pytest.fixture(scope="module")
def own_run(tmp_path_factory, write_tiny):
    """A run of two seeds on a file of its own, without an environment."""
    folder = tmp_path_factory.mktemp("own")
    write_tiny(folder / "own.npz")
    config = configuration.make_config(
        "edp_td3", str(folder / "own.npz"), **TINY | {"seeds": (0, 1), "checkpoint_every": 2}
    )
    main.train(configuration.resolve(config), str(folder / "runs" / "first"), NoSignals())
    return folder / "runs" / "first"


@pytest.fixture(scope="module")
def ranked(own_run):
    out = own_run.parent / "selection"
    out.mkdir()
    select.select([str(own_run)], str(out), FAST, VALUES)
    return out


def test_every_checkpoint_seed_and_way_of_acting_is_ranked(own_run, ranked):
    rows = ranking.read_ranking(str(ranked))
    policies = {(row["step"], row["seed"], row["num_candidates"]) for row in rows}
    assert policies == {(s, r, n) for s in "24" for r in "01" for n in "12"}
    assert [int(row["rank"]) for row in rows] == list(range(1, 9))
    pessimistic = [float(row["pessimistic"]) for row in rows]
    assert pessimistic == sorted(pessimistic, reverse=True)
    assert rows[0]["as_good"] == "1"
    assert rows[0]["name"].startswith("first at ")
    assert all(float(row["denoising_loss"]) > 0 and float(row["td_error"]) > 0 for row in rows)
    assert (ranked / ranking.FIGURE).stat().st_size > 0
