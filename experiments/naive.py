"""EDP-TD3 written the plain way: the yardstick of experiments.benchmark. Do not make it faster.

One update computes what `algorithms.td3` computes, from the same random numbers. It has nothing of
what makes the library fast: inputs are concatenated for every network call, Mish is
x tanh(softplus(x)), the solver finds its coefficients while it runs, each critic has its own
optimiser step, and nothing is drawn ahead.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from edp_jax import diffusion
from edp_jax.algorithms.base import AgentState, TrainState, optimizer, policy_tau, update_key
from edp_jax.algorithms.td3 import EDPTD3
from edp_jax.diffusion.dpm_solver import singlestep_orders
from edp_jax.types import Transition


def mish(x: jax.Array) -> jax.Array:
    """The activation of the hidden layers, as it is defined."""
    return x * jnp.tanh(jax.nn.softplus(x))


def mlp(params: dict, x: jax.Array, num_layers: int) -> jax.Array:
    """Dense layers on x [..., columns], Mish between them."""
    for i in range(num_layers):
        layer = params[f"Dense_{i}"]
        x = x @ layer["kernel"] + layer["bias"]
        x = mish(x) if i < num_layers - 1 else x
    return x


def noise_net(params: dict, observation: jax.Array, x_t: jax.Array, t: jax.Array) -> jax.Array:
    """Noise [B, A] predicted for x_t [B, A] at timesteps t [B]."""
    angles = t[:, None] * jnp.exp(-jnp.log(1e4) * jnp.arange(8) / 8)
    embedding = mlp(
        params["TimeEmbedding_0"], jnp.concatenate([jnp.cos(angles), jnp.sin(angles)], axis=-1), 2
    )
    layers = params["MLP_0"]
    return mlp(layers, jnp.concatenate([observation, x_t, embedding], axis=-1), len(layers))


def critic(params: dict, observation: jax.Array, action: jax.Array) -> jax.Array:
    """Values [B] of one critic."""
    return mlp(params, jnp.concatenate([observation, action], axis=-1), len(params))[:, 0]


def dpm_solver_3(
    schedule: diffusion.NoiseSchedule, num_calls: int, denoise: Callable, x: jax.Array
) -> jax.Array:
    """Single-step DPM-Solver of order 3 (2206.00927), uniform in time.

    Args:
      schedule: of the noise.
      num_calls: of `denoise`.
      denoise: (x [B, A], t [B]) -> the noise in x [B, A].
      x: [B, A] starting noise.

    Returns:
      Actions [B, A].
    """
    K = schedule.num_timesteps
    log_alphas = jnp.append(0.0, 0.5 * jnp.cumsum(jnp.log1p(-schedule.betas)))

    def marginals(time: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        log_alpha = jnp.interp(time, jnp.arange(K + 1) / K, log_alphas)
        sigma = jnp.sqrt(-jnp.expm1(2 * log_alpha))
        return log_alpha, sigma, log_alpha - jnp.log(sigma)

    def predict(x: jax.Array, time: jax.Array) -> jax.Array:
        log_alpha, sigma, _ = marginals(time)
        eps = denoise(x, jnp.full(x.shape[0], K * time - 1))
        x0 = jnp.clip((x - sigma * eps) / jnp.exp(log_alpha), -1, 1)
        return (x - jnp.exp(log_alpha) * x0) / sigma

    def move(
        x: jax.Array,
        s: jax.Array,
        t: jax.Array,
        eps: jax.Array,
        correction: jax.Array | float = 0.0,
    ) -> jax.Array:
        """From time s to t along eps, plus phi_2 times a correction of higher order."""
        (log_s, _, lam_s), (log_t, sigma_t, lam_t) = marginals(s), marginals(t)
        h = lam_t - lam_s
        return jnp.exp(log_t - log_s) * x - sigma_t * (
            jnp.expm1(h) * eps + (jnp.expm1(h) / h - 1) * correction
        )

    times = jnp.linspace(1.0, 1.0 / K, num_calls + 1)
    done = 0
    for order in singlestep_orders(3, num_calls):
        s, t = times[done], times[done + order]
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
    settings: EDPTD3,
) -> Callable[[AgentState, Transition, EDPTD3], tuple[AgentState, dict[str, jax.Array]]]:
    """Builds one EDP-TD3 update on a batch; the caller jits it.

    Args:
      settings: with two critics and DPM-Solver of order 3.
    """
    schedule = diffusion.make_schedule(settings.schedule, settings.num_timesteps)

    def step(
        loss: Callable[[Any], jax.Array],
        state: TrainState,
        opt: optax.GradientTransformation,
        tau: jax.Array,
    ) -> tuple[TrainState, jax.Array]:
        value, gradient = jax.value_and_grad(loss)(state.params)
        change, opt_state = opt.update(gradient, state.opt_state, state.params)
        params = optax.apply_updates(state.params, change)
        average = jax.tree.map(
            lambda old, new: (1 - tau) * old + tau * new, state.target_params, params
        )
        return state.replace(params=params, target_params=average, opt_state=opt_state), value

    def update(
        state: AgentState, batch: Transition, settings: EDPTD3
    ) -> tuple[AgentState, dict[str, jax.Array]]:
        opt = optimizer(settings, state.step)
        corruption_key, target_key, guide_key, _ = jax.random.split(
            update_key(state, state.step), 4
        )
        timestep_key, noise_key = jax.random.split(corruption_key)
        t = jax.random.randint(timestep_key, batch.reward.shape, 0, settings.num_timesteps)
        noise = jax.random.normal(noise_key, batch.action.shape)
        guide = jax.random.randint(guide_key, (), 0, 2)
        x_T = jax.random.normal(jax.random.split(target_key, 3)[0], (1, *batch.action.shape))[0]
        actor, ensemble = state.networks["actor"], state.networks["critic"]
        members = [jax.tree.map(lambda leaf: leaf[i], ensemble) for i in range(2)]  # noqa: B023

        def denoise(x: jax.Array, t: jax.Array) -> jax.Array:
            return noise_net(actor.target_params, batch.next_observation, x, t)

        next_action = dpm_solver_3(schedule, settings.sampler_calls, denoise, x_T)
        next_q = jnp.minimum(
            *[critic(m.target_params, batch.next_observation, next_action) for m in members]
        )
        target = batch.reward + settings.discount * batch.discount * next_q

        def critic_loss(params: Any) -> jax.Array:
            return jnp.mean((critic(params, batch.observation, batch.action) - target) ** 2)

        def actor_loss(params: Any) -> jax.Array:
            x_t = diffusion.add_noise(schedule, batch.action, t, noise)
            eps = noise_net(params, batch.observation, x_t, t.astype(jnp.float32))
            action = jnp.clip(diffusion.predict_x0(schedule, x_t, t, eps), -1, 1)
            q = [critic(m.params, batch.observation, action) for m in members]
            q = jnp.where(guide == 0, q[0], q[1])
            guidance = -settings.eta * jnp.mean(q) / jax.lax.stop_gradient(jnp.mean(jnp.abs(q)))
            return jnp.mean((eps - noise) ** 2) + guidance

        critics, losses = zip(
            *[step(critic_loss, member, opt, settings.tau) for member in members], strict=True
        )
        new_actor, loss = step(actor_loss, actor, opt, policy_tau(settings, state.step + 1))
        new_critic = jax.tree.map(lambda *leaves: jnp.stack(leaves), *critics)
        networks = {"actor": new_actor, "critic": new_critic}
        metrics = {"critic/loss": sum(losses), "actor/loss": loss}
        return state.replace(step=state.step + 1, networks=networks), metrics

    return update
