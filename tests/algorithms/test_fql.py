"""Flow Q-Learning: its losses by hand, and a small task with a known answer."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from edp_jax import TaskSpec, Transition, algorithms
from edp_jax.algorithms import base, fql
from edp_jax.networks import Network

SPEC = TaskSpec(1, 2)
SMALL = dict(hidden_dims=(32, 32), flow_steps=4)
MODES = np.array([(-0.7, -0.7), (0.7, 0.7)], np.float32)


def stub(velocity) -> Network:
    """A flow without parameters: velocity(x_t, time in 0..1)."""
    return Network(
        lambda key: {},
        lambda params, observation, x_t, time: velocity(x_t, time[..., None] / fql.TIME_SCALE),
    )


def make_batch(size: int) -> Transition:
    """One state; actions near two modes, and only the second one pays."""
    rng = np.random.default_rng(0)
    mode = rng.integers(2, size=size)
    action = (MODES[mode] + 0.05 * rng.normal(size=(size, 2))).astype(np.float32)
    observation = np.zeros((size, 1), np.float32)
    reward = mode.astype(np.float32)
    return Transition(observation, action, reward, np.zeros(size, np.float32), observation)


def test_flow_matching_by_hand():
    """Noise (0, 1), action (0.5, 0): the velocity is (0.5, -1).

    A flow of 0 errs by (0.25 + 1) / 2. At t = 1/4 the path is at (0.125, 0.75); a flow that
    returns its place errs by ((0.125 - 0.5)^2 + (0.75 + 1)^2) / 2.
    """
    batch = Transition(np.zeros((1, 1)), np.array([[0.5, 0.0]]), None, None, None)
    noise, time = np.array([[0.0, 1.0]]), np.array([0.25])
    nothing = stub(lambda x, t: 0.0 * x)
    np.testing.assert_allclose(fql.flow_matching_loss(nothing, {}, batch, noise, time), 0.625)
    place = stub(lambda x, t: x)
    expected = (0.375**2 + 1.75**2) / 2
    np.testing.assert_allclose(fql.flow_matching_loss(place, {}, batch, noise, time), expected)


def test_the_flow_is_integrated_by_equal_steps():
    """x' = t in 4 steps: (0 + 1/4 + 1/2 + 3/4) / 4 = 0.375. x' = x: (1 + 1/4)^4 of the start.

    Results beyond the box are clipped.
    """
    start = np.array([[0.1, -0.2]], np.float32)
    ramp = fql.integrate(stub(lambda x, t: 0.0 * x + t), {}, np.zeros((1, 1)), start, 4)
    np.testing.assert_allclose(ramp, start + 0.375, rtol=1e-6)
    growth = fql.integrate(stub(lambda x, t: x), {}, np.zeros((1, 1)), start, 4)
    np.testing.assert_allclose(growth, start * 1.25**4, rtol=1e-6)
    far = fql.integrate(stub(lambda x, t: 0.0 * x + 3.0), {}, np.zeros((1, 1)), start, 4)
    np.testing.assert_array_equal(far, 1.0)


def test_one_update_by_hand():
    """Target and losses of an update, put together again from the networks' outputs."""
    settings = algorithms.settings("fql", **SMALL, fql_alpha=3.0, discount=0.9)
    algorithm = algorithms.make("fql", settings, SPEC)
    state, batch = algorithm.init(jax.random.key(0)), make_batch(8)
    batch = batch.replace(discount=np.ones(8, np.float32))
    draws = algorithm.draw(jax.random.key(1), algorithm.draw_params(state), batch)
    _, metrics = jax.jit(algorithm.update)(state, batch, settings, draws)

    flow = fql.networks.make_noise_net(SPEC, settings.hidden_dims, settings.activation)
    critics = fql.edp.make_critics(settings, SPEC)
    nets = state.networks

    def student(noise):
        return flow.apply(nets["student"].params, batch.observation, noise, jnp.zeros(8))

    def q(params, action):
        return critics.apply(params, batch.observation, jnp.clip(action, -1.0, 1.0)).mean(axis=0)

    next_q = q(nets["critic"].target_params, student(draws.next_noise))
    np.testing.assert_allclose(
        metrics["critic/target_mean"], np.mean(batch.reward + 0.9 * next_q), rtol=1e-5
    )
    action = student(draws.student_noise)
    reached = fql.integrate(flow, nets["flow"].params, batch.observation, draws.student_noise, 4)
    distance = np.mean(np.square(action - reached))
    values = q(nets["critic"].params, action)
    guidance = -np.mean(values) / np.mean(np.abs(values))
    np.testing.assert_allclose(metrics["student/distance"], distance, rtol=1e-5)
    np.testing.assert_allclose(metrics["student/loss"], guidance + 3.0 * distance, rtol=1e-4)


def train(num_updates: int, **changes):
    settings = algorithms.settings("fql", **SMALL, learning_rate=3e-3, discount=0.0, **changes)
    algorithm = algorithms.make("fql", settings, SPEC)
    data = jax.tree.map(jnp.asarray, make_batch(2000))

    @jax.jit
    def run(state):
        def update(_, state):
            index = jax.random.randint(base.batch_key(state, state.step), (128,), 0, 2000)
            batch = jax.tree.map(lambda leaf: leaf[index], data)
            return algorithm.update_step(state, batch, settings)[0]

        return jax.lax.fori_loop(0, num_updates, update, state)

    params = algorithm.policy_params(run(algorithm.init(jax.random.key(0))))
    return np.asarray(algorithm.act(params, np.zeros((500, 1), np.float32), jax.random.key(1)))


@pytest.mark.parametrize(("alpha", "least", "most"), [(1000.0, 0.35, 0.65), (1.0, 0.9, 1.0)])
def test_alpha_weighs_imitation_against_value(alpha, least, most):
    """A heavy alpha clones both modes, a light one takes the mode that pays."""
    actions = train(500, fql_alpha=alpha)
    assert least <= np.mean(actions.sum(axis=1) > 0) <= most


def test_it_acts_in_the_box_and_differently_for_every_key():
    algorithm = algorithms.make("fql", algorithms.settings("fql", **SMALL), SPEC)
    params = algorithm.policy_params(algorithm.init(jax.random.key(0)))
    act = [algorithm.act(params, np.zeros((50, 1)), jax.random.key(seed)) for seed in (0, 1)]
    assert np.all(np.abs(act) <= 1.0) and not np.allclose(*act)
