"""Learners side by side on the built-in tasks and the kitchen, 20,000 updates of three seeds each.

`edp` stands first, then what it has to be compared with. The 110 runs take days on two cores. A run
that has finished is skipped, so the suite can be stopped and given again.
"""

LEARNERS = (
    *("edp", "bc_diffusion", "iql", "td3_bc", "idql", "edp_td3"),
    *("diffusion_ql", "edp_iql", "edp_crr", "dac", "fql"),
)
TASKS = (
    *(f"builtin/walker2d-{data}" for data in ("medium-expert", "medium-replay", "medium")),
    *(f"builtin/halfcheetah-{data}" for data in ("medium-expert", "medium-replay", "medium")),
    *(f"builtin/hopper-{data}" for data in ("medium-replay", "medium", "medium-expert")),
    "kitchen-complete-v0",
)
SCALE = {
    "seeds": (0, 1, 2),
    "num_steps": 20_000,
    "eval_every": 10_000,
    "eval_episodes": 33,
    "checkpoint_every": 10_000,
}


def get_suite() -> list[tuple[str, str, dict]]:
    """The runs: (configuration, task, settings that differ from the task's)."""
    return [(learner, task, SCALE) for learner in LEARNERS for task in TASKS]
