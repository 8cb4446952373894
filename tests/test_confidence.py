"""What critics say of a chosen action: their mean and their deviation, at what a learner sees."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from edp_jax import InputError, TaskSpec, Units, algorithms, confidence

from .algorithms.builders import LINEAR_CRITICS, assert_close

# observations are 4 + 2 s, actions 10 + 5 a
UNITS = Units(*(np.array([value], np.float32) for value in (4.0, 2.0, 5.0, 15.0)))


def test_mean_and_deviation_by_hand():
    """Critics 2 a + s and 6 a + s at s = (1, -1) and the action a = 0.5: 2, 4 and 0, 2."""
    act = lambda params, observation, key: 0.5 + 0.0 * observation  # noqa: E731
    judged = confidence.judged_in_dataset_units(act, LINEAR_CRITICS, UNITS)
    params = {"critic": {"w": jnp.array([[2.0], [6.0]])}}
    found = judged(params, np.array([[6.0], [2.0]]), jax.random.key(0))
    assert_close(found.action, [[12.5], [12.5]])
    assert_close(found.value, [3.0, 1.0])
    assert_close(found.disagreement, [1.0, 1.0])
    single = judged(params, np.array([6.0]), jax.random.key(0))
    assert single.action.shape == (1,) and single.value.shape == single.disagreement.shape == ()


def test_a_chunk_is_judged_as_a_whole_and_taken_in_part():
    """Critics get all of 0.5, -0.5, 1: (2 (0.5) - 0.5 + 3) = 3.5. The first two are taken."""
    act = lambda params, observation, key: jnp.array([0.5, -0.5, 1.0])  # noqa: E731
    params = {"critic": {"w": jnp.array([[2.0, 1.0, 3.0], [2.0, 1.0, 3.0]])}}
    judged = confidence.judged_in_dataset_units(act, LINEAR_CRITICS, UNITS, execute=2)
    found = judged(params, np.array([4.0]), jax.random.key(0))
    assert_close(found.action, [[12.5], [7.5]])
    assert_close([found.value, found.disagreement], [3.5, 0.0])


def test_a_policy_without_critics_to_compare_is_refused():
    spec, critics = TaskSpec(3, 2, horizon=2), {"actor": {}, "critic": {}}
    settings = algorithms.settings("edp_td3", hidden_dims=(8,))
    found = confidence.find_critics(settings, spec, critics)
    params = found.init(jax.random.key(0))
    assert found.apply(params, jnp.zeros((5, 3)), jnp.zeros((5, 4))).shape == (2, 5)
    with pytest.raises(InputError, match="takes no critics along"):
        confidence.find_critics(settings, spec, {"MLP_0": {}})
    with pytest.raises(InputError, match="its only critic"):
        confidence.find_critics(settings.replace(num_critics=1), spec, critics)
