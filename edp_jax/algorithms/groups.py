"""Settings that several learners share, in groups; a learner's settings inherit those it reads."""

from flax import struct

from edp_jax.diffusion import SAMPLERS, SCHEDULES
from edp_jax.networks import ACTIVATIONS
from edp_jax.policy import LIKELIHOODS
from edp_jax.settings import redefined, setting

# Settings that say how a trained policy acts; each learner has some of them.
ACTING = ("num_candidates", "selection_temperature", "sampler", "sampler_calls", "starting_noise")


@struct.dataclass
class Optimization:
    """AdamW, the same for every network of a learner."""

    learning_rate: float = setting(3e-4, "step size of Adam", above=0, traced=True)
    lr_decay_steps: int = setting(
        0,
        "updates over which the learning rate falls to 0 (cosine), at least all of the run; 0: "
        "constant",
        at_least=0,
    )
    weight_decay: float = setting(0.0, "weight decay of AdamW", at_least=0, traced=True)
    grad_clip: float = setting(
        5.0,
        "largest global norm of each network's gradient; 0: not clipped",
        at_least=0,
        traced=True,
    )


@struct.dataclass
class Average:
    """The policy's moving average, which acts and makes the critics' targets."""

    tau: float = setting(
        0.005, "step of the moving averages (Polyak)", above=0, at_most=1, traced=True
    )
    ema_period: int = setting(5, "updates between two steps of the policy's average", at_least=1)
    ema_start: int = setting(
        1000, "updates in which the policy's average is a copy of the policy", at_least=0
    )
    ema_share: float = setting(
        0.0,
        "share of all updates so far that the policy's average spans at least; 0: only what tau "
        "and ema_period say",
        at_least=0,
        at_most=1,
    )


@struct.dataclass
class Networks:
    """Sizes of all networks."""

    hidden_dims: tuple[int, ...] = setting(
        (256, 256, 256), "widths of the hidden layers", at_least=1, at_most=16_384
    )
    activation: str = setting("mish", "activation of the hidden layers", one_of=ACTIVATIONS)


@struct.dataclass
class FeedForward(Networks):
    """Sizes of networks as in the public code of TD3+BC and IQL."""

    hidden_dims: tuple[int, ...] = redefined(Networks, "hidden_dims", (256, 256))
    activation: str = redefined(Networks, "activation", "relu")


@struct.dataclass
class Critics:
    """Q networks and their targets."""

    discount: float = setting(
        0.99, "gamma, the worth of the next step's value", at_least=0, at_most=1, traced=True
    )
    num_critics: int = setting(2, "Q networks", at_least=1, at_most=1000)
    num_target_critics: int = setting(
        0, "critics that make a target together, drawn for every update; 0: all", at_least=0
    )
    critic_layer_norm: bool = setting(
        False, "LayerNorm in the critics: the cheapest cure of critics that diverge"
    )


@struct.dataclass
class Backup:
    """Actions of the policy in the critics' targets."""

    num_backup_actions: int = setting(
        1, "actions of the policy per next observation, from which a target is made", at_least=1
    )


@struct.dataclass
class SampledBackup(Backup):
    """Those of a diffusion policy, which a chain of network calls samples."""

    target_calls: int = setting(
        0,
        "network calls per action that is sampled for a target; 0: as many as sampler_calls. Fewer "
        "train faster",
        at_least=0,
        at_most=10_000,
    )
    sampler_dtype: str = setting(
        "float32",
        "numbers in which the network computes while it samples actions for targets; bfloat16 is "
        "faster on GPUs and TPUs, and coarser",
        one_of=("float32", "bfloat16"),
    )


@struct.dataclass
class Diffusion:
    """The diffusion policy's noise and its sampler."""

    schedule: str = setting("vp", "noise schedule", one_of=SCHEDULES)
    num_timesteps: int = setting(1000, "K, timesteps of the diffusion", at_least=1, at_most=100_000)
    sampler: str = setting("dpm_solver_3", "solver that samples actions", one_of=SAMPLERS)
    sampler_calls: int = setting(15, "network calls per sampled action", at_least=1, at_most=10_000)
    ddim_eta: float = setting(
        0.0,
        "noise of the sampler ddim: 0 is deterministic, 1 is DDPM",
        at_least=0,
        at_most=1,
        read_with={"sampler": ("ddim",)},
    )
    starting_noise: float = setting(
        1.0,
        "standard deviation of the noise that actions are sampled from when acting",
        at_least=0,
        may_change=True,
    )


@struct.dataclass
class Likelihood:
    """What stands for log pi(a | s) of a diffusion policy."""

    likelihood: str = setting(
        "gaussian",
        "log pi(a | s): gaussian around a0_hat with unit variance, with learned_std, elbo, or the "
        "squared error of the noise",
        one_of=LIKELIHOODS,
    )


@struct.dataclass
class Candidates:
    """Actions that critics choose among."""

    num_candidates: int = setting(
        10,
        "actions that the choice is made among when acting",
        at_least=1,
        at_most=100_000,
        may_change=True,
    )


@struct.dataclass
class Selection(Candidates):
    """Energy-based action selection (EDP Eq. 13)."""

    selection_temperature: float = setting(
        1.0,
        "temperature of that choice in units of Q; 0 takes the best",
        at_least=0,
        may_change=True,
        read_with={"num_candidates": range(2, 2**31)},
    )
