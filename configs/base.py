"""Every configuration key once, with its meaning. `--config.key=value` on the command line overrides any of them."""

import ml_collections

from configs.tasks import task_settings

DEFAULT_TASK = "builtin/hopper-medium-expert"
FEED_FORWARD = dict(
    policy="gaussian", hidden_dims=(256, 256), activation="relu", grad_clip=0.0
)  # as in TD3+BC and IQL
SWEEPABLE = (
    *("discount", "tau", "learning_rate", "weight_decay", "grad_clip"),
    *("eta", "crr_beta", "expectile", "iql_temperature", "cql_alpha", "cql_threshold"),
)


def make_config(task: str | None, **settings) -> ml_collections.ConfigDict:
    """base values <- the algorithm's `settings` <- the task's settings."""
    config = ml_collections.ConfigDict()

    # the run
    config.task = task or DEFAULT_TASK
    config.algorithm = "td3"  # key of edp_jax.algorithms.REGISTRY
    config.seeds = (0,)  # all trained at once, in one compiled program
    config.num_steps = 1_000_000  # updates per seed
    config.log_every = (
        500  # updates between two rows of metrics.csv; also how soon a signal stops the run
    )
    config.eval_every = 50_000
    config.eval_episodes = 10  # per seed and evaluation
    config.checkpoint_every = 50_000
    config.writers = ()  # besides the csv files: "tensorboard", "wandb"
    config.compilation_cache = "auto"  # folder that keeps compiled programs; "auto": ~/.cache/edp_jax/xla; "none": keep none

    # several processes that share one run and its workdir: docs/tpu.md
    config.distributed = False  # True in each of them
    config.coordinator_address = (
        ""  # host:port of process 0; "", as below: what TPU pods, Slurm or Open MPI say
    )
    config.num_processes = ml_collections.config_dict.placeholder(int)
    config.process_id = ml_collections.config_dict.placeholder(int)  # 0, 1, ...

    # the data
    config.data_dir = ""  # "": $D4RL_DATASET_DIR, else ~/.d4rl/datasets
    config.data_placement = "auto"  # device, or host: batches are sent ahead; auto: host for data above 0.4 of a device's memory
    config.batch_size = 256
    config.reward_transform = "none"  # none, antmaze, iql_antmaze, standardize, iql_locomotion
    config.reward_scale = (
        1.0  # the learner sees reward_scale * reward + reward_shift, after the transform
    )
    config.reward_shift = 0.0
    config.n_step = 1  # length of the critics' returns
    config.return_weighting = (
        0.0  # trajectories are drawn with weight exp(normalised return / this); 0: evenly
    )
    config.normalize_observations = False  # per dimension
    config.action_low = ()  # the box of the stored actions, one number or one per column; (): the dataset's or environment's
    config.action_high = ()
    config.env_id = ""  # gymnasium environment to evaluate in; "": the task's, if it has one; "none": only train
    config.env_kwargs = "{}"  # JSON object of its keyword arguments
    config.reference_scores = ()  # (min, max): returns that count as 0 and 100; (): the task's

    # optimisation, all networks alike
    config.learning_rate = 3e-4
    config.lr_decay_steps = 0  # cosine decay to zero over so many updates; 0: constant
    config.weight_decay = 0.0
    config.grad_clip = 5.0  # largest global norm of each network's gradient; 0: off
    config.discount = 0.99
    config.tau = 0.005  # target averaging, critics and policy

    # networks
    config.hidden_dims = (256, 256, 256)
    config.activation = "mish"
    config.num_critics = 2
    config.num_target_critics = (
        0  # targets use the least of so many critics, drawn for every update; 0: of all
    )
    config.critic_layer_norm = False  # True: the cheapest cure of critics that diverge

    # policy
    config.policy = "diffusion"  # or gaussian: feed-forward, for bc, crr and iql
    config.likelihood = "gaussian"  # what stands for log pi(a | s) in crr and iql: gaussian (unit variance), learned_std, elbo
    config.schedule = "vp"  # vp, linear, cosine
    config.num_timesteps = 1000  # K
    config.sampler = "dpm_solver_3"
    config.sampler_calls = 15  # network calls per sampled action
    config.ddim_eta = ml_collections.config_dict.placeholder(
        float
    )  # for sampler=ddim: 0 (default) .. 1
    config.ema_period = 5  # updates between two steps of the policy's moving average
    config.ema_start = 1000  # before it, the average is a copy of the policy

    # policy improvement
    config.eta = 1.0  # weight of TD3's guidance; alpha of TD3+BC
    config.num_backup_actions = 1  # above 1: max-Q backup over so many actions
    config.crr_beta = 1.0  # temperature of CRR's exponential weight
    config.crr_weight = "exponential"  # exponential, indicator, softmax (over the batch)
    config.crr_baseline = "mean"  # over the policy's actions, or max
    config.num_baseline_actions = 10  # actions CRR compares the dataset's action with
    config.expectile = 0.7  # of IQL's value regression
    config.iql_temperature = 3.0  # inverse temperature of IQL's advantage weight
    config.cql_alpha = 5.0  # weight of CQL's penalty
    config.num_cql_actions = 10  # uniform actions in it
    # CQL's tau, in units of Q: the penalty leaves states alone where the soft mean of those actions and the policy's is not above
    # the data's value by so much. -log(11) = -2.4: their soft maximum is below the data's; -1e9: never, and critics diverged.
    config.cql_threshold = -2.4  # [ours], tried on hopper only; the paper has 10 for MuJoCo

    # acting: energy-based action selection
    config.num_candidates = 10
    config.selection_temperature = 1.0  # 0 takes the best candidate

    # a grid of several values each, trained at once like the seeds: --config.sweep.eta="(0.5,1.0,2.0)"
    config.sweep = ml_collections.ConfigDict(dict.fromkeys(SWEEPABLE, ()))

    config.update(settings)
    config.update(task_settings(config.task, config.algorithm, config.policy))
    return config
