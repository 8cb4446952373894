"""Flow Q-Learning (Park et al. 2025, arXiv 2502.02538).

A flow policy clones the dataset: its velocity field carries noise to actions in several steps. A
one-step policy, the student, maps the same noise to an action in one network pass. It learns to
raise the critics' value and to stay near the action that the flow reaches from that noise. The
student acts and makes the critics' targets, so neither needs the flow's steps.

Networks have the sizes of this package's other learners (the publication has four layers of 512).
"""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
from flax import struct

from edp_jax import acting, losses, networks
from edp_jax.algorithms import base, edp, groups
from edp_jax.algorithms.base import AgentState, Algorithm, Metrics
from edp_jax.policy import ACTION_BOUND
from edp_jax.settings import redefined, setting
from edp_jax.types import Array, TaskSpec, Transition

TIME_SCALE = 1000.0  # a flow's time in 0..1 times this is what the time embedding is made for


@struct.dataclass
class FQL(groups.Critics, groups.Networks, groups.Optimization):
    """Settings of Flow Q-Learning."""

    grad_clip: float = redefined(groups.Optimization, "grad_clip", 0.0)
    critic_layer_norm: bool = redefined(groups.Critics, "critic_layer_norm", True)
    tau: float = redefined(groups.Average, "tau", 0.005)
    fql_alpha: float = setting(
        10.0, "weight of the student's distance to the flow", at_least=0, traced=True
    )
    flow_steps: int = setting(10, "Euler steps of the flow from noise to action", at_least=1)


class Draws(NamedTuple):
    """All random numbers of one update."""

    flow_noise: Array  # [B, A] where the flow's straight paths start
    flow_time: Array  # [B] in 0..1, where on these paths the velocity is learned
    student_noise: Array  # [B, A] that student and flow both start from
    next_noise: Array  # [B, A] of the student's actions at the next observations
    critics: Array | None  # see `edp.draw_critics`


def draw(key: chex.PRNGKey, settings: FQL, batch: Transition) -> Draws:
    """Draws all random numbers of one update."""
    noise_key, time_key, student_key, next_key, critics_key = jax.random.split(key, 5)
    shape = batch.action.shape
    return Draws(
        flow_noise=jax.random.normal(noise_key, shape),
        flow_time=jax.random.uniform(time_key, shape[:1]),
        student_noise=jax.random.normal(student_key, shape),
        next_noise=jax.random.normal(next_key, shape),
        critics=edp.draw_critics(critics_key, settings),
    )


def flow_matching_loss(
    flow: networks.Network,
    params: networks.Params,
    batch: Transition,
    noise: Array,
    time: Array,
) -> Array:
    """Mean squared error [] of the velocity on straight paths from noise to action (section 4).

    On the path x_t = (1 - t) noise + t action, the velocity is action - noise. Where actions are
    chunks, the mean is over what was recorded of them.

    Args:
      flow: apply(params, observation [B, O], x_t [B, A], time [B]) -> velocity [B, A].
      params: of the flow.
      batch: transitions to clone.
      noise: [B, A] standard normal.
      time: [B] in 0..1.
    """
    chex.assert_equal_shape([batch.action, noise])
    t = time[:, None]
    x_t = (1.0 - t) * noise + t * batch.action
    velocity = flow.apply(params, batch.observation, x_t, TIME_SCALE * time)
    return losses.mean(jnp.square(velocity - (batch.action - noise)), batch.recorded)


def integrate(
    flow: networks.Network,
    params: networks.Params,
    observation: Array,
    noise: Array,
    num_steps: int,
) -> Array:
    """Actions [B, A] that the flow carries noise [B, A] to, by Euler's method in equal steps."""

    def step(x: Array, index: Array) -> tuple[Array, None]:
        time = TIME_SCALE * index / num_steps
        return x + flow.apply(params, observation, x, time) / num_steps, None

    x, _ = jax.lax.scan(step, noise, jnp.arange(num_steps), unroll=min(num_steps, 16))
    return jnp.clip(x, -ACTION_BOUND, ACTION_BOUND)


def student_action(
    student: networks.Network,
    params: networks.Params,
    observation: Array,
    noise: Array,
) -> Array:
    """The student's actions [..., A] for noise [..., A]; its network sees a constant time."""
    return student.apply(params, observation, noise, jnp.zeros(()))


def distance(action: Array, reached: Array, counts: Array | None = None) -> Array:
    """Mean squared distance [] of a student's actions to those that its teacher reached.

    Args:
      action: [B, A] of the student, before they are clipped to the box.
      reached: [B, A] from the same noise.
      counts: [B, A] `Transition.recorded`.
    """
    chex.assert_equal_shape([action, reached])
    return losses.mean(jnp.square(action - reached), counts)


def value_guidance(
    critics: networks.Network,
    params: networks.Params,
    observation: Array,
    action: Array,
    counts: Array | None = None,
) -> tuple[Array, Metrics]:
    """-mean Q / mean |Q| [] of a student's actions (section 4), Q the mean of the critics.

    It is normalised as in TD3+BC. The critics are asked about the actions clipped to the box.

    Args:
      critics: the ensemble.
      params: of the critics.
      observation: [B, O].
      action: [B, A] of the student, before they are clipped to the box.
      counts: [B] `Transition.has_value`.
    """
    inside = jnp.clip(action, -ACTION_BOUND, ACTION_BOUND)
    q = jnp.mean(critics.apply(params, observation, inside), axis=0)
    loss = losses.td3_guidance_loss(q, 1.0, counts)
    return loss, {"guidance_loss": loss, "q_mean": jnp.mean(q)}


def make(settings: FQL, spec: TaskSpec) -> Algorithm:
    """Flow Q-Learning; acts with the newest student. All losses see the networks of before."""
    flow = networks.make_noise_net(spec, settings.hidden_dims, settings.activation)
    student, critics = flow, edp.make_critics(settings, spec)

    def update(
        state: AgentState, batch: Transition, settings: FQL, draws: Draws
    ) -> tuple[AgentState, Metrics]:
        opt = base.optimizer(settings, state.step)
        nets = state.networks
        next_action = student_action(
            student, nets["student"].params, batch.next_observation, draws.next_noise
        )
        target_draws = edp.TargetDraws(
            jnp.clip(next_action, -ACTION_BOUND, ACTION_BOUND)[None], draws.critics
        )
        next_q = edp.next_q_values(critics, nets["critic"], batch, target_draws)
        next_value = jnp.mean(next_q[:, 0], axis=0)
        target = losses.td_target(batch.reward, settings.discount * batch.discount, next_value)
        flow_action = integrate(
            flow, nets["flow"].params, batch.observation, draws.student_noise, settings.flow_steps
        )

        def flow_loss(params: networks.Params) -> tuple[Array, Metrics]:
            noise, time = draws.flow_noise, draws.flow_time
            return flow_matching_loss(flow, params, batch, noise, time), {}

        def student_loss(params: networks.Params) -> tuple[Array, Metrics]:
            """Guidance + alpha |student - flow|^2 (section 4)."""
            action = student_action(student, params, batch.observation, draws.student_noise)
            away = distance(action, flow_action, batch.recorded)
            guidance, metrics = value_guidance(
                critics, nets["critic"].params, batch.observation, action, batch.has_value
            )
            return guidance + settings.fql_alpha * away, {"distance": away} | metrics

        return base.finish(
            state,
            critic=edp.critic_step(critics, nets["critic"], batch, target, opt, settings.tau),
            flow=base.gradient_step(flow_loss, nets["flow"], opt),
            student=base.gradient_step(student_loss, nets["student"], opt),
        )

    def run(params: networks.Params, observation: Array, numbers: acting.Numbers) -> Array:
        noise = numbers[acting.NOISE][..., 0, :]
        action = student_action(student, params, observation, noise)
        return jnp.clip(action, -ACTION_BOUND, ACTION_BOUND)

    parts = {"flow": flow, "student": student, "critic": critics}
    return Algorithm(
        settings=settings,
        init=base.make_init(settings, parts, without_average=("flow", "student")),
        draw=lambda key, params, batch: draw(key, settings, batch),
        update=update,
        act=acting.Acting(run, {acting.NOISE: (1, spec.action_dim)}),
        draw_params=lambda state: (),
        policy_params=lambda state: state.networks["student"].params,
        draws_ahead=base.MOST_AHEAD,  # `draw` looks at no parameters
    )
