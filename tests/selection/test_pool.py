"""The settings of the runs that are compared."""

import types

import pytest

from edp_jax import configuration
from edp_jax.selection import pool


@pytest.mark.parametrize("num_steps", [0, 10])
def test_an_online_run_is_read_without_its_environment(num_steps):
    """As it is compared by recorded data alone; one that began from nothing has no offline part."""
    online = {"online_steps": 2000, "online_share": 1.0, "init_from": "/somewhere"}
    config = configuration.make_config("edp_td3", num_steps=num_steps, **online)
    box = {"action_low": [-2.0] * 3, "action_high": [2.0] * 3}
    found = pool.settings_of(types.SimpleNamespace(config=config, dataset=box))
    assert (found.environment, found.rounds) == (None, None)
    assert found.action_box == ((-2.0, -2.0, -2.0), (2.0, 2.0, 2.0))
    assert found.learner == configuration.resolve(config).learner
