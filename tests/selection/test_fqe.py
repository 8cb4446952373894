"""Fitted Q evaluation on a chain of two states whose values are known."""

import numpy as np
import pytest

from edp_jax.selection.fqe import FQE, Choices, evaluate
from edp_jax.types import Transition

GAMMA = 0.5
SETTINGS = FQE(
    discount=GAMMA,
    num_updates=400,
    num_critics=2,
    hidden_dims=(16, 16),
    batch_size=32,
    learning_rate=1e-2,
    tau=0.2,
)
# state, action -> reward, whether the task goes on, next state
CHAIN = [(0, 1, 1.0, 1, 0), (0, -1, 0.0, 1, 1), (1, 1, 1.0, 0, 1), (1, -1, 0.5, 1, 1)]
STATES = np.eye(2, dtype=np.float32)


def chain() -> Transition:
    state, action, reward, discount, following = (
        np.array(column) for column in zip(*CHAIN * 8, strict=True)
    )
    return Transition(
        STATES[state],
        action[:, None].astype(np.float32),
        reward.astype(np.float32),
        discount.astype(np.float32),
        STATES[following],
    )


def choices(*policies) -> Choices:
    """Each policy is the actions that it draws, at every state."""
    drawn = np.array(policies, np.float32)[:, None, :, None]
    return Choices(np.repeat(drawn, 4 * 8, axis=1), np.repeat(drawn, 2, axis=1))


@pytest.fixture(scope="module")
def values():
    return evaluate(chain(), STATES, choices((1, 1), (-1, -1), (1, -1)), (0.0, 2.0), SETTINGS)


def test_values_are_those_of_the_bellman_equation(values):
    """V(0) = 1 + V(0) / 2 = 2 and V(1) = 1 of the policy that goes right.

    Left: V(1) = 0.5 + V(1) / 2 = 1 and V(0) = V(1) / 2. Both alike: V(1) = (1 + 0.5 + V(1) / 2) / 2
    and V(0) = (1 + V(0) / 2 + V(1) / 2) / 2, so V(1) = 1 and V(0) = 1.
    """
    wanted = [[2.0, 1.0], [0.5, 1.0], [1.0, 1.0]]
    np.testing.assert_allclose(values.mean(axis=1), wanted, atol=0.06)


def test_critics_differ_and_the_same_call_gives_the_same_numbers(values):
    again = evaluate(chain(), STATES, choices((1, 1), (-1, -1), (1, -1)), (0.0, 2.0), SETTINGS)
    np.testing.assert_array_equal(again, values)
    assert (values[:, 0] != values[:, 1]).any(axis=-1).all()


def test_a_policy_gets_the_same_values_whatever_it_is_compared_with(values):
    alone = evaluate(chain(), STATES, choices((-1, -1)), (0.0, 2.0), SETTINGS)
    np.testing.assert_allclose(alone[0], values[1], atol=1e-4)


def test_no_target_is_beyond_what_can_be_returned():
    bounded = evaluate(chain(), STATES, choices((1, 1)), (0.0, 1.2), SETTINGS)
    np.testing.assert_allclose(bounded[0, :, 0], 1.2, atol=0.06)  # 2 without the bound
