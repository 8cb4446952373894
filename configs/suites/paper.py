"""EDP's learners and their baselines on the tasks of the paper (arXiv 2305.20081, section 5).

200 runs of five seeds each. Their lengths, evaluations and settings are those of
edp_jax/configuration/published.py.
"""

EDP = ("edp_td3", "edp_crr", "edp_iql")
DIFFUSION = ("diffusion_ql", "bc_diffusion", "edp_bcq", "idql")
FEED_FORWARD = ("td3_bc", "crr", "iql")
LOCOMOTION = [
    f"{robot}-{quality}-v2"
    for robot in ("halfcheetah", "hopper", "walker2d")
    for quality in ("medium", "medium-replay", "medium-expert")
]
MAZES = ("umaze", "umaze-diverse", "medium-play", "medium-diverse", "large-play", "large-diverse")
TASKS = [
    *LOCOMOTION,
    *(f"antmaze-{maze}-v0" for maze in MAZES),
    *("pen-human-v1", "pen-cloned-v1"),
    *(f"kitchen-{data}-v0" for data in ("complete", "partial", "mixed")),
]


def get_suite() -> list[tuple[str, str, dict]]:
    """The runs: (configuration, task, settings that differ from the task's)."""
    return [(learner, task, {}) for task in TASKS for learner in (*EDP, *DIFFUSION, *FEED_FORWARD)]
