"""What several tests of the data need."""

import pytest

from edp_jax import data
from edp_jax.data import preprocess
from edp_jax.types import TaskSpec, Transition, unpack


@pytest.fixture(scope="session")
def paired():
    """paired(raw) -> the transitions of a dataset, before anything is scaled."""

    def pair(raw: data.RawDataset) -> Transition:
        spec = TaskSpec(raw.observation_dim, raw.action_dim)
        return unpack(preprocess.to_rows(raw, spec), spec)

    return pair
