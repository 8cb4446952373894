"""Six short runs, to see that a machine or a cluster works."""

SHORT = {
    "num_steps": 2_000,
    "log_every": 200,
    "eval_every": 1_000,
    "eval_episodes": 2,
    "checkpoint_every": 500,
    "hidden_dims": (64, 64),
}


def get_suite() -> list[tuple[str, str, dict]]:
    """The runs: (configuration, task, settings that differ from the task's)."""
    return [
        (learner, f"builtin/hopper-{quality}", SHORT)
        for quality in ("medium", "medium-expert")
        for learner in ("edp_td3", "edp_iql", "td3_bc")
    ]
