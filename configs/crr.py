"""CRR (arXiv 2006.15134) with a Gaussian feed-forward policy of IQL's size."""

from configs import base


def get_config(task: str | None = None):
    return base.make_config(task, algorithm="crr", ema_period=1, ema_start=0, **base.FEED_FORWARD)
