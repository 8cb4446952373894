"""DAC, Diffusion Actor-Critic (2405.20555): guidance at the noisy action.

EDP guides the approximated action a0_hat. At much noise it lies between the modes of the data, and
its gradient pulls samples away from them. DAC asks the critics at the noisy action itself, and adds
their gradient to the noise that the network has to predict. How much imitation weighs against it is
not set but found: so much that the denoising loss stays at a threshold.

Critics are an ensemble. Their targets are its mean less its standard deviation, a lower confidence
bound, which is low where the critics disagree.

With `qsm_alpha` the policy learns by Q-score matching (QSM, 2312.11752) instead: it follows the
same gradient and imitates nothing.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
from flax import struct

from edp_jax import diffusion, losses, networks
from edp_jax.algorithms import base, bcq, edp, groups, ways
from edp_jax.algorithms.base import AgentState, Algorithm, Metrics
from edp_jax.policy import DiffusionPolicy, select_by_energy
from edp_jax.settings import redefined, setting
from edp_jax.types import Array, TaskSpec, Transition

BACKUPS = {"mean": jnp.mean, "max": jnp.max}  # over the policy's next actions
WEIGHT_RANGE = (1e-3, 100.0)  # of imitation, as in the public code


@struct.dataclass
class DAC(
    groups.Selection,
    groups.Diffusion,
    groups.SampledBackup,
    groups.Critics,
    groups.Average,
    groups.Networks,
    groups.Optimization,
):
    """Settings of DAC."""

    num_timesteps: int = redefined(groups.Diffusion, "num_timesteps", 5)
    sampler: str = redefined(groups.Diffusion, "sampler", "ddpm")
    sampler_calls: int = redefined(groups.Diffusion, "sampler_calls", 5)
    num_critics: int = redefined(groups.Critics, "num_critics", 10)
    num_backup_actions: int = redefined(groups.Backup, "num_backup_actions", 10)
    selection_temperature: float = redefined(groups.Selection, "selection_temperature", 0.0)
    grad_clip: float = redefined(groups.Optimization, "grad_clip", 1.0)
    backup: str = setting(
        "mean", "how the target joins the values of its next actions", one_of=BACKUPS
    )
    pessimism: float = setting(
        1.0, "rho, standard deviations of the critics below their mean", at_least=0, traced=True
    )
    denoising_threshold: float = setting(
        0.1,
        "denoising loss per action dimension that imitation is weighed to reach; 1: none at all",
        above=0,
        traced=True,
        read_with={"qsm_alpha": (0.0,)},
    )
    qsm_alpha: float = setting(
        0.0,
        "alpha of QSM, whose loss takes the place of imitation and guidance: the policy becomes "
        "exp(alpha Q / mean |Q|); 0: DAC",
        at_least=0,
    )


def lower_bound(q: Array, rho: Array | float) -> Array:
    """Lower confidence bound of an ensemble's values.

    Args:
      q: [C, ...] what each critic says.
      rho: [] how many standard deviations below the mean.

    Returns:
      [...] mean_i q_i - rho std_i q_i (DAC, 2405.20555), std with 1/C.
    """
    return jnp.mean(q, axis=0) - rho * jnp.std(q, axis=0)


def soft_guidance(
    schedule: diffusion.NoiseSchedule,
    t: Array,
    predicted_noise: Array,
    q_gradient: Array,
) -> Array:
    """Moves the predicted noise against the gradient of Q, less where there is little noise.

    Its gradient towards the predicted noise is sqrt(1 - abar) grad Q, so that, beside a denoising
    loss of weight w, the network learns to predict eps - sqrt(1 - abar) grad Q / (2 w).

    Args:
      schedule: noise schedule with K timesteps.
      t: [B] integer timesteps in 0..K-1.
      predicted_noise: [B, A].
      q_gradient: [B, A] of Q at the noisy action, towards it; taken as a constant.

    Returns:
      [B, A] sqrt(1 - abar) grad Q predicted_noise (DAC's soft Q-guidance).
    """
    chex.assert_equal_shape([predicted_noise, q_gradient])
    return _in_units_of_noise(schedule, t, q_gradient) * predicted_noise


def q_score_matching(
    schedule: diffusion.NoiseSchedule,
    t: Array,
    predicted_noise: Array,
    q_gradient: Array,
    alpha: float,
) -> Array:
    """Pulls the policy's score towards alpha grad Q, whatever the data do (QSM, Algorithm 1).

    The score of a diffusion policy at a noisy action is -predicted_noise / sqrt(1 - abar). If it
    is alpha grad Q everywhere, actions have probabilities proportional to exp(alpha Q). The
    distance of the two is multiplied by sqrt(1 - abar), as in a denoising loss. The public code
    leaves that factor out and moves every timestep by alpha grad Q.

    Up to a constant it is 2 alpha times DAC's loss for w = 1 / (2 alpha), were the noise of the
    data 0: predicted_noise^2 + 2 alpha soft_guidance.

    Args:
      schedule: noise schedule with K timesteps.
      t: [B] integer timesteps in 0..K-1.
      predicted_noise: [B, A].
      q_gradient: [B, A] of Q at the noisy action, towards it; taken as a constant.
      alpha: in units of 1 / Q.

    Returns:
      [B, A] (predicted_noise + alpha sqrt(1 - abar) grad Q)^2.
    """
    chex.assert_equal_shape([predicted_noise, q_gradient])
    return jnp.square(predicted_noise + alpha * _in_units_of_noise(schedule, t, q_gradient))


def _in_units_of_noise(schedule: diffusion.NoiseSchedule, t: Array, q_gradient: Array) -> Array:
    """sqrt(1 - abar) grad Q [B, A], the gradient as the network's noise is scaled; a constant."""
    sigma = jnp.sqrt(1.0 - jnp.asarray(schedule.alphas_cumprod)[t])
    return sigma[:, None] * jax.lax.stop_gradient(q_gradient)


def make_update(
    policy: DiffusionPolicy, critics: networks.Network
) -> Callable[[AgentState, Transition, DAC, bcq.Draws], tuple[AgentState, Metrics]]:
    """Builds the update as a deterministic function of its random numbers.

    The policy learns from the averaged critics, and with the weight of imitation, before the
    update.
    """

    def update(
        state: AgentState, batch: Transition, settings: DAC, draws: bcq.Draws
    ) -> tuple[AgentState, Metrics]:
        opt, critic = base.optimizer(settings, state.step), state.networks["critic"]
        next_q = BACKUPS[settings.backup](
            edp.next_q_values(critics, critic, batch, draws.target), axis=1
        )
        next_value = lower_bound(next_q, settings.pessimism)
        target = losses.td_target(batch.reward, settings.discount * batch.discount, next_value)

        t, noise = draws.corruption
        noisy = diffusion.add_noise(policy.schedule, batch.action, t, noise)

        def value(action: Array) -> Array:
            return jnp.mean(critics.apply(critic.target_params, batch.observation, action), axis=0)

        unit = jnp.maximum(losses.mean(jnp.abs(value(batch.action)), batch.has_value), 1e-6)
        gradient = jax.grad(lambda action: jnp.sum(value(action)))(noisy) / unit
        matching = settings.qsm_alpha > 0  # imitates nothing, so no weight of it is looked for
        log_weight = state.networks["dual"].params["log_weight"]
        weight = jnp.zeros(()) if matching else jnp.exp(log_weight)

        def actor_loss(params: networks.Params) -> tuple[Array, Metrics]:
            predicted = policy.network.apply(params, batch.observation, noisy, t)
            denoising = losses.mean(jnp.square(predicted - noise), batch.recorded)
            given = policy.schedule, t, predicted, gradient
            if matching:
                guided = q_score_matching(*given, settings.qsm_alpha)
            else:
                guided = soft_guidance(*given)
            if batch.has_value is not None:  # the others may imitate, but no value guides them
                guided = batch.has_value[:, None] * guided
            guidance = losses.mean(guided, batch.recorded)
            parts = {"denoising_loss": denoising, "guidance_loss": guidance, "weight": weight}
            return weight * denoising + guidance, parts

        actor, metrics = base.gradient_step(actor_loss, state.networks["actor"], opt)
        actor = base.update_target(actor, base.policy_tau(settings, state.step + 1))
        above = metrics["denoising_loss"] - settings.denoising_threshold
        excess = 0.0 if matching else above

        def dual_loss(params: networks.Params) -> tuple[Array, Metrics]:
            return -params["log_weight"] * excess, {}

        dual, dual_metrics = base.gradient_step(dual_loss, state.networks["dual"], opt)
        low, high = jnp.log(jnp.array(WEIGHT_RANGE))
        kept = {"log_weight": jnp.clip(dual.params["log_weight"], low, high)}
        return base.finish(
            state,
            critic=edp.critic_step(critics, critic, batch, target, opt, settings.tau),
            actor=(actor, metrics),
            dual=(dataclasses.replace(dual, params=kept), dual_metrics),
        )

    return update


# The weight of imitation, as a network without inputs: Adam moves its logarithm by about one
# learning rate per update, up while the denoising loss is above the threshold, down below it. The
# public code adds the excess to the weight itself.
DUAL = networks.Network(
    init=lambda key: {"log_weight": jnp.zeros(())}, apply=lambda params: params["log_weight"]
)


def make(settings: DAC, spec: TaskSpec) -> Algorithm:
    """DAC; acts by the sample whose critics' mean is highest, or by a choice at a temperature."""
    policy, critics = edp.diffusion_policy(settings, spec), edp.make_critics(settings, spec)

    def choose(params: Any, observation: Array, q: Array, noise: Array | None) -> Array:
        del params, observation
        return select_by_energy(jnp.mean(q, axis=0), settings.selection_temperature, noise)

    parts = {"actor": policy.network, "critic": critics, "dual": DUAL}
    return Algorithm(
        settings=settings,
        init=base.make_init(settings, parts, without_average=("dual",)),
        draw=bcq.make_draw(settings, policy),
        update=make_update(policy, critics),
        act=ways.by_critics(
            choose,
            settings.num_candidates,
            ways.acting_policy(settings, policy),
            critics,
            spec,
            at_random=settings.selection_temperature > 0,
        ),
        draw_params=edp.averaged_actor,
        policy_params=edp.averaged_actor_and_critic,
        draws_ahead=base.draws_ahead(settings),
    )
