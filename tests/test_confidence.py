"""What critics say of a chosen action: their mean and their deviation, at what a learner sees."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import edp_jax
from edp_jax import InputError, TaskSpec, Units, algorithms, confidence
from edp_jax.export.folder import PolicyFile, save_policy
from edp_jax.export.policy import Options, Policy

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
    params = jax.eval_shape(found.init, jax.random.key(0))
    q = jax.eval_shape(found.apply, params, jnp.zeros((5, 3)), jnp.zeros((5, 4)))
    assert q.shape == (2, 5)
    with pytest.raises(InputError, match="takes no critics along"):
        confidence.find_critics(settings, spec, {"MLP_0": {}})
    with pytest.raises(InputError, match="its only critic"):
        confidence.find_critics(settings.replace(num_critics=1), spec, critics)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The policy/ folder of an untrained EDP-TD3."""
    spec, units = TaskSpec(3, 2), Units(np.ones(3), np.ones(3), -np.ones(2), np.ones(2))
    tiny = {"hidden_dims": (8,), "num_timesteps": 10, "sampler_calls": 2, "num_candidates": 2}
    settings = algorithms.settings("edp_td3", **tiny)
    algorithm = algorithms.make("edp_td3", settings, spec)
    params = jax.jit(lambda key: algorithm.policy_params(algorithm.init(key)))(jax.random.key(0))
    path = tmp_path_factory.mktemp("confidence")
    stored = jax.tree.map(lambda leaf: np.asarray(leaf)[None], params)
    save_policy(str(path), PolicyFile("edp_td3", settings, spec, ({"seed": 0},), units), stored)
    return path


def test_a_loaded_policy_acts_as_it_does_without_being_asked(folder):
    policy = edp_jax.load_policy(folder)
    observation = np.array([0.5, -1.0, 2.0])
    action, value, disagreement = policy.act_with_confidence(observation)
    np.testing.assert_allclose(action, policy(observation), atol=1e-6)
    assert np.shape(value) == np.shape(disagreement) == () and disagreement > 0
    batch = policy.act_with_confidence(np.stack([observation] * 3))
    np.testing.assert_allclose(batch.value, np.full(3, value), rtol=1e-5)
    assert batch.action.shape == (3, 2) and batch.disagreement.shape == (3,)
    with pytest.raises(InputError, match=r"observation\[1\] is nan"):
        policy.act_with_confidence([0.0, np.nan, 0.0])


def test_a_policy_of_an_exported_file_knows_no_critics(folder):
    """It is made without them."""
    loaded = edp_jax.load_policy(folder)
    exported = Policy(loaded.interface, lambda inputs: None, {}, Options())
    with pytest.raises(InputError, match="takes no critics along; load the folder of its run"):
        exported.act_with_confidence(np.zeros(3))
