"""EDP-TD3: the target, the two losses, what moves which parameters, and when."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from edp_jax import algorithms, diffusion
from edp_jax.algorithms import AgentState, AlgorithmConfig, Hypers, base, edp, td3
from edp_jax.networks import Network
from edp_jax.policy import Corruption, DiffusionPolicy
from edp_jax.types import InputError, TaskSpec, Transition

SPEC = TaskSpec(observation_dim=3, action_dim=2)
CONFIG = AlgorithmConfig(
    hidden_dims=(8,),
    num_timesteps=5,
    sampler="dpm_solver_1",
    sampler_calls=2,
    ema_start=0,
    ema_period=1,
)
BATCH = Transition(
    observation=jnp.linspace(-1.0, 1.0, 12).reshape(4, 3),
    action=jnp.linspace(-0.9, 0.9, 8).reshape(4, 2),
    reward=jnp.array([1.0, -1.0, 0.5, 2.0]),
    discount=jnp.array([1.0, 1.0, 0.0, 1.0]),
    next_observation=jnp.linspace(1.0, -1.0, 12).reshape(4, 3),
)


def linear_q(params, observation, action):
    return jnp.einsum("...a,na->n...", action, params["w"]) + observation[..., 0]


# Q_i(s, a) = a . w_i + s_0, and a noise prediction that is the same number everywhere: small enough to work out by hand.
LINEAR_CRITICS = Network(None, linear_q)
CONSTANT_NOISE = Network(
    None, lambda params, observation, x_t, t: params["eps"] + jnp.zeros_like(x_t)
)


def linear_setting(config=CONFIG):
    """(update, state) of one-row batches: w_1 = (1, 0), w_2 = (0, 1) in the targets, doubled online; eps = 0.5."""
    schedule = diffusion.make_schedule(config.schedule, config.num_timesteps)
    opt = base.optimizer(config, Hypers())
    critic = base.init_train_state({"w": 2.0 * jnp.eye(2)}, opt, ensemble=True).replace(
        target_params={"w": jnp.eye(2)}
    )
    actor = base.init_train_state({"eps": jnp.array([0.5, 0.5])}, opt)
    update = td3.make_update(
        config, DiffusionPolicy(CONSTANT_NOISE, schedule, None), LINEAR_CRITICS
    )
    return update, AgentState(jnp.zeros((), jnp.int32), jax.random.key(0), actor, critic)


def linear_batch(action=(0.45, 0.5), discount=1.0) -> Transition:
    """One transition of reward 1 from s_0 = 0 to s_0 = 10."""
    next_observation = jnp.array([[10.0, 0.0, 0.0]])
    return Transition(
        jnp.zeros((1, 3)),
        jnp.array([action]),
        jnp.array([1.0]),
        jnp.array([discount]),
        next_observation,
    )


def linear_draws(target_actions, guide=0, noise=(0.0, 1.0)) -> td3.Draws:
    corruption = Corruption(jnp.array([0]), jnp.array([noise]))
    target = edp.TargetDraws(jnp.asarray(target_actions, jnp.float32)[:, None], None)
    return td3.Draws(corruption, target, jnp.asarray(guide), jax.random.key(1))


@pytest.mark.parametrize(
    "candidates, discount, target",
    [
        # one action: 1 + 0.9 (min(0.5, -0.2) + 10)
        ([[0.5, -0.2]], 1.0, 9.82),
        # two: each critic takes its best, max(0.5, -0.3) and max(-0.2, 0.4), and then the smaller: 1 + 0.9 (0.4 + 10)
        # (the best of the smaller values would be 1 + 0.9 (max(-0.2, -0.3) + 10) = 9.82)
        ([[0.5, -0.2], [-0.3, 0.4]], 1.0, 10.36),
        # a true terminal: the reward alone
        ([[0.5, -0.2], [-0.3, 0.4]], 0.0, 1.0),
    ],
)
def test_target_by_hand(candidates, discount, target):
    update, state = linear_setting(dataclasses.replace(CONFIG, num_backup_actions=len(candidates)))
    _, metrics = update(
        state, linear_batch(discount=discount), Hypers(discount=0.9), linear_draws(candidates)
    )
    np.testing.assert_allclose(metrics["critic/target_mean"], target, rtol=1e-6)
    # online Q(s, a) = 2 (0.45, 0.5): sum_i (Q_i - target)^2
    np.testing.assert_allclose(
        metrics["critic/loss"], (0.9 - target) ** 2 + (1.0 - target) ** 2, rtol=1e-5
    )


@pytest.mark.parametrize(
    "guide, action, noise",
    [(0, (0.45, 0.5), (0.0, 1.0)), (1, (0.45, 0.5), (0.0, 1.0)), (0, (0.9, 0.5), (1.0, 0.0))],
)
def test_policy_losses_by_hand(guide, action, noise):
    """The action comes back off by sqrt(1/abar - 1) (noise - eps), eps = 0.5, and in the last case leaves the box."""
    update, state = linear_setting()
    _, metrics = update(
        state, linear_batch(action), Hypers(eta=3.0), linear_draws([[0.0, 0.0]], guide, noise)
    )
    np.testing.assert_allclose(
        metrics["actor/denoising_loss"], 0.25, rtol=1e-6
    )  # (0.5^2 + 0.5^2)/2
    abar = np.exp(-0.1 / 5 - 0.5 * 9.9 / 25)  # vp, K = 5, k = 1
    approximated = np.array(action) + np.sqrt(1 / abar - 1) * (np.array(noise) - 0.5)
    q = 2.0 * np.clip(approximated, -1.0, 1.0)[guide]
    np.testing.assert_allclose(metrics["actor/q_mean"], q, rtol=1e-5)
    np.testing.assert_allclose(
        metrics["actor/guidance_loss"], -3.0 * np.sign(q), rtol=1e-6
    )  # one row: -eta q/|q|


def test_target_actions_are_the_averaged_policys_at_the_next_observation():
    """One sampling chain, from the parameters an update hands to `draw`."""
    algorithm, asked = algorithms.make("td3", CONFIG, SPEC), []
    state = algorithm.init(jax.random.key(0))
    recording = algorithm._replace(
        draw=lambda key, params, batch: (
            asked.append((params, batch)) or algorithm.draw(key, params, batch)
        )
    )
    jax.eval_shape(lambda: recording.update_step(state, BATCH, Hypers()))
    assert len(asked) == 1 and asked[0][0] is state.actor.target_params
    policy, key = edp.make_policy(CONFIG, SPEC), jax.random.key(1)
    draws = edp.draw_targets(key, CONFIG, policy, state.actor.target_params, BATCH)
    x_T_key, chain_key, _ = jax.random.split(key, 3)
    x_T = jax.random.normal(x_T_key, (1, 4, 2))
    expected = policy.sample(state.actor.target_params, BATCH.next_observation, x_T, chain_key)
    np.testing.assert_allclose(draws.next_action, expected, rtol=1e-6)


def test_guidance_moves_the_policy_and_not_the_critics():
    """The denoising loss raises both components of eps = 0.5 to the noise (1, 1); the guide lowers its own to raise its Q."""
    update, state = linear_setting()
    updated = [
        update(
            state,
            linear_batch(),
            Hypers(eta=eta),
            linear_draws([[0.0, 0.0]], guide, noise=(1.0, 1.0)),
        )[0]
        for eta, guide in ((0.0, 0), (50.0, 0), (50.0, 1))
    ]
    up, down = 0.5 + 3e-4, 0.5 - 3e-4  # Adam's first step
    for new, eps in zip(updated, ([up, up], [down, up], [up, down]), strict=True):
        np.testing.assert_allclose(new.actor.params["eps"], eps, atol=1e-6)
        jax.tree.map(np.testing.assert_array_equal, new.critic, updated[0].critic)


ENSEMBLE = dataclasses.replace(
    CONFIG, num_critics=5, num_backup_actions=3, critic_layer_norm=True, num_candidates=4
)


@pytest.fixture(scope="module")
def learner():
    """(update, draws, state) of small real networks with five critics and max-Q backup, compiled once."""
    policy, critics = edp.make_policy(ENSEMBLE, SPEC), edp.make_critics(ENSEMBLE, SPEC)
    state = jax.jit(algorithms.make("td3", ENSEMBLE, SPEC).init)(jax.random.key(0))
    draws = td3.draw(jax.random.key(1), ENSEMBLE, policy, state.actor.target_params, BATCH)
    return jax.jit(td3.make_update(ENSEMBLE, policy, critics)), draws, state


def largest(tree) -> float:
    return max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(tree))


def difference(left, right):
    return jax.tree.map(jnp.subtract, left, right)


def test_update_is_a_pure_function(learner):
    update, draws, state = learner
    first, second = (update(state, BATCH, Hypers(), draws) for _ in range(2))
    as_arrays = lambda state: state.replace(key=jax.random.key_data(state.key))  # noqa: E731
    jax.tree.map(np.testing.assert_array_equal, as_arrays(first[0]), as_arrays(second[0]))
    jax.tree.map(np.testing.assert_array_equal, first[1], second[1])
    assert int(first[0].step) == int(state.step) + 1
    for after, before in ((first[0].actor, state.actor), (first[0].critic, state.critic)):
        assert largest(difference(after.params, before.params)) > 1e-4


def test_targets_follow_by_polyak_averaging(learner):
    update, draws, state = learner
    new, _ = update(state, BATCH, Hypers(tau=0.25), draws)
    for after, before in ((new.actor, state.actor), (new.critic, state.critic)):
        expected = jax.tree.map(
            lambda target, params: 0.75 * target + 0.25 * params, before.target_params, after.params
        )
        jax.tree.map(partial(np.testing.assert_allclose, atol=1e-6), after.target_params, expected)


def test_weight_decay_shrinks_every_network(learner):
    """AdamW: the step gains -lr * decay * params."""
    update, draws, state = learner
    plain, decayed = (
        update(state, BATCH, Hypers(learning_rate=1e-3, weight_decay=decay), draws)[0]
        for decay in (0.0, 0.5)
    )
    for name in ("actor", "critic"):
        shrunk = difference(getattr(decayed, name).params, getattr(plain, name).params)
        expected = jax.tree.map(lambda p: -1e-3 * 0.5 * p, getattr(state, name).params)
        jax.tree.map(partial(np.testing.assert_allclose, atol=2e-7), shrunk, expected)


@pytest.mark.parametrize("grad_clip", [0.0, 5.0])
def test_learning_rate_decay_reaches_every_network(grad_clip):
    """Cosine: full at step 0, half at half time, none at the end; clipping on or off."""
    update, state = linear_setting(dataclasses.replace(CONFIG, lr_decay_steps=100))
    for step, share in ((0, 1.0), (50, 0.5), (100, 0.0), (150, 0.0)):
        start = state.replace(step=jnp.asarray(step))
        new, _ = update(
            start, linear_batch(), Hypers(grad_clip=grad_clip), linear_draws([[0.5, -0.2]])
        )
        # the first step of Adam has the length of the learning rate
        for after, before in ((new.actor, state.actor), (new.critic, state.critic)):
            np.testing.assert_allclose(
                largest(difference(after.params, before.params)), 3e-4 * share, atol=3e-7
            )


@pytest.mark.parametrize("grad_clip, norms", [(1.0, (1.0, 0.5)), (0.0, (5.0, 0.5))])
def test_clipping_is_per_critic_and_zero_switches_it_off(grad_clip, norms):
    """Gradients (3, 4) and (0.3, 0.4) of the two members, norms 5 and 0.5; Adam's first moment is 0.1 of the clipped ones."""
    gradients = jnp.array([[3.0, 4.0], [0.3, 0.4]])
    opt = base.optimizer(CONFIG, Hypers(grad_clip=grad_clip))
    state = base.init_train_state(jnp.zeros((2, 2)), opt, ensemble=True)
    new, metrics = base.gradient_step(
        lambda params: (jnp.sum(params * gradients), {}), state, opt, ensemble=True
    )
    moments = optax.tree_utils.tree_get(new.opt_state, "mu")
    np.testing.assert_allclose(10.0 * np.linalg.norm(moments, axis=-1), norms, rtol=1e-5)
    np.testing.assert_allclose(
        metrics["grad_norm"], 5.0, rtol=1e-6
    )  # as it was before clipping, the largest of the ensemble


@pytest.mark.parametrize(
    "step, tau",
    [
        (1, 0.0),
        (4, 0.0),
        (5, 1.0),
        (10, 1.0),
        (11, 0.0),
        (14, 0.0),
        (15, 0.005),
        (16, 0.0),
        (20, 0.005),
    ],
)
def test_moving_average_starts_and_steps_when_told(step, tau):
    """Period 5, start 10: a copy of the policy up to update 10, then an average every fifth update."""
    config = dataclasses.replace(CONFIG, ema_period=5, ema_start=10)
    np.testing.assert_allclose(base.policy_tau(config, Hypers(tau=0.005), jnp.asarray(step)), tau)


def test_one_network_pass_serves_both_policy_losses():
    """EDP Eq. 10; the target actions are drawn before, so every pass counted is the policy loss's."""
    passes = []
    policy = edp.make_policy(CONFIG, SPEC)

    def apply(*args):
        passes.append(args)
        return policy.network.apply(*args)

    counted = DiffusionPolicy(Network(policy.network.init, apply), policy.schedule, policy.sampler)
    update = td3.make_update(CONFIG, counted, edp.make_critics(CONFIG, SPEC))
    state = algorithms.make("td3", CONFIG, SPEC).init(jax.random.key(0))
    draws = td3.draw(jax.random.key(0), CONFIG, policy, state.actor.target_params, BATCH)
    new, _ = jax.eval_shape(update, state, BATCH, Hypers(), draws)
    assert len(passes) == 1
    assert jax.tree.structure(new) == jax.tree.structure(state)


def test_five_critics_with_max_q_backup_learn_and_act(learner):
    algorithm, (_, _, state) = algorithms.make("td3", ENSEMBLE, SPEC), learner
    update_step = jax.jit(algorithm.update_step)
    losses = []
    for _ in range(3):
        state, metrics = update_step(state, BATCH, Hypers())
        losses.append(float(metrics["actor/denoising_loss"]))
    assert all(leaf.shape[0] == 5 for leaf in jax.tree.leaves(state.critic.params))
    assert all(np.all(np.isfinite(value)) for value in metrics.values())
    assert len(set(losses)) == 3  # every update has its own draws
    action = jax.jit(algorithm.act)(
        algorithms.policy_params(state), BATCH.observation, jax.random.key(1)
    )
    assert action.shape == (4, 2) and np.all(np.abs(action) <= 1.0)


def test_draws_cover_timesteps_noise_and_critics():
    policy = edp.make_policy(ENSEMBLE, SPEC)
    batch = jax.tree.map(lambda leaf: jnp.zeros((2000, *leaf.shape[1:])), BATCH)
    params = policy.network.init(jax.random.key(1))
    draws = jax.jit(lambda key: td3.draw(key, ENSEMBLE, policy, params, batch))(jax.random.key(0))
    assert draws.target.next_action.shape == (3, 2000, 2) and np.all(
        np.abs(draws.target.next_action) <= 1
    )
    assert not np.allclose(draws.target.next_action[0], draws.target.next_action[1], atol=0.1)
    frequency = np.bincount(draws.corruption.timestep) / 2000
    assert frequency.shape == (5,) and np.all(
        np.abs(frequency - 0.2) < 4 * np.sqrt(0.2 * 0.8 / 2000)
    )
    noise = draws.corruption.noise
    assert abs(noise.mean()) < 4 / np.sqrt(noise.size) and abs(noise.var() - 1) < 4 * np.sqrt(
        2 / noise.size
    )
    guide = jax.jit(lambda key: td3.draw(key, ENSEMBLE, policy, params, BATCH).guide)
    guides = {int(guide(jax.random.key(i))) for i in range(40)}
    assert guides == set(range(5))  # each is missed with probability 0.8^40 = 1e-4


def test_unknown_learner():
    with pytest.raises(InputError, match="td4"):
        algorithms.make("td4", CONFIG, SPEC)
