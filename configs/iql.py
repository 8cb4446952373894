"""IQL (arXiv 2110.06169) with its Gaussian feed-forward policy and published settings."""

from configs import base


def get_config(task: str | None = None):
    return base.make_config(
        task,
        algorithm="iql",
        policy="gaussian",
        hidden_dims=(256, 256),
        activation="relu",
        grad_clip=0.0,
        ema_period=1,
        ema_start=2**31 - 1,  # no average: the newest policy acts
    )
