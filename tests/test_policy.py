"""Acting: candidates, energy-based selection, and the sampling chain over batches."""

import jax
import jax.numpy as jnp
import numpy as np

from edp_jax import diffusion, networks
from edp_jax.policy import DiffusionPolicy, in_dataset_units, select_by_energy, take_candidate
from edp_jax.types import TaskSpec

DRAWS = 4000


def choices(q, temperature: float) -> np.ndarray:
    """[DRAWS, ...] choices with as many keys."""
    keys = jax.random.split(jax.random.key(0), DRAWS)
    return np.asarray(jax.jit(jax.vmap(lambda key: select_by_energy(q, temperature, key)))(keys))


def test_choices_follow_the_softmax_of_their_own_row():
    q = jnp.array(
        [[0.0, 1.0, -2.0, 5.0], [1.0, 1.0, 0.0, 0.0], [2.0, 1.0, 2.0, -5.0]]
    )  # N = 3, B = 4
    chosen = choices(q, 2.0)
    assert chosen.shape == (DRAWS, 4)
    p = np.exp(q / 2.0) / np.exp(q / 2.0).sum(axis=0)
    frequency = np.stack([(chosen == n).mean(axis=0) for n in range(3)])
    assert np.all(
        np.abs(frequency - p) < 4 * np.sqrt(p * (1 - p) / DRAWS)
    )  # standard error of a binomial frequency


def test_rows_choose_independently():
    chosen = choices(jnp.zeros((2, 2)), 1.0)
    agreement = np.mean(chosen[:, 0] == chosen[:, 1])
    assert abs(agreement - 0.5) < 4 * np.sqrt(0.25 / DRAWS)


def test_low_temperature_takes_the_best_candidate():
    q = jax.random.normal(jax.random.key(3), (10, 5, 7))
    np.testing.assert_array_equal(
        select_by_energy(q, 1e-6, jax.random.key(0)), jnp.argmax(q, axis=0)
    )


def test_take_candidate_indexes_every_row():
    actions = jnp.arange(12.0).reshape(3, 2, 2)  # actions[n, b] = (4n + 2b, 4n + 2b + 1)
    np.testing.assert_array_equal(
        take_candidate(actions, jnp.array([2, 0])), [[8.0, 9.0], [2.0, 3.0]]
    )
    np.testing.assert_array_equal(take_candidate(actions[:, 0], jnp.array(1)), [4.0, 5.0])


def test_a_batch_of_candidates_is_sampled_as_its_rows_would_be():
    schedule = diffusion.make_schedule("vp", 10)
    policy = DiffusionPolicy(
        networks.make_noise_net(TaskSpec(3, 2), (8, 8), "mish"),
        schedule,
        diffusion.make_sampler("dpm_solver_3", schedule, 4),
    )
    params = jax.jit(policy.network.init)(jax.random.key(0))
    sample = jax.jit(policy.sample)
    observation, x_T = (
        jax.random.normal(jax.random.key(1), (4, 3)),
        3.0 * jax.random.normal(jax.random.key(2), (5, 4, 2)),
    )
    actions = sample(params, observation, x_T, jax.random.key(3))
    assert actions.shape == (5, 4, 2) and np.all(np.abs(actions) <= 1.0)
    alone = sample(params, observation[1], x_T[2, 1], jax.random.key(3))
    np.testing.assert_allclose(actions[2, 1], alone, atol=1e-5)


def test_units_of_the_data_by_hand():
    def act(params, observation, key):
        return params * observation  # [-1, 1] in, [-1, 1] out

    mean, std = jnp.array([1.0, 10.0]), jnp.array([2.0, 5.0])
    low, high = jnp.array([-1.0, 0.0]), jnp.array([1.0, 8.0])
    scaled = in_dataset_units(act, mean, std, low, high)
    # ((2 - 1) / 2, (5 - 10) / 5) = (0.5, -1); centre (0, 4) and half width (1, 4) of the box
    np.testing.assert_allclose(scaled(1.0, jnp.array([2.0, 5.0]), None), [0.5, 0.0])
    np.testing.assert_allclose(scaled(-1.0, jnp.array([[2.0, 5.0]]), None), [[-0.5, 8.0]])
