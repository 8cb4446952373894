"""CRR (arXiv 2006.15134) with a Gaussian feed-forward policy of IQL's size."""

from configs import base


def get_config(task: str | None = None):
    return base.make_config(
        task,
        algorithm="crr",
        policy="gaussian",
        hidden_dims=(256, 256),
        activation="relu",
        grad_clip=0.0,
        ema_period=1,
        ema_start=0,
    )
