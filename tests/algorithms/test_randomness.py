"""Randomness of every learner: drawn before the update, with a key for each number."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend import core

from edp_jax.algorithms import base

from .builders import BATCH, EVERY_LEARNER, compiled, same, tiny_learner, tiny_settings


@EVERY_LEARNER
def test_all_randomness_of_an_update_is_drawn_before_it(name):
    learner, _, state = compiled(name)
    draws = jax.eval_shape(learner.draw, state.key, learner.draw_params(state), BATCH)
    program = jax.make_jaxpr(learner.update)(state, BATCH, learner.settings, draws)
    assert not {word for word in primitives(program.jaxpr) if is_random(word)}
    program = jax.make_jaxpr(learner.draw)(state.key, learner.draw_params(state), BATCH)
    random = {word for word in primitives(program.jaxpr) if is_random(word)}
    assert bool(random) == (name != "bc")  # cloning with a Gaussian policy draws nothing


def is_random(primitive: str) -> bool:
    return primitive.startswith(("random_", "threefry"))


def primitives(jaxpr: core.Jaxpr) -> set[str]:
    """The names of all operations, inside loops and functions too."""
    found = set()
    for equation in jaxpr.eqns:
        found.add(equation.primitive.name)
        for value in equation.params.values():
            for inner in value if isinstance(value, tuple | list) else (value,):
                if isinstance(inner, core.ClosedJaxpr | core.Jaxpr):
                    found |= primitives(getattr(inner, "jaxpr", inner))
    return found


@pytest.fixture
def uses(monkeypatch):
    """What has been done with each random key: list of (key, how). Each entry may be there once.

    A key is used up by drawing or by splitting. `fold_in` makes one key per number; with a number
    of a loop or vmap it counts as a use of its own.
    """
    found = []

    def record(name, key, *args):
        if isinstance(key, jax.core.Tracer):
            return  # made by a recorded fold_in
        number = args[0] if name == "fold_in" else None
        if number is not None and not isinstance(number, jax.core.Tracer):
            how = int(number)
        else:
            how = "used up"
        with jax.ensure_compile_time_eval():
            found.append((tuple(jax.random.key_data(key).tolist()), how))

    names = ("split", "fold_in", "normal", "uniform", "randint", "permutation", "categorical")
    for name in names:
        original = getattr(jax.random, name)

        def wrapped(key, *args, name=name, original=original, **kwargs):
            record(name, key, *args)
            return original(key, *args, **kwargs)

        monkeypatch.setattr(jax.random, name, wrapped)
    return found


STOCHASTIC = {"sampler": "ddpm", "sampler_calls": 5}


@EVERY_LEARNER
def test_every_random_number_has_its_own_key(name, uses):
    """In the draws of three updates, their batches and evaluations, no key is used twice."""
    has_sampler = hasattr(tiny_settings(name), "sampler")
    learner = tiny_learner(name, **(STOCHASTIC if has_sampler else {}))
    state = compiled(name)[2]
    states = [state.replace(step=jnp.asarray(count)) for count in range(3)]
    del uses[:]
    keys = []
    for each in states:
        keys += [base.update_key(each, each.step), base.batch_key(each, each.step)]
        keys.append(base.evaluation_key(each))
    del uses[:]
    for key in keys[1::3]:  # what becomes of the batch's keys
        jax.random.randint(key, (1,), 0, 9)
    for each, key in zip(states, keys[::3], strict=True):
        learner.draw(key, learner.draw_params(each), BATCH)
    for each, key in zip(states, keys[2::3], strict=True):
        learner.act(learner.policy_params(each), BATCH.observation, key)
    assert len(uses) > 3 or name in ("bc", "td3_bc", "iql", "crr", "fql")
    used_up = {key for key, how in uses if how == "used up"}
    assert len(set(uses)) == len(uses)
    assert not used_up & {key for key, how in uses if how != "used up"}


@EVERY_LEARNER
def test_draws_change_with_the_step_and_hold_no_number_twice(name):
    learner, _, state = compiled(name)
    keys = (base.update_key(state, jnp.asarray(count)) for count in (0, 1))
    first, second = (learner.draw(key, learner.draw_params(state), BATCH) for key in keys)
    arrays = [np.asarray(leaf).ravel() for leaf in jax.tree.leaves((first, second))]
    numbers = np.concatenate([a for a in arrays if a.dtype == np.float32] or [np.zeros(0)])
    inside = numbers[np.abs(numbers) < 1.0]  # actions at the edge of the box are alike
    assert len(np.unique(inside)) == len(inside)
    integers = [leaf for leaf in jax.tree.leaves(first) if leaf.dtype == jnp.int32]
    assert all(np.all(leaf >= 0) for leaf in integers)


@EVERY_LEARNER
def test_draws_ahead_see_what_the_update_would(name):
    """Between two multiples of `draws_ahead` the parameters of `draw` stand still, or it does not
    look at them."""
    learner, update, state = compiled(name)
    fresh = lambda state: jax.tree.map(jnp.copy, learner.draw_params(state))  # noqa: E731
    looked_at = depends_on_parameters(learner, state)
    before = fresh(state)
    for count in range(4):
        state, _ = update(state, BATCH, learner.settings)
        moved = not same(before, learner.draw_params(state))
        if (count + 1) % learner.draws_ahead:
            assert not moved or not looked_at
        before = fresh(state)
    assert looked_at == (name in READ_POLICY)
    stands_still = getattr(learner.settings, "ema_period", base.MOST_AHEAD)
    assert learner.draws_ahead == stands_still  # no fewer than could be


READ_POLICY = ("edp_td3", "edp_crr", "edp_cql", "edp_bcq", "diffusion_ql", "dac", "crr")


def depends_on_parameters(learner, state) -> bool:
    params = learner.draw_params(state)
    wrong = jax.tree.map(lambda leaf: jnp.full_like(leaf, jnp.nan), params)
    right, wrong = (learner.draw(state.key, each, BATCH) for each in (params, wrong))
    return not same(right, wrong)
