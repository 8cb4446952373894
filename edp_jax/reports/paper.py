"""The figures of the paper (EDP, arXiv 2305.20081), to stand beside ours."""

from typing import NamedTuple

SOURCE = "EDP, arXiv 2305.20081"


class Figure(NamedTuple):
    """A published score."""

    task: str
    learner: str  # ours that does the same
    measure: str  # "oms" or "rat"
    score: float


_LOCOMOTION = tuple(
    f"{robot}-{quality}-v2"
    for quality in ("medium", "medium-replay", "medium-expert")
    for robot in ("halfcheetah", "hopper", "walker2d")
)
_COLUMNS = {  # (learner, measure): scores in the order of _LOCOMOTION
    ("td3_bc", "rat"): (48.3, 59.3, 83.7, 44.6, 60.9, 81.8, 90.7, 98.0, 110.1),
    ("edp_td3", "rat"): (52.1, 81.9, 86.9, 49.4, 101.0, 94.9, 95.5, 97.4, 110.2),
    ("edp_crr", "rat"): (49.2, 78.7, 82.5, 43.5, 99.0, 63.3, 85.6, 92.9, 110.1),
    ("iql", "rat"): (47.4, 66.3, 78.3, 44.2, 94.7, 73.9, 86.7, 91.5, 109.6),
    ("edp_iql", "rat"): (48.1, 63.1, 85.4, 43.8, 99.1, 84.0, 86.7, 99.6, 109.0),
    ("edp_td3", "oms"): (52.8, 98.6, 89.6, 50.4, 102.7, 97.7, 97.1, 112.0, 112.0),
    ("edp_crr", "oms"): (50.2, 95.0, 85.8, 47.8, 101.7, 89.8, 93.5, 109.4, 112.3),
    ("edp_iql", "oms"): (48.7, 97.3, 88.7, 45.5, 100.9, 93.4, 80.9, 95.7, 111.5),
}

TASKS = tuple(
    Figure(task, learner, measure, score)
    for (learner, measure), scores in _COLUMNS.items()
    for task, score in zip(_LOCOMOTION, scores, strict=True)
)

# Means over the tasks of a domain. The paper's "EDP" is EDP-TD3 in gym, where the means agree; its
# other domains do not say. Its "DQL (JAX)" is Diffusion-QL.
DOMAINS = tuple(
    Figure(domain, learner, "oms", score)
    for domain, scores in {
        "gym": (89.4, 90.3),
        "antmaze": (78.6, 77.9),
        "adroit": (66.5, 89.1),
        "kitchen": (83.0, 80.5),
    }.items()
    for learner, score in zip(("diffusion_ql", "edp_td3"), scores, strict=True)
)
DOMAIN_TASKS = {  # that the paper's means are over
    "gym": _LOCOMOTION,
    "antmaze": tuple(
        f"antmaze-{maze}-v0"
        for maze in (
            *("umaze", "umaze-diverse", "medium-play"),
            *("medium-diverse", "large-play", "large-diverse"),
        )
    ),
    "adroit": ("pen-human-v1", "pen-cloned-v1"),
    "kitchen": tuple(f"kitchen-{kind}-v0" for kind in ("complete", "partial", "mixed")),
}

# Updates per second on walker2d-medium-expert-v2 with a batch of 256, on the paper's GPU
SPEED = {"diffusion_ql": 22.30, "edp_td3": 116.21}
