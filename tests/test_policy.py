"""Policies: what a pass of their network predicts, sampling, and the choice among candidates."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from edp_jax import diffusion, networks
from edp_jax.networks import Network
from edp_jax.policy import (
    Chain,
    Corruption,
    DiffusionPolicy,
    GaussianPolicy,
    in_dataset_units,
    select_by_energy,
    take_candidate,
)
from edp_jax.types import TaskSpec, Transition, Units

from .algorithms.builders import CONSTANT_DIFFUSION, assert_close, rows

DRAWS = 4000


def choices(q, temperature: float) -> np.ndarray:
    """[DRAWS, ...] choices with as many keys."""

    def choose(key):
        return select_by_energy(q, temperature, jax.random.gumbel(key, q.shape))

    keys = jax.random.split(jax.random.key(0), DRAWS)
    return np.asarray(jax.jit(jax.vmap(choose))(keys))


def test_choices_follow_the_softmax_of_their_own_row():
    q = jnp.array([[0.0, 1.0, -2.0, 5.0], [1.0, 1.0, 0.0, 0.0], [2.0, 1.0, 2.0, -5.0]])  # [M, B]
    chosen = choices(q, 2.0)
    assert chosen.shape == (DRAWS, 4)
    p = np.exp(q / 2.0) / np.exp(q / 2.0).sum(axis=0)
    frequency = np.stack([(chosen == m).mean(axis=0) for m in range(3)])
    # standard error of a binomial frequency
    assert np.all(np.abs(frequency - p) < 4 * np.sqrt(p * (1 - p) / DRAWS))


def test_rows_choose_independently():
    chosen = choices(jnp.zeros((2, 2)), 1.0)
    agreement = np.mean(chosen[:, 0] == chosen[:, 1])
    assert abs(agreement - 0.5) < 4 * np.sqrt(0.25 / DRAWS)


@pytest.mark.parametrize("temperature", [0.0, 1e-6])
def test_low_temperature_takes_the_best_candidate(temperature):
    q = jax.random.normal(jax.random.key(3), (10, 5, 7))
    chosen = select_by_energy(q, temperature, jax.random.gumbel(jax.random.key(0), q.shape))
    np.testing.assert_array_equal(chosen, jnp.argmax(q, axis=0))


def test_take_candidate_indexes_every_row():
    actions = jnp.arange(12.0).reshape(3, 2, 2)  # actions[m, b] = (4 m + 2 b, 4 m + 2 b + 1)
    np.testing.assert_array_equal(
        take_candidate(actions, jnp.array([2, 0])), [[8.0, 9.0], [2.0, 3.0]]
    )
    np.testing.assert_array_equal(take_candidate(actions[:, 0], jnp.array(1)), [4.0, 5.0])
    with pytest.raises(AssertionError):
        take_candidate(actions, jnp.array([[2, 0]]))


@pytest.mark.parametrize("sampler", ["dpm_solver_3", "ddpm"])
def test_a_batch_of_candidates_is_sampled_as_its_rows_would_be(sampler):
    """And from numbers that were drawn before as from the keys themselves."""
    schedule = diffusion.make_schedule("vp", 10)
    policy = DiffusionPolicy(
        networks.make_noise_net(TaskSpec(3, 2), (8, 8), "mish"),
        schedule,
        diffusion.make_sampler(sampler, schedule, 4),
    )
    params = jax.jit(policy.network.init)(jax.random.key(0))
    observation = jax.random.normal(jax.random.key(1), (4, 3))
    key = jax.random.key(2)
    noise_key, chain_key = jax.random.split(key)
    x_T = jax.random.normal(noise_key, (5, 4, 2))
    actions = jax.jit(policy.sample)(params, observation, 3.0 * x_T, chain_key)
    assert actions.shape == (5, 4, 2) and np.all(np.abs(actions) <= 1.0)
    chain = policy.draw_chain(key, (5, 4, 2))
    assert_close(chain.x_T, x_T)
    drawn = jax.jit(policy.run_chain)(params, observation, chain._replace(x_T=3.0 * x_T))
    assert_close(drawn, actions, atol=1e-5)
    if sampler == "dpm_solver_3":
        alone = policy.sample(params, observation[1], 3.0 * x_T[2, 1], chain_key)
        assert_close(actions[2, 1], alone, atol=1e-5)


@pytest.mark.parametrize("sampler", ["dpm_solver_3", "ddpm"])
@pytest.mark.parametrize("scale", [0.5, 0.0])
def test_less_noise_to_start_from(sampler, scale):
    """All noise of the chain is scaled, that of a stochastic sampler's steps too."""
    policy = CONSTANT_DIFFUSION._replace(
        sampler=diffusion.make_sampler(sampler, CONSTANT_DIFFUSION.schedule, 4)
    )
    params, observation, key = {"eps": jnp.array([0.1])}, jnp.zeros((3, 1)), jax.random.key(0)
    x_T = jnp.array([[0.5], [-1.0], [2.0]])
    noise = diffusion.draw_noise(policy.sampler, key, x_T.shape)
    chain = Chain(scale * x_T, None if noise is None else scale * noise)
    expected = policy.run_chain(params, observation, chain)
    action = policy.with_noise_scale(scale).sample(params, observation, x_T, key)
    assert_close(action, expected)
    assert np.ptp(action) > 0.0 if scale else np.ptp(action) == 0.0


def test_the_network_can_compute_in_bfloat16_while_it_samples():
    """The network gets bfloat16 and the solver keeps float32; the samples agree to 3 digits."""
    spec = TaskSpec(3, 2)
    network = networks.make_noise_net(spec, (16, 16), "mish")
    seen = []

    def apply(params, observation, x, t):
        noise = network.apply(params, observation, x, t)
        seen.append(
            (observation.dtype, x.dtype, noise.dtype, params["MLP_0"]["Dense_0"]["kernel"].dtype)
        )
        return noise

    schedule = diffusion.make_schedule("vp", 100)
    policy = DiffusionPolicy(
        network._replace(apply=apply), schedule, diffusion.make_sampler("dpm_solver_3", schedule, 5)
    )
    params = network.init(jax.random.key(0))
    observation = jax.random.normal(jax.random.key(1), (50, 3))
    x_T = jax.random.normal(jax.random.key(2), (50, 2))
    sample = lambda policy: policy.sample(params, observation, x_T, jax.random.key(3))  # noqa: E731
    fine = sample(policy)
    assert {dtype for row in seen for dtype in row} == {jnp.dtype("float32")}
    seen.clear()
    coarse = sample(policy._replace(dtype="bfloat16"))
    assert {dtype for row in seen for dtype in row} == {jnp.dtype("bfloat16")}
    assert coarse.dtype == jnp.float32
    error = np.abs(coarse - fine)
    assert 0 < error.mean() < 0.02 and error.max() < 0.5


def test_samples_are_kept_in_the_box_at_every_call():
    """With the noise eps = 0, a_0 is x / alpha > 1; clipped, the chain ends at 1."""
    x_T, params = jnp.array([[1.0], [-1.0]]), {"eps": jnp.zeros(1)}
    action = CONSTANT_DIFFUSION.sample(params, jnp.zeros((2, 1)), x_T, jax.random.key(0))
    expected = diffusion.sample(
        CONSTANT_DIFFUSION.sampler, lambda x, t: jnp.zeros_like(x), x_T, jax.random.key(0), clip=1.0
    )
    assert_close(action, expected)
    assert np.all(np.abs(action) <= 1.0) and np.all(np.sign(action) == np.sign(x_T))


def test_prediction_of_a_diffusion_policy():
    """eps is 0.5, the noise 1, and abar = exp(-0.1/5 - 9.9/50) at t = 0: a0_hat is off by
    sqrt(1/abar - 1) 0.5. The log-density is that of N(a0_hat, 1)."""
    batch, corruption = rows(s=0.0, a=0.3), Corruption(jnp.array([0]), jnp.array([[1.0]]))
    params = {"eps": jnp.array([0.5]), "log_std": jnp.log(jnp.array([2.0]))}
    abar = np.exp(-0.1 / 5 - 9.9 / 50)
    error = np.sqrt(1 / abar - 1) * 0.5
    found = CONSTANT_DIFFUSION.predict(params, batch, corruption)
    assert_close(found.action, [[0.3 + error]])
    assert_close(found.std, [1.0])
    assert_close(found.denoising_loss, [0.25])
    assert_close(found.log_likelihood, [-0.5 * error**2 - 0.5 * np.log(2 * np.pi)])
    assert_close(CONSTANT_DIFFUSION.cloning_loss(found), 0.0)
    learned = CONSTANT_DIFFUSION._replace(likelihood="learned_std")
    found = learned.predict(params, batch, corruption)
    assert_close(found.std, [2.0])
    expected = -0.5 * (error / 2) ** 2 - np.log(2.0) - 0.5 * np.log(2 * np.pi)
    assert_close(found.log_likelihood, [expected])
    bound = CONSTANT_DIFFUSION._replace(likelihood="elbo")
    found = bound.predict(params, batch, corruption)
    beta = 1 - abar  # of the first timestep
    assert_close(found.log_likelihood, [-5 * beta / (2 * (1 - beta) * (1 - abar)) * 0.25])
    assert_close(found.std, [1.0])
    of_noise = CONSTANT_DIFFUSION._replace(likelihood="noise")
    assert_close(of_noise.predict(params, batch, corruption).log_likelihood, [-0.5 * 0.25])


def test_the_network_sees_the_noisy_action_and_its_timestep():
    """sqrt(abar) a + sqrt(1 - abar) noise at the row's own t, with the batch's observations."""
    seen = []

    def apply(params, *inputs):
        seen.extend(inputs)
        return jnp.zeros_like(inputs[1])

    policy = CONSTANT_DIFFUSION._replace(network=Network(lambda key: None, apply))
    timestep, noise = jnp.array([0, 4]), jnp.array([[1.0], [-2.0]])
    batch = rows(s=[3.0, 4.0], a=[0.3, -0.6])
    policy.predict({}, batch, Corruption(timestep, noise))
    abar = np.asarray(policy.schedule.alphas_cumprod)[[0, 4]]
    assert_close(seen[0], batch.observation)
    expected = np.sqrt(abar) * [0.3, -0.6] + np.sqrt(1 - abar) * [1.0, -2.0]
    assert_close(seen[1][:, 0], expected)
    assert_close(seen[2], timestep)
    with pytest.raises(AssertionError):
        policy.predict({}, batch, Corruption(timestep, jnp.zeros((1, 1))))


@pytest.mark.parametrize(("action", "clipped"), [(0.9, 1.0), (-0.9, -1.0)])
def test_approximated_actions_stay_in_the_box(action, clipped):
    corruption = Corruption(jnp.array([0]), jnp.array([[9.0 * action]]))
    found = CONSTANT_DIFFUSION.predict({"eps": jnp.zeros(1)}, rows(s=0.0, a=action), corruption)
    assert_close(found.action, [[clipped]])


def test_corruptions_cover_all_timesteps():
    drawn = CONSTANT_DIFFUSION.draw(jax.random.key(0), jnp.zeros((2000, 3)))
    assert drawn.timestep.shape == (2000,) and drawn.noise.shape == (2000, 3)
    frequency = np.bincount(drawn.timestep) / 2000
    assert frequency.shape == (5,)
    assert np.all(np.abs(frequency - 0.2) < 4 * np.sqrt(0.2 * 0.8 / 2000))


def test_gaussian_policy():
    """Mean 0.5, std 2: the density of 0.9, and samples clipped to the box."""
    params = {"log_std": jnp.log(jnp.array([2.0]))}
    policy = GaussianPolicy(Network(lambda key: params, lambda params, s: s + 0.5))
    batch = Transition(jnp.zeros((1, 1)), jnp.array([[0.9]]), *(jnp.zeros(1),) * 3)
    found = policy.predict(params, batch)
    density = -0.5 * 0.2**2 - np.log(2.0) - 0.5 * np.log(2 * np.pi)
    assert_close(found.log_likelihood, [density])
    assert_close(policy.cloning_loss(found), -density)
    two = found._replace(log_likelihood=jnp.array([1.0, 2.0]))
    assert_close(policy.cloning_loss(two), -1.5)
    assert_close((found.action, found.std, found.denoising_loss), ([[0.5]], [2.0], [0.0]))
    assert policy.draw(jax.random.key(0), batch.action) == ()
    x_T = jnp.array([[[0.1]], [[3.0]], [[-3.0]]])
    action = policy.sample(params, batch.observation, x_T, jax.random.key(0))
    assert_close(action[:, 0, 0], [0.7, 1.0, -1.0])


@pytest.mark.parametrize(("log_std", "used"), [(-9.0, -5.0), (9.0, 2.0), (1.0, 1.0)])
def test_a_learned_spread_stays_within_its_bounds(log_std, used):
    """The density at the mean is 1 / (std sqrt(2 pi))."""
    params = {"log_std": jnp.array([log_std])}
    policy = GaussianPolicy(Network(lambda key: params, lambda params, s: s))
    batch = rows(s=0.5, a=0.5)
    found = policy.predict(params, batch)
    assert_close(found.log_likelihood, [-used - 0.5 * np.log(2 * np.pi)])
    assert_close(found.std, [np.exp(used)])


def test_units_of_the_data():
    """((2 - 1) / 2, (5 - 10) / 5) = (0.5, -1); centre (0, 4) and half width (1, 4) of the box."""

    def act(params, observation, key):
        return params * observation  # [-1, 1] in, [-1, 1] out

    mean, std = jnp.array([1.0, 10.0]), jnp.array([2.0, 5.0])
    low, high = jnp.array([-1.0, 0.0]), jnp.array([1.0, 8.0])
    scaled = in_dataset_units(act, Units(mean, std, low, high))
    key = jax.random.key(0)
    assert_close(scaled(1.0, jnp.array([2.0, 5.0]), key), [0.5, 0.0])
    assert_close(scaled(-1.0, jnp.array([[2.0, 5.0]]), key), [[-0.5, 8.0]])


def test_chunks_become_actions_of_each_step():
    """A policy that gives (s, 2 s, 3 s) for a box of one column, from 0 to 8."""

    def act(params, observation, key):
        return jnp.concatenate([observation, 2 * observation, 3 * observation], axis=-1)

    one = jnp.ones(1)
    units, key = Units(0 * one, one, 0 * one, 8 * one), jax.random.key(0)
    observation = jnp.array([[0.1], [0.2]])
    whole = in_dataset_units(act, units)(None, observation, key)
    assert_close(whole[..., 0], [[4.4, 4.8, 5.2], [4.8, 5.6, 6.4]])
    assert_close(in_dataset_units(act, units, 2)(None, observation, key), whole[:, :2])
    assert_close(in_dataset_units(act, units, 1)(None, observation[0], key), whole[0, :1])
