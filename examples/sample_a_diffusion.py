"""Every sampler against a distribution that is known exactly: no network, no training.

For Gaussian data with standard deviation 0.3 the best noise prediction has a closed form. A good
sampler turns standard normal noise into samples of that deviation, the sooner the fewer calls.

python examples/sample_a_diffusion.py
"""

import argparse

import jax
import jax.numpy as jnp

from edp_jax import diffusion

STD = 0.3
NUM_TIMESTEPS = 1000


def make_denoise(schedule: diffusion.NoiseSchedule) -> diffusion.samplers.Denoise:
    """The noise that is expected in x [B, A] at timestep t, if the data are N(0, STD^2)."""

    def denoise(x, t):
        abar = jnp.interp(t, jnp.arange(NUM_TIMESTEPS, dtype=x.dtype), schedule.alphas_cumprod)
        return jnp.sqrt(1 - abar) * x / (abar * STD**2 + 1 - abar)

    return denoise


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--num_samples", type=int, default=20_000)
    given = parser.parse_args()
    schedule = diffusion.make_schedule("vp", NUM_TIMESTEPS)
    denoise = make_denoise(schedule)
    noise = jax.random.normal(jax.random.key(0), (given.num_samples, 1))
    calls = (5, 15, 50)
    print(f"{'standard deviation':22}", *(f"{n:>4} calls" for n in calls), f"  (exact: {STD})")
    for name in diffusion.SAMPLERS:
        samplers = [diffusion.make_sampler(name, schedule, n) for n in calls]
        stds = [diffusion.sample(s, denoise, noise, jax.random.key(1)).std() for s in samplers]
        print(f"{name:22}", *(f"{std:10.3f}" for std in stds))


if __name__ == "__main__":
    main()
