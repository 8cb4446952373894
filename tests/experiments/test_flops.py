"""The count of operations: by hand for one layer sizes, and against what XLA counts in the compiled update."""

import dataclasses
import importlib

import jax
import jax.numpy as jnp
import pytest

from edp_jax import TaskSpec, Transition, algorithms
from edp_jax.algorithms import AlgorithmConfig
from experiments import flops, launch
from experiments.measure import LEARNERS

SPEC = TaskSpec(17, 6)
ROWS = 256


def counted_by_xla(algorithm: str, config: AlgorithmConfig) -> float:
    learner = algorithms.make(algorithm, config, SPEC)
    observation, action, row = (
        jax.ShapeDtypeStruct((ROWS, *shape), jnp.float32) for shape in ((17,), (6,), ())
    )
    batch = Transition(observation, action, row, row, observation)
    state = jax.eval_shape(learner.init, jax.random.key(0))
    return (
        jax.jit(learner.update_step)
        .lower(state, batch, algorithms.Hypers())
        .compile()
        .cost_analysis()["flops"]
    )


LARGER = {"num_backup_actions": 3, "num_critics": 3, "num_target_critics": 2}


@pytest.mark.parametrize(
    ("learner", "changes"),
    [(name, {}) for name in LEARNERS] + [(name, LARGER) for name in ("edp_cql", "crr", "iql")],
)
def test_the_count_is_what_the_compiled_update_does(learner, changes):
    """XLA also counts what works on single elements (activations, optimiser): about 10 operations beside the 2 * 256 of each
    unit's dot product, less than 5 % in all. The chain is short enough to be unrolled: XLA counts the body of a loop once."""
    settings = launch.resolve(
        importlib.import_module(f"configs.{learner}").get_config("walker2d-medium-expert-v2")
    )
    config = dataclasses.replace(
        settings.algorithm, sampler_calls=min(4, settings.algorithm.sampler_calls), **changes
    )
    name = settings.config.algorithm
    assert 0.95 < flops.update_flops(name, config, SPEC, ROWS) / counted_by_xla(name, config) < 1.0


def test_the_count_of_a_small_update_by_hand():
    """Behaviour cloning, one hidden layer of 4, observation 3, action 2, 10 rows.

    Layers: embedding 16 x 32 and 32 x 16, then (3 + 2 + 16) x 4, then 4 x 2. A pass multiplies all of them; the gradient all of
    them again, and besides goes back through 4 x 2, the embedding's 16 columns of the first layer, and 32 x 16.
    """
    config = AlgorithmConfig(hidden_dims=(4,))
    layers = 16 * 32 + 32 * 16 + 21 * 4 + 4 * 2
    back = 4 * 2 + 16 * 4 + 32 * 16
    assert flops.update_flops("bc", config, TaskSpec(3, 2), 10) == 2 * 10 * (2 * layers + back)


def test_calls_of_the_sampler_cost_one_pass_each():
    """15 calls against 5 calls: ten passes of 2 x (6 x 256 + 2 x 256 x 256 + 256 x 6) per row."""
    count = {
        calls: flops.update_flops("td3", AlgorithmConfig(sampler_calls=calls), SPEC, ROWS)
        for calls in (5, 15)
    }
    assert count[15] - count[5] == 10 * ROWS * 2 * (6 * 256 + 2 * 256 * 256 + 256 * 6)
