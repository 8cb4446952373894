"""Diffusion core: noise schedules, the forward process, samplers and denoising losses."""

from functools import partial

from edp_jax.diffusion import ddpm, dpm_solver, dpm_solver_pp
from edp_jax.diffusion.losses import denoising_loss as denoising_loss
from edp_jax.diffusion.losses import elbo_log_likelihood as elbo_log_likelihood
from edp_jax.diffusion.losses import elbo_weight as elbo_weight
from edp_jax.diffusion.losses import gaussian_log_likelihood as gaussian_log_likelihood
from edp_jax.diffusion.samplers import Marginals, Sampler
from edp_jax.diffusion.samplers import draw_noise as draw_noise
from edp_jax.diffusion.samplers import sample as sample
from edp_jax.diffusion.samplers import sample_with_noise as sample_with_noise
from edp_jax.diffusion.schedule import SCHEDULES as SCHEDULES
from edp_jax.diffusion.schedule import NoiseSchedule
from edp_jax.diffusion.schedule import add_noise as add_noise
from edp_jax.diffusion.schedule import make_schedule as make_schedule
from edp_jax.diffusion.schedule import posterior as posterior
from edp_jax.diffusion.schedule import predict_x0 as predict_x0
from edp_jax.types import InputError

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
}


def make_sampler(
    name: str, schedule: NoiseSchedule, num_calls: int, *, eta: float | None = None
) -> Sampler:
    """Builds the table of sampler `name` for `num_calls` network calls.

    Args:
      name: a key of `SAMPLERS`.
      schedule: concrete (not traced) noise schedule with K timesteps.
      num_calls: 1..K network calls per sample.
      eta: noise of DDIM, 0 (deterministic, its default) to 1 (DDPM); no other sampler takes it.

    Raises:
      InputError: unknown name, a number of calls outside 1..K, or an eta that the sampler cannot use.
    """
    if name not in SAMPLERS:
        raise InputError(f"sampler {name!r} is unknown: use one of {', '.join(SAMPLERS)}")
    if not 1 <= num_calls <= schedule.num_timesteps:
        raise InputError(
            f"sampler_calls={num_calls} is outside 1..{schedule.num_timesteps}: {name} cannot call the network more often "
            f"than there are timesteps; lower sampler_calls or raise num_timesteps"
        )
    marginals = Marginals(schedule)
    if eta is None:
        return SAMPLERS[name](marginals, num_calls)
    if name != "ddim":
        raise InputError(
            f"eta={eta} does not apply to {name}: only ddim interpolates between the ODE and DDPM; leave eta out"
        )
    if not 0.0 <= eta <= 1.0:
        raise InputError(
            f"eta={eta} is outside 0..1: use 0 for the deterministic DDIM, 1 for DDPM's noise"
        )
    return ddpm.ddim(marginals, num_calls, eta)
