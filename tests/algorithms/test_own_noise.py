"""How much noise a policy starts from: the scale whose samples it finds likeliest itself."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from edp_jax import InputError, TaskSpec, algorithms, diffusion
from edp_jax.algorithms import edp, own_noise, trust
from edp_jax.networks import Network
from edp_jax.policy import DiffusionPolicy

from .builders import BATCH, SPEC, assert_close, same, tiny_settings

SCHEDULE = diffusion.make_schedule("vp", 100)
WIDTH = 0.05  # standard deviation of each mode


def clone_of(modes, sampler="dpm_solver_2", calls=12) -> DiffusionPolicy:
    """The policy whose network is exact for data that act by any of `modes` alike.

    x_t = alpha a + sigma eps is a mixture of N(alpha mode, alpha^2 width^2 + sigma^2), and the mean
    of eps given x_t is (x_t - alpha E[a | x_t]) / sigma.
    """
    modes = jnp.array(modes)

    def apply(params, observation, x, t):
        abar = jnp.interp(t, jnp.arange(100.0), SCHEDULE.alphas_cumprod)[..., None]
        alpha, sigma = jnp.sqrt(abar), jnp.sqrt(1.0 - abar)
        variance = abar * WIDTH**2 + sigma**2
        share = jax.nn.softmax(-0.5 * (x - alpha * modes) ** 2 / variance, axis=-1)
        mean = modes + alpha * WIDTH**2 / variance * (x - alpha * modes)
        action = jnp.sum(share * mean, axis=-1, keepdims=True)
        return (x - alpha * action) / sigma

    network = Network(lambda key: {}, apply)
    return DiffusionPolicy(network, SCHEDULE, diffusion.make_sampler(sampler, SCHEDULE, calls))


@pytest.mark.parametrize(
    ("sampler", "modes", "wrong"),
    [("dpm_solver_2", (0.4,), {1.0}), ("ddpm", (-0.6, 0.6), {0.0, 0.1})],
)
def test_one_way_to_act_wants_little_noise_and_two_ways_want_much(sampler, modes, wrong):
    """From the middle of two modes a chain ends between them. A single mode is so narrow here that
    0, 0.1 and 0.3 are alike up to chance; two are so far apart that 0.3 and 1 are."""
    policy, seen = clone_of(modes, sampler, 8), jnp.zeros((64, 1))
    choose = jax.jit(jax.vmap(lambda key: own_noise.likeliest(policy, {}, seen, 1, key)))
    chosen = choose(jax.random.split(jax.random.key(0), 5))
    assert not wrong & {round(float(scale), 3) for scale in chosen}


def test_it_acts_from_what_the_parameters_say_unless_the_setting_does():
    policy, x_T = clone_of((0.0,)), jnp.array([[1.0], [-2.0]])
    zeros, key = jnp.zeros((2, 1)), jax.random.key(0)
    for starting_noise, choosy, several, scale in (
        (own_noise.CHOSEN, False, True, 0.3),
        (own_noise.CHOSEN, True, False, 0.3),
        (own_noise.CHOSEN, True, True, 0.2),
        (0.7, True, True, 0.7),
    ):
        params = {"network": {}, "noise_scale": 0.3, "choosy": choosy}
        acting = own_noise.OwnNoise(policy, starting_noise, several)
        expected = policy.with_noise_scale(scale).sample({}, zeros, x_T, key)
        assert_close(acting.sample(params, zeros, x_T, key), expected, rtol=1e-4)


def test_the_state_remembers_what_the_newest_batch_saw():
    learner = algorithms.make("edp", tiny_settings("edp"), SPEC)
    begun = jax.jit(learner.init)(jax.random.key(0))
    state, _ = jax.jit(learner.update_step)(begun, BATCH, learner.settings)
    seen = np.resize(BATCH.observation, (64, SPEC.observation_dim))
    assert same(state.networks[own_noise.SEEN].params.observation, jnp.asarray(seen))
    params = jax.jit(learner.policy_params)(state)["actor"]
    assert same(params["network"], state.networks["actor"].target_params)
    assert np.isclose(own_noise.SCALES, params["noise_scale"]).any()


def with_critics(state, variance, error, held_out):
    """The state as if these were the means over its batches so far, per member.

    Args:
      state: of a learner made with or without held-out episodes.
      variance: of the advantages.
      error: the mean squared TD error.
      held_out: the mean |TD error| on held-out episodes, where it is 1 on the others and the mean
        |A - mean A| is 1.
    """
    seen, errors = (state.networks.get(name) for name in (own_noise.SEEN, trust.ERRORS))
    told = seen.params._replace(advantage_variance=variance, squared_error=error)
    networks = state.networks | {own_noise.SEEN: seen.replace(params=told)}
    if errors:
        one = jnp.ones_like(variance)
        networks[trust.ERRORS] = errors.replace(params=trust.Errors(one, held_out * one, one))
    return state.replace(networks=networks)


@pytest.mark.parametrize(
    ("variance", "error", "held_out", "choosy"),
    [
        (1.1, 1.0, 1.0, True),
        (0.9, 1.0, 1.0, False),
        (0.0, 0.0, 1.0, False),  # before the first update
        (3.1, 1.0, 1.5**0.5, True),  # n = 1.5 - 1, r = (1 - n) / (1 + n) = 1 / 3
        (2.9, 1.0, 1.5**0.5, False),
        (9.0, 1.0, 2.0, False),  # r = 0
    ],
)
def test_critics_choose_where_true_advantages_are_larger_than_their_errors(
    variance, error, held_out, choosy
):
    learner = algorithms.make("edp", tiny_settings("edp"), SPEC)
    fresh = jax.jit(learner.init)(jax.random.key(0))
    state = with_critics(fresh, jnp.asarray(variance), jnp.asarray(error), held_out)
    actor = learner.policy_params(state)["actor"]
    assert bool(actor[own_noise.CHOOSY]) == bool(own_noise.tell_apart(state)) == choosy
    assert np.isclose(own_noise.SCALES, actor["noise_scale"]).any()


def test_critics_do_not_choose_where_nothing_says_how_far_to_trust_them():
    learner = algorithms.make("edp", tiny_settings("edp", holdout=0.0), SPEC)
    fresh = jax.jit(learner.init)(jax.random.key(0))
    state = with_critics(fresh, jnp.asarray(9.0), jnp.asarray(1.0), 1.0)
    assert not learner.policy_params(state)["actor"][own_noise.CHOOSY]


def test_it_is_told_who_chooses_and_from_how_much_noise():
    """A run prints for each seed whether its critics choose, and the noise that samples start from.

    The state has two seeds. The critics of the first can tell actions apart, so its samples start
    from 0.2 where there are several. Those of the second cannot: it has its own amount of noise.
    """

    def told(name="edp", **changes):
        learner = algorithms.make(name, tiny_settings(name, **changes), SPEC)
        state = jax.jit(jax.vmap(learner.init))(jax.random.split(jax.random.key(0), 2))
        seen = state.networks.get(own_noise.SEEN)
        if seen:
            held_out = jnp.array([1.0, 2.0])  # r = 1 of the first member and 0 of the second
            state = with_critics(state, jnp.array([2.0, 9.0]), jnp.ones(2), held_out)
        alone = jax.vmap(learner.policy_params)(state)["actor"]["noise_scale"] if seen else None
        return own_noise.describe(learner, state), alone

    (able, chosen), alone = told(num_candidates=3)
    assert able == "critics can tell actions apart: yes; no"
    assert chosen == f"starting noise that each has chosen, as the run acts: 0.2; {alone[1]:g}"
    (able, chosen), alone = told(num_candidates=1)
    assert chosen.endswith(f": {alone[0]:g}; {alone[1]:g}")
    assert told(starting_noise=0.7)[0] == [able]
    assert told("bc_diffusion")[0] == []
    assert told(holdout=0.0)[0][0] == "critics can tell actions apart: no; no"


def test_averages_of_variance_and_error_move_by_a_200th_per_update():
    learner = algorithms.make("edp", tiny_settings("edp"), SPEC)
    state, update = jax.jit(learner.init)(jax.random.key(0)), jax.jit(learner.update_step)
    expected = np.zeros(2)
    for _ in range(2):
        state, metrics = update(state, BATCH, learner.settings)
        now = [metrics["actor/advantage_variance"], metrics["actor/squared_error"]]
        expected = expected + 0.005 * (np.array(now) - expected)
    assert_close(jnp.stack(state.networks[own_noise.SEEN].params[1:]), expected, rtol=1e-5)
    assert min(expected) > 0


def test_the_best_of_the_samples_acts_or_the_first():
    """With the same random numbers, a choice never has a smaller Q than the first sample."""
    learner = algorithms.make("edp", tiny_settings("edp", num_candidates=6), SPEC)
    params = learner.policy_params(jax.jit(learner.init)(jax.random.key(0)))
    critics, observation = edp.make_critics(learner.settings, SPEC), BATCH.observation

    def value(choosy):
        scale = own_noise.CANDIDATE_NOISE  # so that both start from the same noise
        actor = params["actor"] | {own_noise.CHOOSY: choosy, "noise_scale": scale}
        action = learner.act(params | {"actor": actor}, observation, jax.random.key(1))
        return jnp.min(critics.apply(params["critic"], observation, action), axis=0)

    best, first = jax.jit(value)(True), jax.jit(value)(False)
    assert np.all(best >= first) and np.any(best > first)


def test_a_fixed_scale_is_what_the_parameters_say():
    learner = algorithms.make("edp", tiny_settings("edp", starting_noise=0.2), TaskSpec(3, 2))
    params = jax.eval_shape(lambda key: learner.policy_params(learner.init(key)), jax.random.key(0))
    assert params["actor"]["noise_scale"].shape == ()
    with pytest.raises(InputError, match="starting_noise=-0.5 must be at least 0, or -1"):
        algorithms.make("edp", tiny_settings("edp", starting_noise=-0.5), SPEC)
