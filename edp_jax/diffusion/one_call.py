"""The sampler of a network that was trained to reach the end of a chain in one call."""

import numpy as np

from edp_jax.diffusion.samplers import Marginals, Row, Sampler, from_rows


def one_call(marginals: Marginals) -> Sampler:
    """a_0 = x_T - network(x_T), at the noisiest timestep.

    A network that predicts noise says there what is to be taken away from x_T. With the weights of
    the schedule the result would be (x_T - sigma eps) / alpha, whose errors are 1 / alpha times
    those of the network. Here both weights are 1, so that they are as large as the network's.

    Args:
      marginals: of the noise schedule.

    Returns:
      The sampler's table with one row.
    """
    row = Row(time=1.0, starts_step=True, base_weight=0.0, history_weights=(1.0,))
    table = from_rows([row], marginals, predicts_data=True)
    return table._replace(alpha=np.ones(1), sigma=np.ones(1))
