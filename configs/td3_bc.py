"""TD3+BC (arXiv 2106.06860) with its published settings."""

from configs import base


def get_config(task: str | None = None):
    return base.make_config(
        task,
        algorithm="td3_bc",
        policy="gaussian",  # feed-forward; its mean is the action
        hidden_dims=(256, 256),
        activation="relu",
        grad_clip=0.0,
        eta=2.5,
        normalize_observations=True,
    )
