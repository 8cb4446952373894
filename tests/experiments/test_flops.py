"""The count of operations: by hand for small networks, and against what XLA counts."""

from typing import Any

import jax
import jax.numpy as jnp
import pytest

from edp_jax import TaskSpec, Transition, algorithms
from experiments import flops

SPEC = TaskSpec(17, 6)
ROWS = 256


def counted_by_xla(learner: str, settings: Any) -> float:
    """Operations of one compiled update."""
    algorithm = algorithms.make(learner, settings, SPEC)
    observation, action, row = (
        jax.ShapeDtypeStruct((ROWS, *shape), jnp.float32) for shape in ((17,), (6,), ())
    )
    batch = Transition(observation, action, row, row, observation)
    state = jax.eval_shape(algorithm.init, jax.random.key(0))
    compiled = jax.jit(algorithm.update_step).lower(state, batch, settings).compile()
    return compiled.cost_analysis()["flops"]


LARGER = {"num_critics": 3, "num_target_critics": 2}
MORE_ACTIONS = LARGER | {"num_backup_actions": 3}


@pytest.mark.parametrize(
    ("learner", "changes"),
    [(name, {}) for name in flops.PARTS]
    + [("edp_cql", MORE_ACTIONS | {"target_calls": 2}), ("crr", MORE_ACTIONS), ("iql", LARGER)],
)
def test_the_count_is_what_the_compiled_update_does(learner: str, changes: dict[str, Any]) -> None:
    """XLA also counts activations and optimiser.

    They are about 10 operations beside the 2 * 256 of each unit's dot product, less than 5 % in
    all. LayerNorm, which would add as much, is left out. The chain is short enough to be unrolled,
    because XLA counts the body of a loop once.
    """
    if hasattr(algorithms.settings(learner), "sampler_calls"):
        changes = changes | {"sampler_calls": 4}
    if hasattr(algorithms.settings(learner), "critic_layer_norm"):
        changes = changes | {"critic_layer_norm": False}
    settings = algorithms.settings(learner, **changes)
    count = flops.update_flops(learner, settings, SPEC, ROWS)
    assert 0.95 < count / counted_by_xla(learner, settings) < 1.0


def test_the_count_of_a_small_update_by_hand() -> None:
    """Gaussian cloning, hidden layers of 4 and 5, observation 3, action 2, 10 rows.

    A pass multiplies 3 x 4, 4 x 5 and 5 x 2 weights. Their gradient is as much again, and the
    gradient goes back through 4 x 5 and 5 x 2.
    """
    settings = algorithms.settings("bc", hidden_dims=(4, 5))
    layers, back = 3 * 4 + 4 * 5 + 5 * 2, 4 * 5 + 5 * 2
    count = flops.update_flops("bc", settings, TaskSpec(3, 2), 10)
    assert count == 2 * 10 * (2 * layers + back)


def test_the_count_of_a_small_denoiser_by_hand() -> None:
    """Diffusion cloning, one hidden layer of 4, observation 3, action 2, 10 rows.

    Layers: embedding 16 x 32 and 32 x 16, then (3 + 2 + 16) x 4, then 4 x 2. A pass multiplies all
    of them, and the gradient all of them again. It also goes back through 4 x 2, the embedding's 16
    columns of the first layer, and 32 x 16.
    """
    settings = algorithms.settings("bc_diffusion", hidden_dims=(4,))
    layers = 16 * 32 + 32 * 16 + 21 * 4 + 4 * 2
    back = 4 * 2 + 16 * 4 + 32 * 16
    count = flops.update_flops("bc_diffusion", settings, TaskSpec(3, 2), 10)
    assert count == 2 * 10 * (2 * layers + back)


def test_calls_of_the_sampler_cost_one_pass_each() -> None:
    """15 calls against 5 calls: ten passes of 2 x (6 x 256 + 2 x 256 x 256 + 256 x 6) per row."""
    count = {
        calls: flops.update_flops(
            "edp_td3", algorithms.settings("edp_td3", sampler_calls=calls), SPEC, ROWS
        )
        for calls in (5, 15)
    }
    assert count[15] - count[5] == 10 * ROWS * 2 * (6 * 256 + 2 * 256 * 256 + 256 * 6)


def test_the_samplers_share_of_the_count() -> None:
    """A network with observation 3, action 2 and one hidden layer of 4, called three times.

    Each call multiplies the action's 2 x 4 weights and the last layer's 4 x 2. The observation is
    the same in all calls, so its 3 x 4 weights are multiplied once. There are 10 rows.
    """
    settings = algorithms.settings("edp_td3", hidden_dims=(4,), target_calls=3)
    found = flops.sampler_flops("edp_td3", settings, TaskSpec(3, 2), 10)
    assert found == 2 * 10 * (3 * (2 * 4 + 4 * 2) + 3 * 4)
    assert flops.sampler_flops("edp", algorithms.settings("edp"), TaskSpec(3, 2), 10) == 0
