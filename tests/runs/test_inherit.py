"""A run can take over another run's networks (`init_from`) only if their settings agree."""

from types import SimpleNamespace

import pytest

from edp_jax import InputError, configuration
from edp_jax.runs import inherit

INFO = {"sha256": "ab12", "action_low": [-1.0], "action_high": [1.0]}


def compare(before, now):
    there = configuration.make_config("edp", **before)
    settings = configuration.resolve(configuration.make_config("edp", **now))
    run = SimpleNamespace(config=there, dataset=INFO)
    inherit._compare("config.init_from=there", run, settings, SimpleNamespace(info=INFO))


def test_another_discount_is_refused_where_it_decides_the_unit_of_the_rewards():
    with pytest.raises(InputError, match=r"that run has discount=0\.99, not 0\.997"):
        compare(dict(discount=0.99), {})
    compare(dict(discount=0.99), dict(discount=0.99))
    stored = dict(reward_transform="none")
    compare(stored | dict(discount=0.99), stored)


def test_settings_that_are_no_part_of_the_networks_may_differ():
    compare({}, dict(learning_rate=1e-4, strength=1.0, num_candidates=1))
    with pytest.raises(InputError, match=r"that run has hidden_dims="):
        compare({}, dict(hidden_dims=(8,)))
