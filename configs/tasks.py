"""Settings per task and learner; whatever is not named here has base.py's value or that of the learner's configuration file.

Sources: [paper] EDP, arXiv 2305.20081, section 5 and App. B; [code] the public code of EDP and Diffusion-QL; [DQL] Diffusion-QL,
arXiv 2208.06193, App. D; [IQL] arXiv 2110.06169, App. B; [CQL] arXiv 2006.04779, as public code quotes it; [ours] chosen here.
"""

_PAPER_SEEDS = (0, 1, 2, 3, 4)  # [paper]

_RUNS = {  # per domain, for every learner: length and evaluation of a run [paper], how often [DQL]
    "locomotion": dict(
        seeds=_PAPER_SEEDS, num_steps=2_000_000, eval_every=50_000, eval_episodes=10
    ),
    "antmaze": dict(
        seeds=_PAPER_SEEDS,
        num_steps=1_000_000,
        eval_every=50_000,
        eval_episodes=100,
        reward_transform="antmaze",
    ),
    "adroit": dict(
        seeds=_PAPER_SEEDS,
        num_steps=1_000_000,
        eval_every=50_000,
        eval_episodes=100,
        reward_transform="standardize",
    ),
    "kitchen": dict(seeds=_PAPER_SEEDS, num_steps=1_000_000, eval_every=50_000, eval_episodes=100),
}

_GUIDED = {  # per task, for the learners that raise Q: eta and clipped gradient norm [code]; on locomotion EDP clips at 5 [paper]
    "halfcheetah-medium-v2": dict(eta=1.0, grad_clip=9.0),
    "halfcheetah-medium-replay-v2": dict(eta=1.0, grad_clip=2.0),
    "halfcheetah-medium-expert-v2": dict(eta=1.0, grad_clip=7.0),
    "hopper-medium-v2": dict(eta=1.0, grad_clip=9.0),
    "hopper-medium-replay-v2": dict(eta=1.0, grad_clip=4.0),
    "hopper-medium-expert-v2": dict(eta=1.0, grad_clip=5.0),
    "walker2d-medium-v2": dict(eta=1.0, grad_clip=1.0),
    "walker2d-medium-replay-v2": dict(eta=1.0, grad_clip=4.0),
    "walker2d-medium-expert-v2": dict(eta=1.0, grad_clip=5.0),
    "antmaze-umaze": dict(eta=0.5, grad_clip=2.0),
    "antmaze-umaze-diverse": dict(eta=2.0, grad_clip=3.0),
    "antmaze-medium-play": dict(eta=2.0, grad_clip=2.0),
    "antmaze-medium-diverse": dict(eta=3.0, grad_clip=1.0),
    "antmaze-large-play": dict(eta=4.5, grad_clip=10.0),
    "antmaze-large-diverse": dict(eta=3.5, grad_clip=7.0),
    "pen-human-v1": dict(eta=0.15, grad_clip=7.0),
    "pen-cloned-v1": dict(eta=0.1, grad_clip=8.0),
    "kitchen-complete-v0": dict(eta=0.005, grad_clip=9.0),
    "kitchen-partial-v0": dict(eta=0.005, grad_clip=10.0),
    "kitchen-mixed-v0": dict(eta=0.005, grad_clip=10.0),
}
_GUIDED_LEARNERS = ("td3", "cql", "diffusion_ql")

_IQL = {  # per domain
    "locomotion": dict(
        reward_transform="iql_locomotion", expectile=0.7, iql_temperature=3.0
    ),  # [paper]; temperature [IQL]
    "antmaze": dict(
        reward_transform="iql_antmaze", expectile=0.9, iql_temperature=10.0
    ),  # [paper]; temperature [IQL]
    "adroit": dict(expectile=0.7, iql_temperature=0.5),  # [paper]; temperature [IQL]
    "kitchen": dict(expectile=0.7, iql_temperature=0.5),  # [paper]; temperature [IQL]
}

_CQL = {domain: dict(cql_threshold=5.0) for domain in ("antmaze", "adroit", "kitchen")}  # [CQL]

_BUILTIN = dict(  # [ours], found on hopper-medium and -medium-expert; the others were not tuned
    seeds=(0,),
    num_steps=15_000,
    eval_every=2_500,
    eval_episodes=10,
    checkpoint_every=2_500,
    normalize_observations=True,
    learning_rate=1e-3,
    # Values reach back over one step per 1 / tau updates. At the paper's 0.005 a Hopper episode needs over 20,000 updates, and
    # until then the critics prefer actions that are fast now and fall soon; eta is small for the same reason.
    tau=0.02,
)
_BUILTIN_BY_LEARNER = {  # [ours]
    **{(learner, "diffusion"): dict(eta=0.1) for learner in _GUIDED_LEARNERS},
    ("crr", "gaussian"): dict(
        critic_layer_norm=True
    ),  # without it the critics diverge, see RESULTS.md
}


def domain_of(task: str) -> str:
    """The domain of a task of the paper, "" for any other task."""
    robot = task.split("-")[0]
    domain = {"pen": "adroit", "antmaze": "antmaze", "kitchen": "kitchen"}.get(robot, "locomotion")
    known = task in _GUIDED or (
        domain == "antmaze" and task.endswith(("-v0", "-v2")) and _without_version(task) in _GUIDED
    )
    return domain if known else ""


def task_settings(task: str, algorithm: str, policy: str) -> dict:
    """The settings of `task` for a learner with a "diffusion" or "gaussian" policy; empty for a task without a row."""
    if task.startswith("builtin/"):
        return _BUILTIN | _BUILTIN_BY_LEARNER.get((algorithm, policy), {})
    task = task.removeprefix("legacy:")  # the same data by D4RL's own packages
    domain = domain_of(task)
    if not domain:
        return {}
    settings = dict(_RUNS[domain])
    if policy == "diffusion":
        settings |= _diffusion_settings(task, domain, algorithm)
    if algorithm == "iql":
        settings |= _IQL[domain]
        if domain == "adroit" and policy == "gaussian":
            settings["reward_transform"] = (
                "none"  # [IQL]; EDP's learners see standardised ones [code]
            )
    if algorithm == "cql":
        settings |= _CQL.get(domain, {})
    return settings


def _diffusion_settings(task: str, domain: str, algorithm: str) -> dict:
    row = _GUIDED.get(task) or _GUIDED[_without_version(task)]
    settings = dict(row) if algorithm in _GUIDED_LEARNERS else dict(grad_clip=row["grad_clip"])
    if domain == "locomotion" and algorithm != "diffusion_ql":
        settings["grad_clip"] = 5.0  # [paper]: for all nine
    if domain == "adroit":
        settings["learning_rate"] = 3e-5  # [paper]
    if algorithm == "diffusion_ql" and "medium-play" in task and domain == "antmaze":
        settings["learning_rate"] = 1e-3  # [DQL]
    if algorithm == "diffusion_ql" and task == "kitchen-complete-v0":
        settings["num_steps"] = 250_000  # [DQL]
    if (
        algorithm in _GUIDED_LEARNERS
        and domain == "antmaze"
        and _without_version(task) != "antmaze-umaze"
    ):
        settings["num_backup_actions"] = 10  # max-Q backup but on umaze [DQL]
    return settings


def _without_version(task: str) -> str:
    return task.rpartition("-")[0]
