"""What must hold for every learner: which settings it reads, what acts, what an update moves."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from edp_jax import algorithms
from edp_jax.algorithms import TrainState, trust
from edp_jax.settings import Setting, describe, traced_names

from .builders import (
    BATCH,
    EVERY_LEARNER,
    LEARNERS,
    REMEMBERED,
    SPEC,
    as_data,
    assert_close,
    compiled,
    make_batch,
    same,
    tiny_learner,
    tiny_settings,
)

ACTS_WITH_NEWEST = ("fql",)
# Read under a condition only, which the test brings about.
READ_WITH = {"ddim_eta": {"sampler": "ddim"}}


def other_value(entry: Setting, value):
    """Another value of a static setting."""
    if entry.name == "holdout":
        return 0.0  # the data say how large the share is, the learner only whether there is one
    if entry.name == "sampler":
        return "ddpm"  # the deterministic ones are the same in few steps
    if isinstance(value, bool):
        return not value
    if isinstance(value, str):
        return next(other for other in entry.limits.one_of if other != value)
    if entry.limits.at_most is not None and isinstance(value, float):
        return 0.9 * value
    return (4, 4) if isinstance(value, tuple) else value + 1


def life(learner: algorithms.Algorithm, settings):
    """The program of a whole life: begin, update, act."""

    def program(key, batch):
        state, metrics = learner.update_step(learner.init(key), batch, settings)
        action = learner.act(learner.policy_params(state), batch.observation, key)
        return jax.tree.map(as_data, (state, metrics, action))

    return jax.make_jaxpr(program)(jax.random.key(0), BATCH)


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
    learner, update, state = compiled(name)
    state = state.replace(step=jnp.asarray(1))  # in which TD3+BC's policy moves, too
    if name == "edp_cql":  # a threshold in the middle of what the states have
        own = learner.settings.replace(cql_threshold=0.0)
    elif name == "dac":  # just above the loss: the first step of Adam only tells above from below
        loss = update(state, BATCH, learner.settings)[1]["actor/denoising_loss"]
        own = learner.settings.replace(denoising_threshold=1.05 * float(loss))
    else:
        own = learner.settings
    own = own.replace(grad_clip=0.05, weight_decay=0.1)
    if name == "edp":  # critics that do as well on held-out episodes, since it follows only such
        good = TrainState(trust.Errors(*jnp.ones(3)), None, ())
        state = state.replace(networks=state.networks | {trust.ERRORS: good})
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
def test_averages_act_and_draw(name):
    """Never the newest parameters, which are not a number here, of a network that has an average;
    but where a learner says so."""
    learner, _, state = compiled(name)
    if name in ACTS_WITH_NEWEST:
        assert not learner.draw_params(state)
        return
    networks = {
        key: network.replace(params=jax.tree.map(lambda p: p * jnp.nan, network.params))
        for key, network in state.networks.items()
        if network.target_params is not None
    }
    broken = state.replace(networks=state.networks | networks)
    assert same(learner.policy_params(broken), learner.policy_params(state))
    assert same(learner.draw_params(broken), learner.draw_params(state))
    action = learner.act(learner.policy_params(broken), BATCH.observation, state.key)
    assert action.shape == BATCH.action.shape
    assert np.all(np.abs(action) <= 1.0)


@pytest.mark.parametrize(
    "name", [name for name in LEARNERS if hasattr(tiny_settings(name), "selection_temperature")]
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
    learner, update, start = compiled(name)
    for count, moves in ((51, True), (101, False)):  # odd: TD3+BC's policy moves as well
        new, metrics = update(start.replace(step=jnp.asarray(count)), BATCH, learner.settings)
        assert all(np.all(np.isfinite(value)) for value in metrics.values())
        assert int(new.step) == count + 1 and new.key == start.key
        for key, state in new.networks.items():
            if key in REMEMBERED:
                continue
            change = optax.tree.sub(state.params, start.networks[key].params)
            assert (optax.tree.norm(change, ord="inf") > 1e-5) == moves, key


@EVERY_LEARNER
def test_an_update_is_a_pure_function(name):
    learner, update, state = compiled(name)
    first, second = (update(state, BATCH, learner.settings) for _ in range(2))
    assert_close(jax.tree.map(as_data, first), jax.tree.map(as_data, second), rtol=0, atol=0)


@pytest.mark.parametrize("name", ["edp_crr", "edp_iql"])
@pytest.mark.parametrize("likelihood", ["gaussian", "learned_std", "elbo", "noise"])
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
