"""TD3+BC (arXiv 2106.06860) with its published settings."""

from configs import base


def get_config(task: str | None = None):
    return base.make_config(
        task, algorithm="td3_bc", eta=2.5, normalize_observations=True, **base.FEED_FORWARD
    )
