"""EDP with BCQ (arXiv 1812.02900): targets and actions choose the best of several samples."""

from configs import base


def get_config(task: str | None = None):
    return base.make_config(
        task,
        algorithm="bcq",
        sampler_calls=5,
        num_backup_actions=10,
        num_candidates=100,
        selection_temperature=0.0,
    )
