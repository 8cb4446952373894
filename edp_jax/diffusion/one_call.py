"""The sampler of a network that was trained to reach the end of a chain in one call."""

import numpy as np

from edp_jax.diffusion.samplers import Marginals, Row, Sampler, from_rows

ABAR = 0.9  # of the timestep at which the network is asked


def one_call(marginals: Marginals) -> Sampler:
    """One call of the noise network, from which the action is (x_T - sigma eps) / alpha.

    This is the action approximation a0_hat of EDP (2305.20081, Eq. 9). The network is told the
    timestep where abar = alpha^2 is 0.9, although x_T is pure noise. If even the first timestep has
    a smaller abar, it is told that one.

    Why there: a student begins as a copy of its teacher. At the noisiest timestep that copy hardly
    knows the action, and at this one it does. Besides, sigma / alpha is 1 / 3 here, so an error of
    the network is three times smaller in the action.

    Args:
      marginals: of the noise schedule.

    Returns:
      The sampler's table with one row.
    """
    time = max(marginals.time(0.5 * np.log(ABAR)), 1.0 / marginals.num_timesteps)
    row = Row(time=time, starts_step=True, base_weight=0.0, history_weights=(1.0,))
    return from_rows([row], marginals, predicts_data=True)
