"""Parity of schedules, forward passes and DPM-Solver samples with the recorded numbers."""

import itertools
import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from edp_jax import diffusion, networks


def test_schedules(recordings):
    """Within the precision of the recorded tables.

    They were computed in float32, which loses digits where 1 - x is small: the rounding of 1 by
    2^-24 is 2^-24 / beta of beta.
    """
    for key, recorded in recordings.load("schedules").items():
        schedule_name, table = key.split("/")
        name, num_timesteps = schedule_name.split("-")
        schedule = diffusion.make_schedule(name, int(num_timesteps))
        ours = getattr(schedule, table.removesuffix("_clipped"))
        beta, abar = (
            np.asarray(schedule.betas, np.float64),
            np.asarray(schedule.alphas_cumprod, np.float64),
        )
        rtol = np.minimum(1e-5 + 2.0**-24 * (1 / beta + 1 / (1 - beta) + 1 / (1 - abar)), 1e-3)
        assert ours.shape == recorded.shape
        error = np.abs(ours - recorded) / np.maximum(
            np.abs(recorded), 1.0 if "log" in table else 1e-30
        )
        assert np.all(error <= rtol), f"{key}: worst at {np.argmax(error / rtol)}"


def test_forward_passes(recordings):
    forward, params, batch = recordings.load("forward"), recordings.load("params"), recordings.batch
    spec, hidden_dims = recordings.spec, recordings.hidden_dims
    schedule = diffusion.make_schedule("vp", 1000)
    noise_net = networks.make_noise_net(spec, hidden_dims, "mish")
    t, noise = forward["t"], forward["noise"]

    x_t = diffusion.add_noise(schedule, batch.action, t, noise)
    np.testing.assert_allclose(x_t, forward["a_k"], atol=1e-5)
    eps = noise_net.apply(recordings.actor(params, "online"), batch.observation, forward["a_k"], t)
    np.testing.assert_allclose(eps, forward["eps_theta"], atol=1e-5)
    action = jnp.clip(diffusion.predict_x0(schedule, forward["a_k"], t, eps), -1.0, 1.0)
    np.testing.assert_allclose(action, forward["a0_hat"], atol=1e-4)
    mean, log_variance = diffusion.posterior(schedule, forward["a0_hat"], forward["a_k"], t)
    np.testing.assert_allclose(mean, forward["posterior_mean"], atol=1e-4)
    expected = forward["posterior_log_variance"]
    np.testing.assert_allclose(jnp.broadcast_to(log_variance, expected.shape), expected, rtol=1e-4)
    np.testing.assert_allclose(
        diffusion.denoising_loss(eps, noise),
        forward["denoising_mse_per_sample"],
        rtol=1e-5,
        atol=1e-6,
    )

    critics = networks.make_critics(spec, 2, hidden_dims, "mish", False)
    for version, prefix in (("online", ""), ("target", "target_")):
        q = critics.apply(recordings.critics(params, version), batch.observation, batch.action)
        np.testing.assert_allclose(
            q, np.stack([forward[f"{prefix}qf1"], forward[f"{prefix}qf2"]]), atol=2e-6
        )
    value = networks.make_value(spec, hidden_dims, "mish", False)
    np.testing.assert_allclose(
        value.apply(recordings.value(params, "online"), batch.observation), forward["vf"], atol=2e-6
    )


def recorded_chains(recordings):
    """(schedule, sampler, x_T, samples) of every recorded DPM-Solver chain."""
    samplers = recordings.load("samplers")
    for key, expected in samplers.items():
        if chain := re.fullmatch(r"((.+)-(\d+))/dpm_solver_(\d)_singlestep_(\d+)_calls", key):
            group, name, num_timesteps, order, calls = chain.groups()
            schedule = diffusion.make_schedule(name, int(num_timesteps))
            sampler = diffusion.make_sampler(f"dpm_solver_{order}", schedule, int(calls))
            yield schedule, sampler, samplers[f"{group}/a_K"], expected


def sample_with_recorded_clip(schedule, sampler, predict_noise, x_T, whole, below):
    """Samples with a clip that reads the schedule's tables at whole timesteps, as the recorded one.

    It reads them at the floor of the time t. `whole` are the times that are whole numbers; where
    `below` is 1, the entry before is read there.
    """

    def denoise(x, t):
        index = jnp.floor(t + 1e-3).astype(int) - jnp.sum(below * (jnp.abs(whole - t) < 1e-3))
        recip = jnp.asarray(schedule.sqrt_recip_alphas_cumprod)[index]
        recipm1 = jnp.asarray(schedule.sqrt_recipm1_alphas_cumprod)[index]
        return jnp.clip(
            predict_noise(x, t), (recip * x - 1.0) / recipm1, (recip * x + 1.0) / recipm1
        )

    return diffusion.sample(sampler, denoise, x_T, jax.random.key(0))


def test_samples_with_the_recorded_clip(recordings):
    """Our solver with their clip is their chain.

    Theirs keeps the implied a_0 in the box with the table at the floor of the fractional time, and
    leaves the sample as it is. Where the time is a whole number, float32 rounding decided between
    that entry and the one below: either may be theirs.
    """
    noise_net = networks.make_noise_net(recordings.spec, recordings.hidden_dims, "mish")
    predict_noise = partial(
        noise_net.apply,
        recordings.actor(recordings.load("params"), "online"),
        recordings.batch.observation,
    )
    chains = 0
    for schedule, sampler, x_T, expected in recorded_chains(recordings):
        whole = np.unique([round(t) for t in sampler.timestep if abs(t - round(t)) < 1e-3])
        chain = jax.jit(
            partial(sample_with_recorded_clip, schedule, sampler, predict_noise, x_T, whole)
        )
        errors = [
            np.abs(chain(np.array(below)) - expected).max()
            for below in itertools.product((0, 1), repeat=len(whole))
        ]
        assert min(errors) < 1e-4, errors
        chains += 1
    assert chains > 0


def test_samples_with_our_clip(recordings):
    """Ours deviates where the clip is active.

    It uses alpha and sigma at the fractional time itself, and clips the sample too. The floor is up
    to a whole timestep early, so the difference is larger the fewer timesteps there are.
    """
    noise_net = networks.make_noise_net(recordings.spec, recordings.hidden_dims, "mish")
    predict_noise = partial(
        noise_net.apply,
        recordings.actor(recordings.load("params"), "online"),
        recordings.batch.observation,
    )
    for schedule, sampler, x_T, expected in recorded_chains(recordings):
        ours = diffusion.sample(sampler, predict_noise, x_T, jax.random.key(0), clip=1.0)
        np.testing.assert_allclose(
            ours, np.clip(expected, -1.0, 1.0), atol=10.0 / schedule.num_timesteps
        )
