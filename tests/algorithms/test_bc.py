"""Behaviour cloning: what its two policies are taught, and how they act."""

import jax
import jax.numpy as jnp
import numpy as np

from edp_jax.algorithms import edp
from edp_jax.policy import Corruption

from .builders import SPEC, assert_close, gradient, make_batch, same, tiny_learner


def zero_state(learner, bias):
    """A state whose networks give `bias` in front of their last activation, whatever comes in."""
    state = learner.init(jax.random.key(0))
    last = lambda p: jnp.asarray(bias) if p.shape == (2,) else jnp.zeros_like(p)  # noqa: E731
    actor = state.networks["actor"]
    params = jax.tree.map(last, actor.params)
    params = params | {"log_std": jnp.zeros(2)} if "log_std" in params else params
    return state.replace(networks={"actor": actor.replace(params=params)})


def test_gaussian_cloning():
    """-mean log N(a; tanh(bias), 1). Towards the bias 0 the gradient is -mean(a)."""
    learner, batch = tiny_learner("bc", grad_clip=0.0), make_batch()
    state = zero_state(learner, [0.0, 0.0])
    new, metrics = learner.update(state, batch, learner.settings, ())
    log_likelihood = -0.5 * np.square(batch.action).sum(axis=1) - np.log(2 * np.pi)
    assert_close(metrics["actor/loss"], -log_likelihood.mean())
    assert_close(metrics["actor/denoising_loss"], 0.0)
    slopes = gradient(new.networks["actor"])
    assert_close(slopes["Dense_1"]["bias"], -batch.action.mean(axis=0))
    assert_close(slopes["log_std"], 1 - np.square(batch.action).mean(axis=0))
    assert int(new.step) == 1


def test_diffusion_cloning():
    """mean (eps - noise)^2 at eps = (0.1, 0.2), averaged over rows and dimensions."""
    learner, batch = tiny_learner("bc_diffusion", grad_clip=0.0), make_batch()
    state = zero_state(learner, [0.1, 0.2])
    noise = np.random.default_rng(1).normal(size=(4, 2)).astype(np.float32)
    new, metrics = learner.update(
        state, batch, learner.settings, Corruption(jnp.arange(4), jnp.asarray(noise))
    )
    error = np.array([0.1, 0.2]) - noise
    assert_close(metrics["actor/loss"], np.square(error).mean())
    assert_close(metrics["actor/guidance_loss"], 0.0)
    slopes = gradient(new.networks["actor"])["MLP_0"]["Dense_1"]["bias"]
    assert_close(slopes, error.mean(axis=0))


def test_the_average_follows_when_told():
    """ema_period 2 and ema_start 3: a copy after update 2, then steps of tau."""
    learner, batch = tiny_learner("bc", tau=0.25, ema_start=3), make_batch()
    start = zero_state(learner, [0.3, 0.3])
    update = jax.jit(learner.update)
    for step, tau in ((0, 0.0), (1, 1.0), (2, 0.0), (3, 0.25)):
        new, _ = update(start.replace(step=jnp.asarray(step)), batch, learner.settings, ())
        old, now = start.networks["actor"], new.networks["actor"]
        expected = jax.tree.map(
            lambda a, p, tau=tau: (1 - tau) * a + tau * p, old.target_params, now.params
        )
        assert_close(now.target_params, expected)


def test_the_gaussian_policy_acts_with_its_mean():
    learner, batch = tiny_learner("bc"), make_batch()
    params = zero_state(learner, [0.3, -0.4]).networks["actor"].params
    params = params | {"log_std": jnp.ones(2)}
    for seed in range(2):
        action = learner.act(params, batch.observation, jax.random.key(seed))
        assert_close(action, jnp.broadcast_to(jnp.tanh(jnp.array([0.3, -0.4])), (4, 2)))


def test_the_diffusion_policy_acts_with_one_sample():
    learner, batch = tiny_learner("bc_diffusion"), make_batch()
    params = learner.init(jax.random.key(0)).networks["actor"].params
    key = jax.random.key(7)
    noise_key, chain_key = jax.random.split(key)
    policy = edp.diffusion_policy(learner.settings, SPEC)
    x_T = jax.random.normal(noise_key, (4, 2))
    expected = policy.sample(params, batch.observation, x_T, chain_key)
    assert_close(learner.act(params, batch.observation, key), expected)
    assert not same(expected, learner.act(params, batch.observation, jax.random.key(8)))
