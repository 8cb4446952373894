"""The parts of learners: the critics that count, the choice when acting, the policy's step."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend import core

from edp_jax import InputError, algorithms
from edp_jax.algorithms import edp, groups, ways
from edp_jax.types import TaskSpec

from .builders import (
    BATCH,
    CONSTANT_GAUSSIAN,
    LINEAR_CRITICS,
    SPEC,
    agent,
    assert_close,
    rows,
    tiny_learner,
    tiny_settings,
    train_state,
)

DRAWS = 4000


class Fixed(NamedTuple):
    """A policy whose M-th sample is always the same, whatever the observation and the noise.

    A single sample has no axis of candidates.
    """

    samples: tuple[float, ...]
    num_noisy_calls = 0

    def sample(self, params, observation, x_T, key):
        axis = (len(self.samples),) if len(self.samples) > 1 else ()
        assert x_T.shape == (*axis, *observation.shape[:-1], 1)
        candidates = params * jnp.asarray(self.samples)
        return jnp.broadcast_to(candidates.reshape(*axis, *(1,) * observation.ndim), x_T.shape)


# Q_i = w_i a + s with w = (2, -1): of the candidates -0.4, 0.1 and 0.9, min_i Q is s plus VALUES.
# The largest mean has 0.9, the largest maximum too, and the smallest minimum as well.
CANDIDATES = (-0.4, 0.1, 0.9)
VALUES = np.array([-0.8, -0.1, -0.9])
PARAMS = {"actor": jnp.array(1.0), "critic": {"w": jnp.array([[2.0], [-1.0]])}}


def act_with(temperature: float):
    selection = groups.Selection(num_candidates=3, selection_temperature=temperature)
    return ways.by_choice(selection, Fixed(CANDIDATES), LINEAR_CRITICS, TaskSpec(1, 1))


def test_temperature_zero_takes_the_best_smallest_value():
    action = act_with(0.0)(PARAMS, jnp.array([[0.0], [5.0]]), jax.random.key(0))
    assert_close(action, jnp.full((2, 1), 0.1))


@pytest.mark.parametrize("temperature", [0.25, 1.0, 1e4])
def test_choices_have_the_probability_of_their_value(temperature):
    """softmax(min_i Q_i / temperature): at 0.25 (0.06, 0.91, 0.04), at 10,000 a third each."""
    act = act_with(temperature)
    keys = jax.random.split(jax.random.key(0), DRAWS)
    chosen = jax.vmap(lambda key: act(PARAMS, jnp.array([3.0]), key))(keys)[:, 0]
    frequency = np.array([np.mean(np.isclose(chosen, candidate)) for candidate in CANDIDATES])
    p = np.exp(VALUES / temperature) / np.exp(VALUES / temperature).sum()
    assert np.all(np.abs(frequency - p) < 4 * np.sqrt(p * (1 - p) / DRAWS))


def test_rows_choose_each_for_themselves():
    action = act_with(1e4)(PARAMS, jnp.zeros((DRAWS, 1)), jax.random.key(0))
    assert action.shape == (DRAWS, 1)
    shares = [np.mean(np.isclose(action, candidate)) for candidate in CANDIDATES]
    assert np.all(np.abs(np.array(shares) - 1 / 3) < 4 * np.sqrt(2 / 9 / DRAWS))


def test_one_candidate_needs_no_critic():
    act = ways.by_choice(groups.Selection(num_candidates=1), Fixed((0.3,)), None, TaskSpec(1, 1))
    assert_close(act(PARAMS, jnp.zeros((2, 1)), jax.random.key(0)), jnp.full((2, 1), 0.3))


def test_acting_by_choice_samples_at_the_observation():
    """Candidates of a Gaussian policy with mean s / 10: noise drawn by the first of three keys."""
    policy = CONSTANT_GAUSSIAN._replace(
        network=CONSTANT_GAUSSIAN.network._replace(apply=lambda params, s: 0.1 * s)
    )
    params = PARAMS | {"actor": {"log_std": jnp.array([-3.0])}}
    act = ways.by_choice(
        groups.Selection(num_candidates=4, selection_temperature=0.0),
        policy,
        LINEAR_CRITICS,
        TaskSpec(1, 1),
    )
    action = act(params, jnp.array([[2.0], [-2.0]]), jax.random.key(0))
    # std e^-3 = 0.05; the best candidate has the smallest |a| on either side of 0
    assert 0.0 < action[0, 0] < 0.2 and -0.2 < action[1, 0] < 0.0


def test_all_pairs_of_five_critics_are_drawn():
    own = groups.Critics(num_critics=5, num_target_critics=2)
    drawn = {
        tuple(sorted(np.asarray(edp.draw_critics(jax.random.key(i), own)).tolist()))
        for i in range(200)
    }
    assert len(drawn) == 10 and all(len(set(pair)) == 2 for pair in drawn)


@pytest.mark.parametrize("count", [0, 5])
def test_all_critics_count_without_a_draw(count):
    own = groups.Critics(num_critics=5, num_target_critics=count)
    assert edp.draw_critics(jax.random.key(0), own) is None
    params = {"w": jnp.arange(5.0)}
    assert edp.take_critics(params, None) is params
    assert_close(edp.take_critics(params, jnp.array([3, 1]))["w"], [3.0, 1.0])


def test_more_target_critics_than_critics_are_refused():
    own = algorithms.settings("iql", num_target_critics=3)
    with pytest.raises(InputError, match="num_target_critics=3 is more than num_critics=2"):
        algorithms.make("iql", own, SPEC)


def test_policy_step_adds_the_guidance_and_moves_the_average():
    """Loss -mean log N(a; 0, 1) at a = (0.1, -0.5) plus guidance 3 mean: gradient 0.2 + 3."""
    own = tiny_settings("bc", learning_rate=0.01, tau=0.25, grad_clip=0.0, ema_period=2)
    batch = rows(s=0.0, a=[0.1, -0.5])

    def guidance(params, prediction):
        cloning = CONSTANT_GAUSSIAN.cloning_loss(prediction)
        return cloning + 3.0 * params["mean"][0], {"own": cloning}

    for step, share in ((0, 0.0), (1, 0.25)):
        state = agent(step, actor=train_state(own, {"mean": [0.0], "log_std": [0.0]}))
        opt = edp.base.optimizer(own, step)
        actor, metrics = edp.policy_step(own, CONSTANT_GAUSSIAN, state, batch, (), guidance, opt)
        cloning = np.mean([0.1**2, 0.5**2]) / 2 + np.log(2 * np.pi) / 2
        assert_close(metrics["own"], cloning)
        assert_close(metrics["loss"], cloning)
        assert_close(metrics["guidance_loss"], cloning)
        assert_close(metrics["grad_norm"], np.hypot(3.2, 1 - 0.13), rtol=1e-4)
        assert_close(actor.params["mean"], [-0.01])
        assert_close(actor.target_params["mean"], [-0.01 * share])


def test_the_policys_parts():
    """A learned spread is a parameter of its own; without it there is none."""
    own = tiny_settings("edp_iql", sampler="ddim", ddim_eta=1.0)
    plain = edp.diffusion_policy(own, SPEC)
    learned = edp.diffusion_policy(own, SPEC, "learned_std")
    assert "log_std" not in plain.network.init(jax.random.key(0))
    assert_close(learned.network.init(jax.random.key(0))["log_std"], jnp.zeros(2))
    assert plain.likelihood == "gaussian" and learned.likelihood == "learned_std"
    assert plain.sampler.is_stochastic
    quiet = edp.diffusion_policy(own.replace(ddim_eta=0.0), SPEC)
    assert not quiet.sampler.is_stochastic
    assert plain.schedule.num_timesteps == 5 and plain.sampler.num_calls == 2


def chains(function, *arguments) -> set[int]:
    """The lengths of all sampling chains of a function."""

    def lengths(jaxpr):
        for equation in jaxpr.eqns:
            if equation.primitive.name == "scan":
                yield equation.params["length"]
            for inner in jax.tree.leaves(list(equation.params.values()), is_leaf=is_program):
                if is_program(inner):
                    yield from lengths(getattr(inner, "jaxpr", inner))

    def is_program(value):
        return isinstance(value, core.ClosedJaxpr | core.Jaxpr)

    return set(lengths(jax.make_jaxpr(function)(*arguments).jaxpr))


@pytest.mark.parametrize("name", ["edp_crr", "dac", "diffusion_ql"])
def test_target_calls_shorten_the_chain_of_targets_alone(name):
    """Acting has `sampler_calls`, and so has the action that Diffusion-QL guides."""
    learner, key = tiny_learner(name, sampler_calls=4, target_calls=3), jax.random.key(0)
    state = jax.eval_shape(learner.init, key)
    params = learner.draw_params(state)
    assert chains(learner.draw, key, params, BATCH) == {3}
    draws = jax.eval_shape(learner.draw, key, params, BATCH)
    guided = chains(learner.update, state, BATCH, learner.settings, draws)
    assert guided == ({4} if name == "diffusion_ql" else set())
    assert chains(learner.act, learner.policy_params(state), BATCH.observation, key) == {4}


def test_more_target_calls_than_timesteps_are_refused():
    with pytest.raises(InputError, match="target_calls=6 is more than num_timesteps=5: use 0"):
        tiny_learner("edp_td3", target_calls=6)


def test_numbers_of_targets_alone_are_coarse():
    """Neither acting nor any loss computes in `sampler_dtype`."""
    own = tiny_settings("diffusion_ql", sampler_dtype="bfloat16")
    policy = edp.diffusion_policy(own, SPEC)
    dtypes = policy.dtype, edp.target_policy(own, policy).dtype
    assert dtypes == ("float32", "bfloat16")


def test_a_student_of_a_teacher_with_target_calls():
    """It samples no targets itself, and keeps the setting, which says what its teacher was."""
    student = algorithms.settings("one_call_edp_td3", target_calls=3)
    assert algorithms.make("one_call_edp_td3", student, SPEC).settings.target_calls == 3
