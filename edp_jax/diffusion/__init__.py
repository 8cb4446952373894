"""Diffusion models: noise schedules, the forward process, samplers, losses and likelihoods.

schedule = make_schedule("vp", num_timesteps=1000)
x_t = add_noise(schedule, x0, t, noise)
x0_hat = predict_x0(schedule, x_t, t, predicted_noise)
sampler = make_sampler("dpm_solver_3", schedule, num_calls=15)
x0 = sample(sampler, denoise, x_T, key)  # denoise(x, timestep) -> predicted noise
"""

from functools import partial

from edp_jax.diffusion import ddpm, dpm_solver, dpm_solver_pp, one_call
from edp_jax.diffusion.losses import (
    denoising_loss,
    elbo_log_likelihood,
    elbo_weight,
    gaussian_log_likelihood,
    noise_log_likelihood,
)
from edp_jax.diffusion.samplers import (
    Denoise,
    Marginals,
    Sampler,
    draw_noise,
    sample,
    sample_with_noise,
)
from edp_jax.diffusion.schedule import (
    SCHEDULES,
    NoiseSchedule,
    add_noise,
    make_schedule,
    posterior,
    predict_x0,
)
from edp_jax.types import InputError

__all__ = [
    "ONE_CALL",
    "SAMPLERS",
    "SCHEDULES",
    "Denoise",
    "NoiseSchedule",
    "Sampler",
    "add_noise",
    "denoising_loss",
    "draw_noise",
    "elbo_log_likelihood",
    "elbo_weight",
    "gaussian_log_likelihood",
    "make_sampler",
    "make_schedule",
    "noise_log_likelihood",
    "posterior",
    "predict_x0",
    "sample",
    "sample_with_noise",
]

SAMPLERS = {
    "ddpm": ddpm.ddpm,
    "ddim": ddpm.ddim,
    "dpm_solver_1": partial(dpm_solver.singlestep, order=1),
    "dpm_solver_2": partial(dpm_solver.singlestep, order=2),
    "dpm_solver_3": partial(dpm_solver.singlestep, order=3),
    "dpm_solver_2m": partial(dpm_solver.multistep, order=2),
    "dpm_solver_3m": partial(dpm_solver.multistep, order=3),
    "dpm_solver_pp_2m": partial(dpm_solver_pp.multistep, sde=False),
    "sde_dpm_solver_pp_2m": partial(dpm_solver_pp.multistep, sde=True),
}  # name -> (marginals, num_calls) -> sampler
ONE_CALL = "a0_hat"  # not among them: it needs a network that was trained for it


def make_sampler(
    name: str, schedule: NoiseSchedule, num_calls: int, *, eta: float | None = None
) -> Sampler:
    """Builds a sampler: the table that `sample` runs.

    Args:
      name: a key of `SAMPLERS`, or `ONE_CALL`.
      schedule: concrete (not traced) noise schedule with K timesteps.
      num_calls: number n of network calls per sample, 1..K.
      eta: for "ddim" only: share of DDPM's noise, from 0 (none, the default) to 1 (DDPM).

    Returns:
      The sampler's table with n rows.

    Raises:
      InputError: the name is unknown, the number of calls is outside 1..K, the sampler does not
        take `eta`, or the schedule has too few timesteps for it.
    """
    if name == ONE_CALL:
        if num_calls != 1:
            raise InputError(f"sampler_calls={num_calls}: a one-call policy has one; set it to 1")
        return one_call.one_call(Marginals(schedule))
    if name not in SAMPLERS:
        raise InputError(f"sampler {name!r} is unknown: use one of {', '.join(SAMPLERS)}")
    if not 1 <= num_calls <= schedule.num_timesteps:
        raise InputError(
            f"sampler_calls={num_calls} is outside 1..{schedule.num_timesteps}: {name} cannot call "
            f"the network more often than there are timesteps; lower sampler_calls or raise "
            f"num_timesteps"
        )
    marginals = Marginals(schedule)
    if eta is None:
        return SAMPLERS[name](marginals, num_calls)
    if name != "ddim":
        raise InputError(
            f"eta={eta} does not apply to {name}: only ddim has a share of noise to choose; "
            f"leave eta out"
        )
    if not 0.0 <= eta <= 1.0:
        raise InputError(
            f"eta={eta} is outside 0..1: use 0 for the deterministic DDIM, 1 for DDPM's noise"
        )
    return ddpm.ddim(marginals, num_calls, eta)
