"""What all learners share: the optimiser, the moving averages, the keys, the shapes."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from edp_jax import InputError, algorithms
from edp_jax.algorithms import base, groups
from edp_jax.networks import Network

from .builders import agent, assert_close, gradient, make_batch, tiny_learner, train_state


def step(loss, params, *, count=0, ensemble=False, **settings):
    """(state, metrics) after the first gradient step on a loss."""
    own = groups.Optimization(**({"learning_rate": 0.1, "grad_clip": 0.0} | settings))
    network = Network(lambda key: jnp.asarray(params), lambda: None, is_ensemble=ensemble)
    opt = base.optimizer(own, count)
    state = base.init_train_state(network, jax.random.key(0), base.optimizer(own))
    return base.gradient_step(lambda p: (loss(p), {"own": 7.0}), state, opt, ensemble=ensemble)


def test_gradient_step():
    """Loss 3 p_0 + 4 p_1 at (1, 1): Adam's first step is the learning rate downhill."""
    state, metrics = step(lambda p: 3 * p[0] + 4 * p[1], [1.0, 1.0])
    assert_close(state.params, [0.9, 0.9])
    assert_close(gradient(state), [3.0, 4.0])
    assert_close(metrics, {"loss": 7.0, "grad_norm": 5.0, "own": 7.0})
    assert_close(state.target_params, [1.0, 1.0])


def test_adam_adds_its_epsilon_to_the_size_of_a_gradient():
    """g / (|g| + 1e-8) at g = 1e-8 is one half."""
    state, _ = step(lambda p: 1e-8 * p.sum(), [1.0])
    assert_close(state.params, [1.0 - 0.1 / 2], atol=1e-4)


@pytest.mark.parametrize(("grad_clip", "scale"), [(1.0, 0.2), (5.0, 1.0), (9.0, 1.0), (0.0, 1.0)])
def test_clipping_keeps_the_direction(grad_clip, scale):
    """The gradient (3, 4) has the norm 5; the metric is that of before."""
    state, metrics = step(lambda p: 3 * p[0] + 4 * p[1], [1.0, 1.0], grad_clip=grad_clip)
    assert_close(gradient(state), [3.0 * scale, 4.0 * scale])
    assert_close(metrics["grad_norm"], 5.0)


def test_members_of_an_ensemble_are_clipped_each_on_its_own():
    """Norms 5 and 0.5; the metric is the larger."""
    slopes = jnp.array([[3.0, 4.0], [0.3, 0.4]])
    loss = lambda p: jnp.sum(p * slopes)  # noqa: E731
    state, metrics = step(loss, jnp.ones((2, 2)), grad_clip=1.0, ensemble=True)
    assert_close(gradient(state), [[0.6, 0.8], [0.3, 0.4]])
    assert_close(metrics["grad_norm"], 5.0)
    assert optax.tree.get(state.opt_state, "count").shape == (2,)


def test_weight_decay_shrinks_parameters():
    """AdamW: the step gains -lr * decay * p, here 0.1 * 0.5 * (1, -2)."""
    state, _ = step(lambda p: p.sum(), [1.0, -2.0], weight_decay=0.5)
    assert_close(state.params, [1.0 - 0.1 - 0.05, -2.0 - 0.1 + 0.1])


@pytest.mark.parametrize(("count", "share"), [(0, 1.0), (50, 0.5), (100, 0.0), (150, 0.0)])
def test_the_learning_rate_falls_as_a_cosine(count, share):
    state, _ = step(lambda p: p.sum(), [1.0], count=count, lr_decay_steps=100)
    assert_close(state.params, [1.0 - 0.1 * share])
    state, _ = step(lambda p: p.sum(), [1.0], count=count)
    assert_close(state.params, [0.9])


def test_polyak_averaging():
    state = train_state(groups.Optimization(), {"p": [1.0]}, {"p": [5.0]})
    assert_close(base.update_target(state, 0.25).target_params["p"], [0.75 * 5.0 + 0.25])


@pytest.mark.parametrize(
    ("step", "tau"),
    [(1, 0.0), (4, 0.0), (5, 1.0), (10, 1.0), (11, 0.0), (15, 0.005), (16, 0.0), (20, 0.005)],
)
def test_the_policys_average_starts_and_steps_when_told(step, tau):
    """Period 5, start 10: a copy of the policy up to update 10, then every fifth update."""
    average = groups.Average(tau=0.005, ema_period=5, ema_start=10)
    assert_close(base.policy_tau(average, jnp.asarray(step)), tau)


@pytest.mark.parametrize(
    ("step", "tau"), [(10, 1.0), (1000, 0.02), (1250, 0.02), (1255, 25 / 1255), (5000, 0.005)]
)
def test_the_policys_average_gets_slower_as_training_gets_longer(step, tau):
    """Share 0.2, period 5: 5 / (0.2 n) = 25 / n after n updates, once that is below tau."""
    average = groups.Average(tau=0.02, ema_period=5, ema_start=10, ema_share=0.2)
    assert_close(base.policy_tau(average, jnp.asarray(step)), tau)


def test_with_a_share_policies_count_by_a_power_of_their_update():
    """Weights in proportion to m^4 up to n = 4000, the share 0.2: the mean of m is 5/6 n.

    Where the parameter after update m is m itself, that mean is the average.
    """
    average = groups.Average(tau=0.02, ema_period=5, ema_start=10, ema_share=0.2)
    mean = jnp.zeros(())
    for step in range(5, 4001, 5):
        mean += base.policy_tau(average, jnp.asarray(step)) * (step - mean)
    assert_close(mean, 4000 * 5 / 6, rtol=2e-3)


@pytest.mark.parametrize(
    ("period", "ahead"), [(1, 1), (2, 2), (5, 5), (7, 7), (8, 8), (9, 3), (11, 1), (12, 6), (16, 8)]
)
def test_draws_ahead_is_the_largest_divisor_of_the_period_up_to_eight(period, ahead):
    assert base.draws_ahead(groups.Average(ema_period=period)) == ahead


def test_networks_begin_apart():
    """Every network has a key of its own, and so has the state."""
    seen = []

    def network(key):
        seen.append(jax.random.key_data(key).tolist())
        return {"p": jax.random.normal(key, (2,))}

    networks = {name: Network(network, lambda: None) for name in ("first", "second", "third")}
    init = base.make_init(groups.Optimization(), networks, without_average=("second",))
    state = init(jax.random.key(0))
    seen.append(jax.random.key_data(state.key).tolist())
    assert len({tuple(key) for key in seen}) == 4
    assert int(state.step) == 0 and list(state.networks) == ["first", "second", "third"]
    assert state.networks["second"].target_params is None
    first = state.networks["first"]
    assert_close(first.target_params, first.params)
    assert first.target_params["p"] is not first.params["p"]  # can be donated both


def test_keys_of_a_step_are_different():
    """Those of an update, its batch and the evaluation before it; they change with the step."""
    keys = []
    for count in (0, 1, 2):
        state = agent(count)
        found = base.update_key(state, state.step), base.batch_key(state, state.step)
        keys += [jax.random.key_data(key).tolist() for key in (*found, base.evaluation_key(state))]
    assert len({tuple(key) for key in keys}) == 9


def test_finish_counts_the_update_and_names_the_metrics():
    first, second = (train_state(groups.Optimization(), {"p": [p]}) for p in (1.0, 2.0))
    state, metrics = base.finish(agent(4, a=first, b=first), b=(second, {"loss": 3.0}))
    assert int(state.step) == 5 and metrics == {"b/loss": 3.0}
    assert state.networks["a"] is first and state.networks["b"] is second


def test_update_step_draws_for_its_step_and_from_its_parameters():
    """`draw` gets update_key(state, step) and draw_params(state); `update` gets what it drew."""
    learner = tiny_learner("bc")
    state = agent(3, actor=train_state(learner.settings, {"p": [1.0]}, {"p": [5.0]}))
    spying = learner._replace(
        draw=lambda key, params, batch: ("drawn", key, params, batch.reward),
        update=lambda state, batch, settings, draws: (state, batch, settings, draws),
    )
    batch = make_batch()
    given_state, given_batch, own, (word, key, params, reward) = spying.update_step(
        state, batch, learner.settings
    )
    assert given_state is state and given_batch is batch and own is learner.settings
    assert word == "drawn" and reward is batch.reward
    assert key == base.update_key(state, state.step)
    assert_close(params, {"p": jnp.array([5.0])})


@pytest.mark.parametrize(
    "wrong",
    [{"reward": np.zeros((4, 1), np.float32)}, {"next_observation": np.zeros((4, 2), np.float32)}],
)
def test_batches_of_other_shapes_are_refused(wrong):
    learner = tiny_learner("bc")
    state = learner.init(jax.random.key(0))
    with pytest.raises(AssertionError):
        learner.update_step(state, make_batch(**wrong), learner.settings)


def test_unknown_learners_and_settings_of_others_are_refused():
    with pytest.raises(InputError, match="algorithm 'td4' is unknown: use one of edp, edp_td3, "):
        algorithms.find("td4")
    with pytest.raises(InputError, match="algorithm 'iql': its settings are not a GaussianBC"):
        algorithms.make("iql", algorithms.settings("bc"), None)
