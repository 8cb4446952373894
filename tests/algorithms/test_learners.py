"""What must hold for every learner: its randomness, the settings that it reads, what acts."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.extend import core

from edp_jax import algorithms
from edp_jax.algorithms import base
from edp_jax.settings import Setting, describe, traced_names

from .builders import LEARNERS, SPEC, assert_close, make_batch, same, tiny_learner, tiny_settings

BATCH = make_batch()
EVERY_LEARNER = pytest.mark.parametrize("name", LEARNERS)
ACTS_WITH_NEWEST = ("fql",)
# Read under a condition only, which the test brings about.
READ_WITH = {"ddim_eta": {"sampler": "ddim"}}


def other_value(entry: Setting, value):
    """Another value of a static setting."""
    if entry.name == "sampler":
        return "ddpm"  # the deterministic ones are the same in few steps
    if isinstance(value, bool):
        return not value
    if isinstance(value, str):
        return next(other for other in entry.limits.one_of if other != value)
    return (4, 4) if isinstance(value, tuple) else value + 1


@functools.cache
def learner_of(name: str):
    """(learner, its compiled update, its state): compiled once for all tests here."""
    learner = tiny_learner(name, lr_decay_steps=100)
    learner = learner._replace(draw=jax.jit(learner.draw), act=jax.jit(learner.act))
    return learner, jax.jit(learner.update_step), jax.jit(learner.init)(jax.random.key(0))


def life(learner: algorithms.Algorithm, settings):
    """The program of a whole life: begin, update, act."""

    def program(key, batch):
        state, metrics = learner.update_step(learner.init(key), batch, settings)
        action = learner.act(learner.policy_params(state), batch.observation, key)
        return jax.tree.map(as_data, (state, metrics, action))

    return jax.make_jaxpr(program)(jax.random.key(0), BATCH)


def as_data(leaf):
    is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return jax.random.key_data(leaf) if is_key else leaf


@functools.cache
def fingerprint(name: str, **changes) -> tuple:
    learner = tiny_learner(name, **changes)
    program = life(learner, learner.settings)
    return str(program.jaxpr), [np.asarray(constant).tobytes() for constant in program.consts]


def recording(settings) -> tuple:
    """(the same settings, the set of names that are read from them, which grows)."""
    own, read = type(settings), set()
    names = {entry.name for entry in describe(own)}

    def get(self, name):
        if name in names:
            read.add(name)
        return own.__getattribute__(self, name)

    watched = object.__new__(type(own.__name__, (own,), {"__getattribute__": get}))
    vars(watched).update(vars(settings))
    read.clear()
    return watched, read


@EVERY_LEARNER
def test_every_setting_is_read(name):
    """By what a learner does in a life: it has no setting that it ignores."""
    own = algorithms.find(name)
    changes = {"sampler": "ddim"} if hasattr(tiny_settings(name), "sampler") else {}
    settings, read = recording(tiny_settings(name, **changes))
    life(own.make(settings, SPEC), settings)
    assert read == {entry.name for entry in describe(own.settings)}


STATIC = {  # name -> (a learner that has it, the setting)
    entry.name: (name, entry)
    for name in reversed(LEARNERS)
    for entry in describe(algorithms.find(name).settings)
    if not entry.traced
}


@pytest.mark.parametrize("key", STATIC)
def test_every_static_setting_changes_the_program(key):
    name, entry = STATIC[key]
    condition = READ_WITH.get(key, {})
    value = getattr(tiny_settings(name, **condition), key)
    value = 0.5 if key == "ddim_eta" else other_value(entry, value)
    assert fingerprint(name, **condition, **{key: value}) != fingerprint(name, **condition)


@pytest.mark.parametrize(
    ("name", "condition", "change"),
    [
        ("edp_td3", {}, {"ddim_eta": 0.5}),
        ("edp_td3", {"num_candidates": 1}, {"selection_temperature": 0.5}),
        ("edp_crr", {"crr_weight": "indicator"}, {"crr_beta": 3.0}),
    ],
)
def test_a_setting_is_not_read_where_its_condition_does_not_hold(name, condition, change):
    """And the declaration says so: its `read_with` names the condition."""
    assert fingerprint(name, **condition) == fingerprint(name, **condition, **change)
    own, (key,) = tiny_settings(name, **condition), change
    entries = {entry.name: entry for entry in describe(type(own))}
    conditions = entries[key].read_with.items()
    assert conditions and not all(getattr(own, other) in values for other, values in conditions)


@EVERY_LEARNER
def test_every_traced_setting_changes_the_update(name):
    """The program is the same, so nothing compiles again; the parameters after it are not."""
    learner, update, state = learner_of(name)
    state = state.replace(step=jnp.asarray(1))  # in which TD3+BC's policy moves, too
    if name == "edp_cql":  # a threshold in the middle of what the states have
        own = learner.settings.replace(cql_threshold=0.0)
    else:
        own = learner.settings
    own = own.replace(grad_clip=0.05, weight_decay=0.1)
    first, _ = update(state, BATCH, own)
    names = traced_names(type(own))
    assert {"learning_rate", "weight_decay", "grad_clip"} <= set(names)
    for key in names:
        changed = own.replace(**{key: 0.9 * getattr(own, key) - (key == "cql_threshold")})
        second, _ = update(state, BATCH, changed)
        assert not same(first.networks, second.networks), key
    assert update._cache_size() == 1


@EVERY_LEARNER
def test_sweeping_keeps_the_program_and_static_settings_do_not(name):
    """Settings are a pytree: traced ones are its leaves, static ones its structure."""
    own = tiny_settings(name)
    leaves = jax.tree.leaves(own)
    names = traced_names(type(own))
    assert sorted(leaves) == sorted(getattr(own, key) for key in names)
    swept = own.replace(**{key: 0.25 for key in names})
    assert jax.tree.structure(swept) == jax.tree.structure(own)
    other = own.replace(hidden_dims=(9,))
    assert jax.tree.structure(other) != jax.tree.structure(own)
    assert hash(jax.tree.structure(own)) is not None


@EVERY_LEARNER
def test_all_randomness_of_an_update_is_drawn_before_it(name):
    learner, _, state = learner_of(name)
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
    state = learner_of(name)[2]
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
    learner, _, state = learner_of(name)
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
    learner, update, state = learner_of(name)
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


READ_POLICY = ("edp_td3", "edp_crr", "edp_cql", "edp_bcq", "diffusion_ql", "crr")


def depends_on_parameters(learner, state) -> bool:
    params = learner.draw_params(state)
    wrong = jax.tree.map(lambda leaf: jnp.full_like(leaf, jnp.nan), params)
    right, wrong = (learner.draw(state.key, each, BATCH) for each in (params, wrong))
    return not same(right, wrong)


@EVERY_LEARNER
def test_averages_act_and_draw(name):
    """Never the newest parameters, which are not a number here, but where a learner says so."""
    learner, _, state = learner_of(name)
    if name in ACTS_WITH_NEWEST:
        assert not learner.draw_params(state)
        return
    networks = {
        key: network.replace(params=jax.tree.map(lambda p: p * jnp.nan, network.params))
        for key, network in state.networks.items()
    }
    broken = state.replace(networks=networks)
    assert same(learner.policy_params(broken), learner.policy_params(state))
    assert same(learner.draw_params(broken), learner.draw_params(state))
    action = learner.act(learner.policy_params(broken), BATCH.observation, state.key)
    assert action.shape == BATCH.action.shape
    assert np.all(np.abs(action) <= 1.0)


@pytest.mark.parametrize(
    "name", [name for name in LEARNERS if hasattr(tiny_settings(name), "num_candidates")]
)
def test_critics_choose_the_action(name):
    """With the temperature 0 the critics get their best of the same candidates; with the opposite
    critics the choice is another one."""
    learner = tiny_learner(
        name, num_candidates=16, selection_temperature=0.0, num_critics=1, num_target_critics=0
    )
    params = learner.policy_params(learner.init(jax.random.key(1)))
    last = lambda p: -p if p.shape[-1] == 1 else p  # noqa: E731
    opposite = params | {"critic": jax.tree.map(last, params["critic"])}
    act = jax.jit(learner.act)
    observation = make_batch(64).observation
    liked, disliked = (act(each, observation, jax.random.key(2)) for each in (params, opposite))
    critics = algorithms.edp.make_critics(learner.settings, SPEC)
    q = [critics.apply(params["critic"], observation, each)[0] for each in (liked, disliked)]
    assert np.all(q[0] >= q[1]) and np.mean(q[0] > q[1]) > 0.9


@EVERY_LEARNER
def test_an_update_moves_every_network_and_the_learning_rate_falls(name):
    """It is 0 from update 100 on, and then nothing moves."""
    learner, update, start = learner_of(name)
    for count, moves in ((51, True), (101, False)):  # odd: TD3+BC's policy moves as well
        new, metrics = update(start.replace(step=jnp.asarray(count)), BATCH, learner.settings)
        assert all(np.all(np.isfinite(value)) for value in metrics.values())
        assert int(new.step) == count + 1 and new.key == start.key
        for key, state in new.networks.items():
            change = optax.tree.sub(state.params, start.networks[key].params)
            assert (optax.tree.norm(change, ord="inf") > 1e-5) == moves, key


@EVERY_LEARNER
def test_an_update_is_a_pure_function(name):
    learner, update, state = learner_of(name)
    first, second = (update(state, BATCH, learner.settings) for _ in range(2))
    assert_close(jax.tree.map(as_data, first), jax.tree.map(as_data, second), rtol=0, atol=0)


@pytest.mark.parametrize("name", ["edp_crr", "edp_iql"])
@pytest.mark.parametrize("likelihood", ["gaussian", "learned_std", "elbo"])
def test_the_likelihood_reaches_the_policy(name, likelihood):
    """Only a learned spread has parameters for it."""
    learner = tiny_learner(name, likelihood=likelihood)
    params = jax.eval_shape(learner.init, jax.random.key(0)).networks["actor"].params
    assert ("log_std" in params) == (likelihood == "learned_std")


@EVERY_LEARNER
def test_settings_are_a_frozen_dataclass_of_the_learner(name):
    own = algorithms.settings(name)
    assert type(own) is algorithms.find(name).settings
    with pytest.raises(dataclasses.FrozenInstanceError):
        own.learning_rate = 1.0
    learner = algorithms.make(name, tiny_settings(name), SPEC)
    assert learner.settings == tiny_settings(name)
