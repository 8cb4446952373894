"""One-call policies: a student reaches in one network call where its teacher's chain ends.

The chain of a deterministic sampler is a map from an observation and starting noise to an action.
The student learns that map, from chains that begin at the observations of the dataset: the mean
squared distance to the chain's action from the same noise, plus the guidance by critics of Flow
Q-Learning's one-step policy (2502.02538, section 4). No simulator and no reward is needed.

The student has the network of its teacher and begins as a copy of it. It acts as its teacher does,
but for the sampler: from the same noise, and by the same choice among candidates. The choice is
left to acting because the map from noise to action has to know nothing of it. A student of chosen
actions would see several of them for one and the same noise, and learn their mean.

Every learner with a diffusion policy has such a student. It is that learner with another update:
its networks are the teacher's, which stand still, and the student in the actor's place.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax
from flax import struct

from edp_jax import diffusion, networks
from edp_jax.algorithms import base, edp, fql, groups, ways
from edp_jax.algorithms.base import AgentState, Algorithm, Metrics, TrainState
from edp_jax.policy import DiffusionPolicy
from edp_jax.settings import setting
from edp_jax.types import Array, InputError, TaskSpec, Transition

PREFIX = "one_call_"  # of a student's name, before that of the learner it is a student of
TAU = 0.001  # step of the student's moving average, once it has seen as many updates


@struct.dataclass
class Student:
    """What the settings of a student say in addition to its teacher's, or in their place."""

    sampler: str = setting(diffusion.ONE_CALL, "how the student acts", one_of=(diffusion.ONE_CALL,))
    sampler_calls: int = setting(1, "network calls per sampled action", at_least=1, at_most=1)
    starting_noise: float = setting(
        1.0, "standard deviation of the noise that the teacher's chains start from", at_least=0
    )
    chain_sampler: str = setting(
        "dpm_solver_3", "solver of these chains", one_of=diffusion.SAMPLERS
    )
    chain_calls: int = setting(15, "network calls of a chain", at_least=1, at_most=10_000)
    guidance: float = setting(
        0.0, "weight of the guidance by the critics beside the distance to the chain", at_least=0
    )
    spread: float = setting(
        1.0,
        "largest noise on the observations that are learned at, per standard deviation of a column",
        at_least=0,
    )
    student_rate: float = setting(1e-3, "step size of Adam", above=0)
    teacher_step: int = setting(0, "updates of the teacher", at_least=0)


class Draws(NamedTuple):
    """All that an update sees besides the batch."""

    observation: Array  # [B, O] near those of the batch
    noise: Array  # [B, A] standard normal, which student and chain start from
    action: Array  # [B, A] that the chain reaches


def settings_of(teacher: type) -> type:
    """The settings of a student, made of those of its teacher; the latter say what it was."""
    return struct.dataclass(type(f"OneCall{teacher.__name__}", (Student, teacher), {}))


def begin(settings: Student, teacher: dict[str, TrainState]) -> dict[str, TrainState]:
    """The networks of one member's student before its first update.

    Args:
      settings: of the student.
      teacher: the networks of that member's teacher.
    """
    params = teacher["actor"].target_params
    copies = [jax.tree.map(jnp.copy, params) for _ in range(3)]
    stand_still = {
        name: dataclasses.replace(network, opt_state=()) for name, network in teacher.items()
    }
    student = TrainState(copies[0], copies[1], _optimizer(settings).init(params))
    return stand_still | {"actor": student, "teacher": TrainState(copies[2], None, ())}


def nearby(key: chex.PRNGKey, observation: Array, spread: float) -> Array:
    """Observations [B, O] near those of a batch [B, O], some very near and some farther off.

    Each row has noise of its own size, from `spread` / 100 to `spread` standard deviations of every
    column over the batch, uniform in the logarithm. A column that is constant stays so.
    """
    size_key, noise_key = jax.random.split(key)
    size = 10.0 ** jax.random.uniform(size_key, (len(observation), 1), minval=-2.0, maxval=0.0)
    noise = jax.random.normal(noise_key, observation.shape)
    return observation + spread * size * jnp.std(observation, axis=0) * noise


def student_action(
    student: DiffusionPolicy, params: networks.Params, observation: Array, noise: Array
) -> Array:
    """The student's actions [B, A]: one network call on each row of standard normal noise [B, A].

    They may lie outside the box [-1, 1], so that the loss has a gradient there as well.
    """

    def denoise(x: Array, t: Array) -> Array:
        return student.network.apply(params, observation, x, t)

    x_T = student.noise_scale * noise
    return diffusion.sample_with_noise(student.sampler, denoise, x_T, None)


def make_update(
    student: DiffusionPolicy, critics: networks.Network | None
) -> Callable[[AgentState, Transition, Any, Draws], tuple[AgentState, Metrics]]:
    """Builds the update as a deterministic function of its draws; without critics no guidance."""

    def update(
        state: AgentState, batch: Transition, settings: Any, draws: Draws
    ) -> tuple[AgentState, Metrics]:
        def loss(params: networks.Params) -> tuple[Array, Metrics]:
            action = student_action(student, params, draws.observation, draws.noise)
            away = fql.distance(action, draws.action, batch.recorded)
            if critics is None:
                return away, {"distance": away}
            judges = state.networks["critic"].target_params
            guidance, metrics = fql.value_guidance(
                critics, judges, draws.observation, action, batch.has_value
            )
            return away + settings.guidance * guidance, {"distance": away} | metrics

        actor, metrics = base.gradient_step(loss, state.networks["actor"], _optimizer(settings))
        tau = jnp.maximum(TAU, 1.0 / (state.step + 1.0))
        return base.finish(state, actor=(base.update_target(actor, tau), metrics))

    return update


def maker(make_teacher: Callable[[Any, TaskSpec], Algorithm]) -> Callable[..., Algorithm]:
    """The function that builds a student, from the one that builds its teacher."""

    def make(settings: Any, spec: TaskSpec) -> Algorithm:
        untrained = make_teacher(settings, spec)
        student = ways.acting_policy(settings, edp.diffusion_policy(settings, spec))
        chain = student._replace(sampler=_chain_sampler(settings, student.schedule))
        critics = _critics(settings, spec)

        def init(key: chex.PRNGKey) -> AgentState:
            state = untrained.init(key)
            return dataclasses.replace(state, networks=begin(settings, state.networks))

        def draw(key: chex.PRNGKey, params: networks.Params, batch: Transition) -> Draws:
            nearby_key, noise_key, chain_key = jax.random.split(key, 3)
            observation = nearby(nearby_key, batch.observation, settings.spread)
            noise = jax.random.normal(noise_key, batch.action.shape)
            action = chain.sample(params, observation, noise, chain_key)
            return Draws(observation, noise, action)

        return untrained._replace(
            init=init,
            draw=draw,
            update=make_update(student, critics),
            draw_params=lambda state: state.networks["teacher"].params,
            draws_ahead=base.MOST_AHEAD,  # the teacher stands still
        )

    return make


def _optimizer(settings: Student) -> optax.GradientTransformation:
    return optax.adam(settings.student_rate)


def _chain_sampler(settings: Student, schedule: diffusion.NoiseSchedule) -> diffusion.Sampler:
    sampler = diffusion.make_sampler(settings.chain_sampler, schedule, settings.chain_calls)
    if sampler.is_stochastic:
        raise InputError(
            f"chain_sampler={settings.chain_sampler}: draws noise on its way, so the starting "
            "noise alone does not say where it ends; use one that does not (--sampler=ddim)"
        )
    return sampler


def _critics(settings: Any, spec: TaskSpec) -> networks.Network | None:
    """The critics that guide; None without guidance."""
    if not settings.guidance:
        return None
    if not isinstance(settings, groups.Critics):
        raise InputError(
            f"guidance={settings.guidance:g}: the teacher has no critics; use guidance=0"
        )
    return edp.make_critics(settings, spec)
