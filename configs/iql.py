"""IQL (arXiv 2110.06169) with its Gaussian feed-forward policy and published settings.

Two things are not as published: the learning rate does not decay, and the policy has no dropout (0.1 in the public code on hand
and kitchen).
"""

from configs import base


def get_config(task: str | None = None):
    no_average = dict(ema_period=1, ema_start=2**31 - 1)  # the newest policy acts
    return base.make_config(task, algorithm="iql", **no_average, **base.FEED_FORWARD)
