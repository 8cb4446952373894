"""Action chunks, for every learner: nothing behind an episode's end is ever trained on."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from edp_jax import algorithms, data
from edp_jax.algorithms import edp
from edp_jax.types import TaskSpec

from .builders import (
    EVERY_LEARNER,
    REMEMBERED,
    as_data,
    assert_close,
    make_batch,
    same,
    tiny_settings,
)

SPEC = TaskSpec(observation_dim=3, action_dim=2, horizon=3)
# A whole chunk, one whose task ended in its second step, two that were cut, one of padding alone.
VALID = np.array([[1, 1, 1], [1, 1, 0], [1, 1, 0], [1, 0, 0], [0, 0, 0]], np.float32)
DISCOUNT = np.array([1, 0, 1, 1, 1], np.float32)
BATCH = make_batch(5, SPEC.for_learner, valid=VALID, discount=DISCOUNT)


@functools.cache
def compiled(name: str):
    """(learner, its draws for BATCH, its compiled update of (state, batch, draws), its state).

    One update is done, as it were: TD3+BC moves its policy in every second one.
    """
    learner = algorithms.make(name, tiny_settings(name, weight_decay=0.0), SPEC)
    state = jax.jit(learner.init)(jax.random.key(0)).replace(step=jnp.asarray(1))
    draws = jax.jit(learner.draw)(jax.random.key(1), learner.draw_params(state), BATCH)
    update = jax.jit(
        lambda state, batch, draws: learner.update(state, batch, learner.settings, draws)
    )
    return learner, draws, update, state


def take(tree, rows):
    """The given rows of arrays that have as many as BATCH, on whichever axis; others unchanged."""

    def of_leaf(leaf):
        axes = [axis for axis, size in enumerate(jnp.shape(leaf)) if size == BATCH.size]
        return jnp.take(leaf, jnp.array(rows), axis=axes[0]) if axes else leaf

    return jax.tree.map(of_leaf, tree)


EVERY_ROW = [0, 1, 2, 3, 4] * 4  # updates are of 20 rows in all tests: they share one program


def behind(batch):
    """[B, A] whether an entry lies behind the end."""
    return np.asarray(batch.recorded) == 0


@EVERY_LEARNER
def test_what_stands_behind_the_end_changes_nothing(name):
    """Not even where it is no number: two updates leave the same bits."""
    learner, draws, update, state = compiled(name)
    other = BATCH.replace(action=np.where(behind(BATCH), np.nan, BATCH.action))
    assert np.isnan(other.action).sum() == 2 * 7
    first = second = state
    batch, same_but_behind, all_draws = (take(tree, EVERY_ROW) for tree in (BATCH, other, draws))
    for _ in range(2):
        (first, metrics), (second, other_metrics) = (
            update(first, batch, all_draws),
            update(second, same_but_behind, all_draws),
        )
    assert same(jax.tree.map(as_data, first), jax.tree.map(as_data, second))
    assert same(metrics, other_metrics)
    assert all(np.isfinite(value) for value in metrics.values())
    assert not same(state.networks, first.networks)
    drawn = jax.jit(learner.draw)(jax.random.key(1), learner.draw_params(state), other)
    assert same(drawn, draws)


@EVERY_LEARNER
def test_a_row_of_padding_is_as_good_as_none(name):
    """The batch of rows 0, 1, 2, 3 and padding has the losses of 0, 1, 2, 3 and of each twice."""
    _, draws, update, state = compiled(name)
    rows = [0, 1, 2, 3] * 5  # 20 rows, each five times
    padded = [0, 1, 2, 3] + [4] * 16
    results = [update(state, take(BATCH, which), take(draws, which))[0] for which in (rows, padded)]
    learned = [
        {key: network for key, network in result.networks.items() if key not in REMEMBERED}
        for result in results
    ]
    assert_close(*learned, atol=2e-6)


@EVERY_LEARNER
def test_a_row_that_was_cut_trains_no_value_and_only_the_recorded_action(name):
    """Every row is the one whose recording was cut after one step. Networks of values stay as they
    are; in the last layer of a policy only what belongs to that step moves."""
    _, draws, update, state = compiled(name)
    cut = [3] * 20
    new = update(state, take(BATCH, cut), take(draws, cut))[0]
    for network, before in state.networks.items():
        after = new.networks[network]
        if network in ("dual", *REMEMBERED):  # DAC's weight of imitation
            continue
        if network in ("critic", "value"):
            assert same(before.params, after.params)
            continue
        layers = jax.tree.leaves_with_path(
            jax.tree.map(lambda x, y: x != y, before.params, after.params)
        )
        last = [moved for _, moved in layers if moved.shape[-1] == SPEC.for_learner.action_dim]
        assert last and not any(moved[..., SPEC.action_dim :].any() for moved in last)
        imitates = name not in ("crr", "iql")  # these weight every action by a value
        assert any(moved[..., : SPEC.action_dim].any() for moved in last) == imitates


@pytest.mark.parametrize("name", ["edp_td3", "fql"])
def test_a_row_whose_task_ended_trains_its_value(name):
    _, draws, update, state = compiled(name)
    ended = [1] * 20
    new = update(state, take(BATCH, ended), take(draws, ended))[0]
    assert not same(state.networks["critic"].params, new.networks["critic"].params)


def test_actions_behind_the_end_are_random_and_new_in_every_update():
    learner, draws, _, state = compiled("bc")
    drawn = draws.behind
    assert drawn.shape == (5, 6) and np.abs(drawn).max() <= 1 and np.std(drawn) > 0.4
    again = learner.draw(jax.random.key(2), learner.draw_params(state), BATCH).behind
    assert not np.isclose(drawn, again).any()


def test_a_batch_of_single_actions_is_refused():
    learner = algorithms.make("bc", tiny_settings("bc"), SPEC)
    state = learner.init(jax.random.key(0))
    with pytest.raises(AssertionError):
        learner.update_step(state, make_batch(5, SPEC.for_learner), learner.settings)


def test_a_policy_chooses_whole_chunks():
    learner, *_, state = compiled("edp_td3")
    action = learner.act(learner.policy_params(state), jnp.zeros((4, 3)), jax.random.key(0))
    assert action.shape == (4, 3 * 2)


@pytest.mark.slow
def test_critics_find_the_values_of_chunks():
    """A walk 0, 1, 2, 3 that pays its observation, then ends; gamma is 0.5, chunks are of three.

    V(3) = 3, V(2) = 2 + 3/2, V(1) = 1 + 2/2 + 3/4, V(0) = 0 + 1/2 + 2/4 + V(3)/8. The chunks that
    begin at 2 and 3 reach behind the end, and that at 0 ends where only such a chunk begins."""
    steps = np.arange(256)
    rng = np.random.default_rng(0)
    raw = data.RawDataset(
        observations=(steps % 4)[:, None].astype(np.float32),
        actions=rng.uniform(-1, 1, (256, 1)).astype(np.float32),
        rewards=(steps % 4).astype(np.float32),
        terminals=steps % 4 == 3,
        timeouts=np.zeros(256, bool),
    )
    dataset = data.prepare(
        data.find_task("mine.npz"), raw, {}, data.Preprocessing(horizon=3, discount=0.5)
    )
    settings = algorithms.settings(
        "td3_bc", hidden_dims=(32,), learning_rate=3e-3, tau=0.1, discount=0.5
    )
    learner = algorithms.make("td3_bc", settings, dataset.spec)
    transitions = jax.tree.map(jnp.asarray, dataset.transitions)

    @jax.jit
    def train():
        def step(state, _):
            index = jax.random.randint(jax.random.fold_in(state.key, state.step), (64,), 0, 256)
            batch = jax.tree.map(lambda column: column[index], transitions)
            return learner.update_step(state, batch, settings)[0], None

        return jax.lax.scan(step, learner.init(jax.random.key(0)), length=800)[0]

    state = train()
    critics = edp.make_critics(settings, dataset.spec.for_learner)
    chunks = rng.uniform(-1, 1, (64, 3)).astype(np.float32)
    found = [
        critics.apply(state.networks["critic"].params, jnp.full((64, 1), s), chunks).mean()
        for s in (0.0, 1.0, 2.0, 3.0)
    ]
    np.testing.assert_allclose(found, [1.375, 2.75, 3.5, 3.0], atol=0.15)
