"""EDP-TD3 written the plain way: the frozen yardstick of experiments.benchmark, which nobody should make faster.

One update computes what `algorithms.td3` computes, from the same random numbers (tests/experiments/test_naive.py), with none of
what makes the library fast: inputs are concatenated for every network call, Mish is x tanh(softplus(x)), the solver finds its
coefficients while it runs, each critic has its own optimiser step, nothing is drawn ahead.
"""

from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp
import optax

from edp_jax import diffusion
from edp_jax.algorithms.base import (
    AgentState,
    AlgorithmConfig,
    Hypers,
    optimizer,
    policy_tau,
    update_key,
)
from edp_jax.diffusion.dpm_solver import singlestep_orders
from edp_jax.types import Transition


def mish(x: chex.Array) -> chex.Array:
    return x * jnp.tanh(jax.nn.softplus(x))


def mlp(params: dict, x: chex.Array, num_layers: int) -> chex.Array:
    for i in range(num_layers):
        layer = params[f"Dense_{i}"]
        x = x @ layer["kernel"] + layer["bias"]
        x = mish(x) if i < num_layers - 1 else x
    return x


def noise_net(params: dict, observation: chex.Array, x_t: chex.Array, t: chex.Array) -> chex.Array:
    """Noise [B, A] predicted for x_t [B, A] at timesteps t [B]."""
    angles = t[:, None] * jnp.exp(-jnp.log(1e4) * jnp.arange(8) / 8)
    embedding = mlp(
        params["TimeEmbedding_0"], jnp.concatenate([jnp.cos(angles), jnp.sin(angles)], axis=-1), 2
    )
    layers = params["MLP_0"]
    return mlp(layers, jnp.concatenate([observation, x_t, embedding], axis=-1), len(layers))


def critic(params: dict, observation: chex.Array, action: chex.Array) -> chex.Array:
    return mlp(params, jnp.concatenate([observation, action], axis=-1), len(params))[:, 0]


def dpm_solver_3(
    schedule: diffusion.NoiseSchedule, num_calls: int, denoise: Callable, x: chex.Array
) -> chex.Array:
    """Single-step DPM-Solver (2206.00927) from x [B, A], uniform in time; denoise(x [B, A], t [B]) -> eps [B, A]."""
    K = schedule.num_timesteps
    log_alphas = jnp.append(0.0, 0.5 * jnp.cumsum(jnp.log1p(-schedule.betas)))

    def marginals(tau):
        log_alpha = jnp.interp(tau, jnp.arange(K + 1) / K, log_alphas)
        sigma = jnp.sqrt(-jnp.expm1(2 * log_alpha))
        return log_alpha, sigma, log_alpha - jnp.log(sigma)

    def predict(x, tau):
        log_alpha, sigma, _ = marginals(tau)
        eps = denoise(x, jnp.full(x.shape[0], K * tau - 1))
        x0 = jnp.clip((x - sigma * eps) / jnp.exp(log_alpha), -1, 1)
        return (x - jnp.exp(log_alpha) * x0) / sigma

    def move(x, s, t, eps, correction=0.0):
        """From time s to t along eps, plus phi_2 times a correction of higher order."""
        (log_s, _, lam_s), (log_t, sigma_t, lam_t) = marginals(s), marginals(t)
        h = lam_t - lam_s
        return jnp.exp(log_t - log_s) * x - sigma_t * (
            jnp.expm1(h) * eps + (jnp.expm1(h) / h - 1) * correction
        )

    tau = jnp.linspace(1.0, 1.0 / K, num_calls + 1)
    done = 0
    for order in singlestep_orders(3, num_calls):
        s, t = tau[done], tau[done + order]
        done += order
        lam = lambda time: marginals(time)[2]  # noqa: E731
        eps = predict(x, s)
        if order == 1:
            x = move(x, s, t, eps)
        elif order == 2:
            s1 = (s + t) / 2
            r1 = (lam(s1) - lam(s)) / (lam(t) - lam(s))
            eps1 = predict(move(x, s, s1, eps), s1)
            x = move(x, s, t, eps + (eps1 - eps) / (2 * r1))
        else:
            s1, s2 = (2 * s + t) / 3, (s + 2 * t) / 3
            r1, r2 = ((lam(time) - lam(s)) / (lam(t) - lam(s)) for time in (s1, s2))
            eps1 = predict(move(x, s, s1, eps), s1)
            eps2 = predict(move(x, s, s2, eps, r2 / r1 * (eps1 - eps)), s2)
            x = move(x, s, t, eps, (eps2 - eps) / r2)
    return jnp.clip(x, -1, 1)


def make_update(
    config: AlgorithmConfig,
) -> Callable[[AgentState, Transition, Hypers], tuple[AgentState, dict]]:
    """One EDP-TD3 update on a batch, for two critics and DPM-Solver of order 3; the caller jits it."""
    schedule = diffusion.make_schedule(config.schedule, config.num_timesteps)

    def step(loss, state, opt, tau):
        value, gradient = jax.value_and_grad(loss)(state.params)
        change, opt_state = opt.update(gradient, state.opt_state, state.params)
        params = optax.apply_updates(state.params, change)
        average = jax.tree.map(
            lambda old, new: (1 - tau) * old + tau * new, state.target_params, params
        )
        return state.replace(params=params, target_params=average, opt_state=opt_state), value

    def update(state, batch, hypers):
        opt = optimizer(config, hypers, state.step)
        corruption_key, target_key, guide_key, _ = jax.random.split(
            update_key(state, state.step), 4
        )
        timestep_key, noise_key = jax.random.split(corruption_key)
        t = jax.random.randint(timestep_key, batch.reward.shape, 0, config.num_timesteps)
        noise = jax.random.normal(noise_key, batch.action.shape)
        guide = jax.random.randint(guide_key, (), 0, 2)
        x_T = jax.random.normal(jax.random.split(target_key, 3)[0], (1, *batch.action.shape))[0]

        def denoise(x, t):
            return noise_net(state.actor.target_params, batch.next_observation, x, t)

        next_action = dpm_solver_3(schedule, config.sampler_calls, denoise, x_T)
        members = [jax.tree.map(lambda leaf: leaf[i], state.critic) for i in range(2)]  # noqa: B023
        next_q = jnp.minimum(
            *[critic(m.target_params, batch.next_observation, next_action) for m in members]
        )
        target = batch.reward + hypers.discount * batch.discount * next_q

        def critic_loss(params):
            return jnp.mean((critic(params, batch.observation, batch.action) - target) ** 2)

        def actor_loss(params):
            x_t = diffusion.add_noise(schedule, batch.action, t, noise)
            eps = noise_net(params, batch.observation, x_t, t.astype(jnp.float32))
            action = jnp.clip(diffusion.predict_x0(schedule, x_t, t, eps), -1, 1)
            q = [critic(m.params, batch.observation, action) for m in members]
            q = jnp.where(guide == 0, q[0], q[1])
            guidance = -hypers.eta * jnp.mean(q) / jax.lax.stop_gradient(jnp.mean(jnp.abs(q)))
            return jnp.mean((eps - noise) ** 2) + guidance

        critics, losses = zip(
            *[step(critic_loss, member, opt, hypers.tau) for member in members], strict=True
        )
        actor, loss = step(actor_loss, state.actor, opt, policy_tau(config, hypers, state.step + 1))
        critics = jax.tree.map(lambda *leaves: jnp.stack(leaves), *critics)
        return state.replace(step=state.step + 1, actor=actor, critic=critics), {
            "critic/loss": sum(losses),
            "actor/loss": loss,
        }

    return update
