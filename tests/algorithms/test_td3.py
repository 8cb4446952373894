"""EDP-TD3: its target, its two losses, and what moves which parameters."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from edp_jax.algorithms import edp, td3
from edp_jax.networks import Network
from edp_jax.policy import DiffusionPolicy

from .builders import (
    ABAR,
    CONSTANT_DIFFUSION,
    LINEAR_CRITICS,
    SCHEDULE,
    SPEC,
    a0_hat,
    agent,
    assert_close,
    first_timestep,
    gradient,
    make_batch,
    rows,
    same,
    tiny_learner,
    tiny_settings,
    train_state,
)

UPDATE = td3.make_update(CONSTANT_DIFFUSION, LINEAR_CRITICS)
# Q_i(s, a) = w_i a + s: w = (2, -1), in the averages (1, -3). The noise prediction is 0.5.
ONLINE, TARGET, EPS = [[2.0], [-1.0]], [[1.0], [-3.0]], 0.5
BATCH = rows(s=0.0, a=[0.5, 0.5], r=1.0, next_s=10.0)  # twice the same row


def settings(**changes):
    changes = dict(learning_rate=0.01, grad_clip=0.0, ema_period=1) | changes
    return tiny_settings("edp_td3", num_target_critics=0, **changes)


def state_of(settings, step: int = 0):
    critic = train_state(settings, {"w": ONLINE}, {"w": TARGET}, ensemble=True)
    return agent(step, actor=train_state(settings, {"eps": [EPS]}), critic=critic)


def draws(next_actions=(0.0,), guide: int = 0, noise: float = 1.0, critics=None) -> td3.Draws:
    next_action = jnp.asarray(next_actions, jnp.float32).reshape(-1, 1, 1).repeat(2, axis=1)
    target = edp.TargetDraws(next_action, critics)
    return td3.Draws(first_timestep(noise, noise), target, jnp.asarray(guide))


@pytest.mark.parametrize(
    ("next_actions", "ends", "target"),
    [
        # one action: 1 + 0.9 (min(0.5, -1.5) + 10)
        ([0.5], False, 8.65),
        # each critic takes its best, max(0.5, -0.4) and max(-1.5, 1.2), then the smaller counts:
        # 1 + 0.9 (0.5 + 10). The best of the smaller values would be 1 + 0.9 (-0.4 + 10) = 9.64.
        ([0.5, -0.4], False, 10.45),
        # the end of the task: the reward alone
        ([0.5, -0.4], True, 1.0),
    ],
)
def test_target(next_actions, ends, target):
    batch = BATCH.replace(discount=np.full(2, 0.0 if ends else 1.0, np.float32))
    own = settings(discount=0.9)
    new, metrics = UPDATE(state_of(own), batch, own, draws(next_actions))
    assert_close(metrics["critic/target_mean"], target)
    # online Q_i(s, a) = (1, -0.5): sum_i (Q_i - target)^2, with the gradient 2 (Q_i - target) a
    assert_close(metrics["critic/loss"], (1 - target) ** 2 + (-0.5 - target) ** 2)
    assert_close(
        gradient(new.networks["critic"])["w"], [[2 * (1 - target) * 0.5], [(-0.5 - target)]]
    )
    assert_close(metrics["critic/q_mean"], 0.25)
    assert_close(metrics["critic/q_max"], 1.0)


def test_target_of_drawn_critics():
    """Of the critics (1, -3) only the first counts: 1 + 0.9 (0.5 + 10)."""
    own = settings(discount=0.9)
    _, metrics = UPDATE(state_of(own), BATCH, own, draws([0.5], critics=jnp.array([0])))
    assert_close(metrics["critic/target_mean"], 10.45)


@pytest.mark.parametrize(
    ("guide", "action", "noise"), [(0, 0.3, 1.0), (1, 0.3, 1.0), (0, 0.9, 1.0)]
)
def test_policy_losses(guide, action, noise):
    """Guidance by the critic as it was before its own step, which is 1 here; the last action
    leaves the box, where the clip has no gradient.

    Loss: (eps - noise)^2 - eta q / |q| with q = w a0_hat, and d a0_hat / d eps = -sqrt(1/abar - 1).
    """
    own = settings(eta=3.0, learning_rate=1.0)
    batch = rows(s=0.0, a=[action, action], next_s=10.0)
    new, metrics = UPDATE(state_of(own), batch, own, draws(guide=guide, noise=noise))
    q = ONLINE[guide][0] * a0_hat(action, noise, EPS)
    slope = 0.0 if action == 0.9 else -np.sqrt(1 / ABAR - 1) * ONLINE[guide][0]
    assert_close(metrics["actor/q_mean"], q)
    assert_close(metrics["actor/denoising_loss"], 0.25)
    assert_close(metrics["actor/guidance_loss"], -3.0 * np.sign(q))
    assert_close(metrics["actor/loss"], 0.25 - 3.0 * np.sign(q))
    expected = 2 * (EPS - noise) - 3.0 * slope / np.abs(q)
    assert_close(gradient(new.networks["actor"])["eps"], [expected], rtol=1e-4)
    assert_close(metrics["actor/grad_norm"], np.abs(expected), rtol=1e-4)


def test_guidance_counts_less_at_much_noise():
    """Rows at k = 0 and 1 with Q = 2 a0_hat: -eta sum(w q) / sum(w |q|) with w = abar_k^2. The
    rows are weighed in the guidance alone: both noises are 1 and count alike in the denoising."""
    own, timestep, action = settings(eta=3.0, guidance_power=2.0), np.array([0, 1]), [0.1, -0.9]
    given = draws()
    given = given._replace(corruption=given.corruption._replace(timestep=jnp.asarray(timestep)))
    new, metrics = UPDATE(state_of(own), rows(s=0.0, a=action), own, given)
    abar = np.asarray(SCHEDULE.alphas_cumprod)[timestep]
    spread = np.sqrt(1 / abar - 1)
    q, weight = 2 * (np.array(action) + spread * (1.0 - EPS)), abar**2
    assert np.all(np.abs(q) < 2)  # a0_hat is in the box
    scale = np.sum(weight * np.abs(q))
    assert_close(metrics["actor/guidance_loss"], -3.0 * np.sum(weight * q) / scale)
    assert_close(metrics["actor/denoising_loss"], 0.25)
    expected = 2 * (EPS - 1.0) - 3.0 * np.sum(weight * 2 * -spread) / scale
    assert_close(gradient(new.networks["actor"])["eps"], [expected], rtol=1e-4)


def test_rows_without_a_value_guide_nothing_whatever_their_noise():
    t, counts = jnp.array([0, 3]), jnp.array([0.0, 1.0])
    abar = np.asarray(SCHEDULE.alphas_cumprod)
    assert_close(td3.guidance_weights(SCHEDULE, t, 0.5, counts), [0.0, np.sqrt(abar[3])])
    assert td3.guidance_weights(SCHEDULE, t, 0, counts) is counts  # as published


def test_guidance_moves_the_policy_and_not_the_critics():
    """Imitation raises eps to the noise. The guide lowers it where its Q grows with the action,
    and raises it where it falls. Adam's first step has the length of the learning rate."""
    for eta, guide, step in ((0.0, 0, 0.01), (50.0, 0, -0.01), (50.0, 1, 0.01)):
        own = settings(eta=eta)
        new, _ = UPDATE(state_of(own), BATCH, own, draws(guide=guide))
        assert_close(new.networks["actor"].params["eps"], [EPS + step])
        if eta == 0.0:
            without = new.networks["critic"]
        assert same(new.networks["critic"], without)


def test_averages_follow_the_new_parameters():
    """target <- 0.75 target + 0.25 params; the critics' in every update."""
    own = settings(tau=0.25, ema_period=2)
    for step, moves in ((0, False), (1, True)):
        before = state_of(own, step)
        new, _ = UPDATE(before, BATCH, own, draws())
        critic, actor = new.networks["critic"], new.networks["actor"]
        assert int(new.step) == step + 1
        expected = 0.75 * np.array(TARGET) + 0.25 * critic.params["w"]
        assert_close(critic.target_params["w"], expected)
        expected = 0.75 * EPS + 0.25 * actor.params["eps"] if moves else [EPS]
        assert_close(actor.target_params["eps"], expected)


def test_one_network_pass_serves_both_policy_losses():
    """EDP Eq. 10. The target actions are drawn before, so every pass counted is the policy's."""
    passes = []

    def apply(params, *inputs):
        passes.append(inputs)
        return CONSTANT_DIFFUSION.network.apply(params, *inputs)

    counted = DiffusionPolicy(Network(lambda key: None, apply), *CONSTANT_DIFFUSION[1:])
    own = settings()
    state = state_of(own)
    new, _ = td3.make_update(counted, LINEAR_CRITICS)(state, BATCH, own, draws())
    assert len(passes) == 1
    assert jax.tree.structure(new) == jax.tree.structure(state)


def test_draws_cover_timesteps_noise_and_critics():
    learner, size = tiny_learner("edp_td3", num_critics=5), 2000
    batch = make_batch(size)
    draw = jax.jit(learner.draw)
    params = learner.draw_params(learner.init(jax.random.key(1)))
    found = draw(jax.random.key(0), params, batch)
    assert found.other is None
    next_action = found.target.next_action
    assert next_action.shape == (2, size, 2) and np.all(np.abs(next_action) <= 1)
    assert not np.allclose(next_action[0], next_action[1], atol=0.1)
    frequency = np.bincount(found.corruption.timestep) / size
    assert frequency.shape == (5,)
    assert np.all(np.abs(frequency - 0.2) < 4 * np.sqrt(0.2 * 0.8 / size))
    noise = found.corruption.noise
    assert abs(noise.mean()) < 4 / np.sqrt(noise.size)
    assert abs(noise.var() - 1) < 4 * np.sqrt(2 / noise.size)
    guides = {int(draw(jax.random.key(i), params, batch).guide) for i in range(40)}
    assert guides == set(range(5))  # each is missed with probability 0.8^40 = 1e-4


def test_target_actions_are_the_policys_at_the_next_observation():
    own = tiny_settings("edp_td3", sampler="dpm_solver_1")
    policy, batch, key = edp.diffusion_policy(own, SPEC), make_batch(), jax.random.key(1)
    params = policy.network.init(jax.random.key(0))
    found = edp.draw_targets(key, own, policy, params, batch)
    x_T_key, chain_key, _ = jax.random.split(key, 3)
    x_T = jax.random.normal(x_T_key, (2, 4, 2))
    expected = policy.sample(params, batch.next_observation, x_T, chain_key)
    assert_close(found.next_action, expected)
