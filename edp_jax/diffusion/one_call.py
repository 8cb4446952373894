"""The sampler of a network that was trained to reach the end of a chain in one call."""

import numpy as np

from edp_jax.diffusion.samplers import Marginals, Row, Sampler, from_rows

ABAR = 0.9  # of the timestep at which the network is asked


def one_call(marginals: Marginals) -> Sampler:
    """The action approximation a0_hat (EDP, 2305.20081, Eq. 9) of x_T at one timestep.

    It is (x_T - sigma eps) / alpha at the timestep where abar = alpha^2 is 0.9, or at the first one
    where that is noisier. A network that predicts noise says something about the action from the
    start there: at the noisiest timestep it would say little more than x_T itself. And its errors
    count a third in the action (sigma / alpha = 1 / 3), which training is the steadier for.

    Args:
      marginals: of the noise schedule.

    Returns:
      The sampler's table with one row.
    """
    time = max(marginals.time(0.5 * np.log(ABAR)), 1.0 / marginals.num_timesteps)
    row = Row(time=time, starts_step=True, base_weight=0.0, history_weights=(1.0,))
    return from_rows([row], marginals, predicts_data=True)
