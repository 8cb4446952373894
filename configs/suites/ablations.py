"""The ablations of the paper (arXiv 2305.20081, section 5), small enough for a laptop.

Action approximation on and off, calls of the solver, candidates, timesteps of the diffusion, and
likelihoods. Each differs from the first run of its learner in one setting. docs/ablations.md has
the results. More is asked for on the command line: --set=num_steps=50000 "--set=seeds=(0,1,2)".
"""

# Without the approximation: the gradient goes through all calls of EDP's sampler.
FULL_CHAIN = {
    "num_timesteps": 1000,
    "sampler": "dpm_solver_3",
    "sampler_calls": 15,
    "num_candidates": 10,
}
SCALES = {
    "builtin/hopper-medium-expert": {
        "seeds": (0,),
        "num_steps": 10_000,
        "eval_every": 5_000,
        "eval_episodes": 10,
        "checkpoint_every": 5_000,
    },
    "kitchen-complete-v0": {
        "seeds": (0,),
        "num_steps": 30_000,
        "eval_every": 10_000,
        "eval_episodes": 20,
        "checkpoint_every": 5_000,
    },
}


def get_suite() -> list[tuple[str, str, dict]]:
    """The runs: (configuration, task, settings that differ from the task's)."""
    variants: list[tuple[str, dict]] = [
        ("edp_td3", {}),
        ("diffusion_ql", FULL_CHAIN),
        *(("edp_td3", {"sampler_calls": calls}) for calls in (3, 6, 10, 20, 30)),
        *(("edp_td3", {"num_candidates": number}) for number in (1, 50, 200)),
        *(("edp_td3", {"num_timesteps": number}) for number in (20, 100)),
        ("edp_crr", {}),
        *(("edp_crr", {"likelihood": name}) for name in ("learned_std", "elbo", "noise")),
    ]
    return [
        (learner, task, scale | changes)
        for task, scale in SCALES.items()
        for learner, changes in variants
    ]
