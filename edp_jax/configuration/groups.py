"""Settings of a run besides its learner's: its length, its data, where it is evaluated."""

import dataclasses

from edp_jax.settings import setting


@dataclasses.dataclass(frozen=True)
class Run:
    """How long a run is and what it leaves behind."""

    seeds: tuple[int, ...] = setting(
        (0,), "all trained at once, in one compiled program", at_least=0, at_most=2**31 - 1
    )
    num_steps: int = setting(1_000_000, "updates per seed on the data", at_least=0, may_change=True)
    batch_size: int = setting(256, "transitions of an update", at_least=1)
    log_every: int = setting(
        500,
        "updates between two rows of metrics.csv; also how soon a signal stops the run",
        at_least=1,
        may_change=True,
    )
    eval_every: int = setting(
        50_000, "updates between two evaluations", at_least=1, may_change=True
    )
    eval_episodes: int = setting(
        10, "episodes of an evaluation, per seed", at_least=1, may_change=True
    )
    checkpoint_every: int = setting(
        50_000, "updates between two checkpoints", at_least=1, may_change=True
    )
    keep_last: int = setting(
        2, "newest checkpoints that are kept, besides the best", at_least=1, may_change=True
    )
    keep_every: int = setting(
        0,
        "updates between two checkpoints that are kept for good; 0: none are",
        at_least=0,
        may_change=True,
    )
    best_by: str = setting(
        "score",
        "which checkpoint is the best: score, the one with the best evaluation; fqe, the one that "
        "the data recommend when training has ended (docs/choosing.md)",
        one_of=("score", "fqe"),
        may_change=True,
    )
    writers: tuple[str, ...] = setting(
        (),
        "where metrics go besides the tables: tensorboard, wandb",
        one_of=("tensorboard", "wandb"),
        may_change=True,
    )
    matmul_precision: str = setting(
        "auto",
        "how a GPU or TPU multiplies float32 matrices; auto: tensorfloat32 on a TPU, else as JAX "
        "does by default (docs/tpu.md)",
        one_of=("auto", "bfloat16", "tensorfloat32", "float32"),
    )
    compilation_cache: str = setting(
        "auto",
        "folder that keeps compiled programs; auto: ~/.cache/edp_jax/xla; none: keep none",
        may_change=True,
    )


@dataclasses.dataclass(frozen=True)
class Source:
    """Where the data are and in which box their actions lie."""

    data_dir: str = setting(
        "",
        "folder of the data files; empty: $D4RL_DATASET_DIR, else ~/.d4rl/datasets",
        may_change=True,
    )
    data_placement: str = setting(
        "auto",
        "where the dataset stays in training: device, host, or auto (host for large data)",
        one_of=("auto", "device", "host"),
        may_change=True,
    )
    action_low: tuple[float, ...] = setting(
        (), "lower end of the box of the stored actions, one number or one per column"
    )
    action_high: tuple[float, ...] = setting((), "upper end of that box")


@dataclasses.dataclass(frozen=True)
class Environment:
    """Where policies are evaluated, and how far they look ahead there."""

    env_id: str = setting(
        "",
        "gymnasium environment to evaluate in; empty: the task's; none: only train",
        may_change=True,
    )
    env_kwargs: str = setting("{}", "JSON object of its keyword arguments", may_change=True)
    step_seconds: float = setting(
        60.0,
        "seconds that a step of the simulators may take; then the evaluation counts as failed",
        above=0,
        may_change=True,
    )
    reference_scores: tuple[float, ...] = setting(
        (), "(min, max), the returns that count as 0 and 100; empty: the task's", may_change=True
    )
    execute: int = setting(
        0,
        "actions of a chunk that are taken before the policy chooses anew; 0: all (docs/chunks.md)",
        at_least=0,
        may_change=True,
    )


_ONLINE = {"online_steps": range(1, 2**62)}


@dataclasses.dataclass(frozen=True)
class Online:
    """Training that goes on in the environment, after that on the data (docs/online.md)."""

    online_steps: int = setting(
        0,
        "environment steps per seed that are taken and learned from after num_steps updates; 0: "
        "none",
        at_least=0,
        at_most=2**31 - 1,
        may_change=True,
    )
    online_warmup: int = setting(
        1000,
        "of these, steps that are only collected, before the first online update",
        at_least=0,
        read_with=_ONLINE,
    )
    updates_per_step: int = setting(
        1,
        "updates per environment step after that",
        at_least=1,
        at_most=1000,
        read_with=_ONLINE,
    )
    online_share: float = setting(
        0.5,
        "share of a batch that is drawn from collected steps, the rest from the data; 0: every "
        "step is as likely, collected or recorded",
        at_least=0,
        at_most=1,
        read_with=_ONLINE,
    )
    online_capacity: int = setting(
        0,
        "newest collected steps that can be drawn, per seed; 0: all",
        at_least=0,
        at_most=2**31 - 1,
        read_with=_ONLINE,
    )
    online_noise: float = setting(
        0.0,
        "standard deviation of the noise on actions, which are in [-1, 1], while collecting",
        at_least=0,
        read_with=_ONLINE,
    )
    online_starting_noise: float = setting(
        -1.0,
        "starting_noise while collecting; -1: as in evaluations",
        at_least=-1,
        read_with=_ONLINE,
    )
    online_candidates: int = setting(
        0,
        "num_candidates while collecting; 0: as in evaluations",
        at_least=0,
        read_with=_ONLINE,
    )
    online_optimizer: str = setting(
        "keep",
        "whether the optimisers go on or begin anew with the first online update",
        one_of=("keep", "reset"),
        read_with=_ONLINE,
    )
    online_data: bool = setting(
        False,
        "whether the collected steps are written as D4RL files, to DIR/collected",
        may_change=True,
        read_with=_ONLINE,
    )
    init_from: str = setting(
        "", "folder of a run whose newest checkpoint is where this one begins (docs/online.md)"
    )


@dataclasses.dataclass(frozen=True)
class Processes:
    """Several processes that share one run and its folder (docs/scale-out.md)."""

    distributed: bool = setting(False, "True in each of several processes", may_change=True)
    coordinator_address: str = setting(
        "", "HOST:PORT of process 0; empty: what TPU, Slurm or Open MPI say", may_change=True
    )
    num_processes: int = setting(
        0, "how many there are; 0: what TPU, Slurm or Open MPI say", at_least=0, may_change=True
    )
    process_id: int = setting(
        -1, "which one this is, from 0; -1: what they say", at_least=-1, may_change=True
    )
