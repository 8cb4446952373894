"""One-call policies: a student learns the map from noise to the action that a chain reaches."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from edp_jax import InputError, TaskSpec, algorithms, diffusion
from edp_jax.algorithms import edp, one_call, ways
from edp_jax.networks import Network
from edp_jax.policy import DiffusionPolicy

from .builders import (
    ABAR,
    BATCH,
    CONSTANT_NOISE,
    LINEAR_CRITICS,
    REMEMBERED,
    SCHEDULE,
    SPEC,
    agent,
    assert_close,
    make_batch,
    rows,
    same,
    tiny_settings,
)

FINE = diffusion.make_schedule("vp", 1000)
SAMPLER = diffusion.make_sampler(diffusion.ONE_CALL, FINE, 1)
CONSTANT = DiffusionPolicy(CONSTANT_NOISE, FINE, SAMPLER, noise_scale=0.5)
ALPHA, SIGMA = 0.9**0.5, 0.1**0.5  # where the network is asked


def tiny_student(name="one_call_edp", **changes):
    settings = algorithms.settings(name, **vars_of(tiny_settings(name.removeprefix("one_call_"))))
    settings = settings.replace(**changes)
    return algorithms.make(name, settings, SPEC)


def vars_of(teacher) -> dict:
    kept = {"hidden_dims", "num_timesteps", "num_critics", "num_candidates"}
    return {key: value for key, value in vars(teacher).items() if key in kept} | {"chain_calls": 3}


def state_of(settings, eps: float, critics=None):
    """A student that takes `eps` away from its noise, before its first update."""
    student = {"eps": jnp.array([eps])}
    judges = {"w": jnp.array([[2.0], [4.0]])}
    networks = {
        "actor": one_call.TrainState(student, student, one_call._optimizer(settings).init(student)),
        "critic": one_call.TrainState({}, judges, ()),
    }
    return agent(0, **networks)


def test_one_call_is_the_action_approximation_where_abar_is_0_9():
    """From x = 0.5 z with z = 2 alpha (1, 2, -4) and eps = 0.75: (1, 2, -4) - 0.75 sigma / alpha.

    abar = exp(-0.1 t - 4.95 t^2) is 0.9 at t = 0.136144, which is timestep 1000 t - 1 = 135.144.
    """
    z, zeros = 2.0 * ALPHA * jnp.array([[1.0], [2.0], [-4.0]]), jnp.zeros((3, 1))
    params = {"eps": jnp.array([0.75])}
    free = one_call.student_action(CONSTANT, params, zeros, z)
    assert_close(free, [[0.75], [1.75], [-4.25]], rtol=1e-5)
    kept = CONSTANT.sample(params, zeros, z, jax.random.key(0))
    assert_close(kept, [[0.75], [1.0], [-1.0]], rtol=1e-5)
    told = Network(lambda key: {}, lambda params, s, x, t: 0.0 * x + t)
    taken = one_call.student_action(CONSTANT._replace(network=told), {}, zeros, 0.0 * z)
    assert_close(taken, np.full((3, 1), -135.144 / 3.0), rtol=1e-4)
    with pytest.raises(InputError, match="sampler_calls=2: a one-call policy"):
        diffusion.make_sampler(diffusion.ONE_CALL, FINE, 2)


def test_with_few_timesteps_the_network_is_asked_at_the_first():
    """abar of the first of 5 is 0.803 already."""
    sampler = diffusion.make_sampler(diffusion.ONE_CALL, SCHEDULE, 1)
    assert_close(sampler.timestep, [0.0], atol=1e-12)
    assert_close(np.square([sampler.alpha, sampler.sigma]), [[ABAR], [1.0 - ABAR]])


def test_the_loss_by_hand():
    """sigma / alpha is 1 / 3, so z = alpha (1, 2) and eps = 0.6 give actions 0.5 - 0.2 = 0.3 and
    1 - 0.2 = 0.8. The chain's are 0.4 and 0.5: distance 0.05.

    Critics 2 a + s and 4 a + s with s = 1: their mean 3 a + 1 is 1.9 and 3.4, both positive, so the
    guidance is -1. The gradient by the action is -3 / 2.65 for it, and -0.1 + 0.3 = 0.2 for the
    distance; by eps each is -1 / 3 of that.
    """
    settings = algorithms.settings("one_call_edp_td3", guidance=0.5, student_rate=0.1)
    state, batch = state_of(settings, 0.6), rows(s=100.0, a=[0.0, 0.0])
    noise = ALPHA * jnp.array([[1.0], [2.0]])
    draws = one_call.Draws(jnp.ones((2, 1)), noise, jnp.array([[0.4], [0.5]]))
    update = one_call.make_update(CONSTANT, LINEAR_CRITICS)
    new, metrics = update(state, batch, settings, draws)
    expected = {"distance": 0.05, "guidance_loss": -1.0, "loss": 0.05 - 0.5, "q_mean": 2.65}
    assert_close({key: metrics[f"actor/{key}"] for key in expected}, expected)
    assert_close(metrics["actor/grad_norm"], (0.5 * 3 / 2.65 - 0.2) / 3, rtol=1e-5)
    assert_close(new.networks["actor"].params["eps"], [0.5])  # Adam's first step is the rate
    assert_close(new.networks["actor"].target_params["eps"], [0.5])  # the mean of one update
    assert same(new.networks["critic"], state.networks["critic"])
    alone, metrics = one_call.make_update(CONSTANT, None)(state, batch, settings, draws)
    assert set(metrics) == {"actor/loss", "actor/distance", "actor/grad_norm"}
    assert_close(alone.networks["actor"].params["eps"], [0.7])


def test_steps_of_a_chunk_that_nobody_recorded_do_not_count():
    spec = TaskSpec(1, 2)
    batch = make_batch(2, spec, valid=np.array([[1, 1], [1, 0]], np.float32))
    noise = Network(lambda key: {}, lambda params, s, x, t: params["eps"] + 0.0 * x)
    student, settings = CONSTANT._replace(network=noise), algorithms.settings("one_call_edp")
    draws = one_call.Draws(
        jnp.zeros((2, 1)), jnp.zeros((2, 2)), jnp.array([[1.0, 2.0], [3.0, 100.0]])
    )
    update = one_call.make_update(student, None)
    _, metrics = update(state_of(settings, 0.0), batch, settings, draws)
    assert_close(metrics["actor/distance"], (1 + 4 + 9) / 3)


def test_a_student_becomes_a_linear_teacher():
    """a = 0.3 s - 0.2 z, which a linear network can say: the average student comes to say it."""
    init = lambda key: {"s": jnp.zeros(1), "x": jnp.zeros(1)}  # noqa: E731
    linear = Network(init, lambda params, s, x, t: params["s"] * s + params["x"] * x)
    student = CONSTANT._replace(network=linear)
    settings = algorithms.settings("one_call_bc_diffusion", student_rate=0.02)
    params = init(None)
    actor = one_call.TrainState(params, params, one_call._optimizer(settings).init(params))
    update = one_call.make_update(student, None)

    def one(index, state):
        s, z = jax.random.normal(jax.random.fold_in(state.key, index), (2, 32, 1))
        draws, batch = one_call.Draws(s, z, 0.3 * s - 0.2 * z), make_batch(32, TaskSpec(1, 1))
        return update(state, batch, settings, draws)[0]

    state = jax.jit(lambda state: jax.lax.fori_loop(0, 2000, one, state))(agent(0, actor=actor))
    final = state.networks["actor"]
    # x = 0.5 z: (x - sigma (-0.9 s + w x)) / alpha = 0.3 s + (0.5 / alpha - w / 6) z
    expected = {"s": [-0.9], "x": [6.0 * (0.5 / ALPHA + 0.2)]}
    assert_close(final.params, expected, atol=1e-3)
    assert_close(final.target_params, expected, atol=0.5)


def test_it_learns_from_the_chain_of_the_averaged_teacher():
    """The targets are the teacher's own samples, from the noise that the student sees."""
    learner = tiny_student(chain_sampler="dpm_solver_2", chain_calls=4, starting_noise=0.6)
    state = jax.jit(learner.init)(jax.random.key(0))
    draws = jax.jit(learner.draw)(jax.random.key(1), learner.draw_params(state), BATCH)
    own = tiny_settings("edp", sampler="dpm_solver_2", sampler_calls=4, starting_noise=0.6)
    policy = ways.acting_policy(own, edp.diffusion_policy(own, SPEC))
    teacher = state.networks["teacher"].params
    expected = jax.jit(policy.sample)(teacher, draws.observation, draws.noise, jax.random.key(2))
    assert_close(draws.action, expected)
    assert len(np.unique(draws.noise)) == draws.noise.size


def test_observations_are_learned_near_those_of_the_data():
    """A column of deviation 10 moves by 10 times as much as one of deviation 1, a constant one not
    at all; a row by 1 % to 100 % of these, half of the rows by less than 10 %."""
    rng = np.random.default_rng(0)
    columns = np.stack([rng.normal(size=4000), 10.0 * rng.normal(size=4000), np.ones(4000)], 1)
    moved = one_call.nearby(jax.random.key(0), columns, 0.5) - columns
    scaled = np.asarray(moved)[:, :2] / np.std(columns[:, :2], axis=0)
    sizes = np.log10(np.sqrt(np.mean(np.square(scaled), axis=1)) / 0.5)
    assert np.all(moved[:, 2] == 0.0)
    assert_close(scaled.std(axis=0), np.full(2, 0.5 * 0.3296), rtol=0.1)  # sqrt(0.9999 / log 1e4)
    assert abs(np.median(sizes) + 1.13) < 0.05  # -1, and the median of log10 of the norm of noise


def test_the_student_moves_and_its_teacher_and_critics_stand_still():
    learner = tiny_student(guidance=0.1)
    begun = jax.jit(learner.init)(jax.random.key(0))
    untrained = algorithms.make("edp", tiny_settings("edp"), SPEC)
    teacher = jax.jit(untrained.init)(jax.random.key(0))
    average = teacher.networks["actor"].target_params
    assert same(begun.networks["actor"].params, average)
    assert same(begun.networks["teacher"].params, average)
    update = jax.jit(learner.update_step)
    state, _ = update(begun, BATCH, learner.settings)
    state, metrics = update(state, BATCH, learner.settings)
    assert all(np.isfinite(value) for value in metrics.values())
    stood_still = {key for key, net in begun.networks.items() if same(net, state.networks[key])}
    assert stood_still == {"critic", "value", "teacher", *REMEMBERED}
    params = learner.policy_params(state)
    assert same(params["critic"], teacher.networks["critic"].target_params)
    action = jax.jit(learner.act.__call__)(params, BATCH.observation, jax.random.key(3))
    assert action.shape == BATCH.action.shape and np.all(np.abs(action) <= 1.0)


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("one_call_edp", {"chain_sampler": "ddpm"}, "chain_sampler=ddpm: draws noise on its way"),
        ("one_call_bc_diffusion", {"guidance": 0.5}, "guidance=0.5: the teacher has no critics"),
    ],
)
def test_what_cannot_be_learned_is_refused(name, changes, message):
    with pytest.raises(InputError, match=message):
        tiny_student(name, **changes)
    with pytest.raises(InputError, match="sampler_calls=5 must be at least 1 and at most 1"):
        algorithms.settings(name, sampler_calls=5)


def test_every_learner_with_a_diffusion_policy_has_a_student():
    plain = {"fql", "td3_bc", "crr", "iql", "bc"}
    assert set(algorithms.STUDENTS) == {f"one_call_{x}" for x in set(algorithms.REGISTRY) - plain}
    for name in algorithms.STUDENTS:
        learner = tiny_student(name)
        state = jax.eval_shape(learner.init, jax.random.key(0))
        params = jax.eval_shape(learner.policy_params, state)
        action = jax.eval_shape(learner.act, params, BATCH.observation, jax.random.key(1))
        assert action.shape == BATCH.action.shape
    assert "edp_td3" not in algorithms.STUDENTS and algorithms.find("one_call_edp").settings
