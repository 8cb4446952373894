"""Behaviour cloning with a diffusion or a Gaussian policy."""

from typing import Any

import chex
from flax import struct

from edp_jax import networks
from edp_jax.acting import Acting
from edp_jax.algorithms import base, edp, groups, ways
from edp_jax.algorithms.base import AgentState, Algorithm, Metrics
from edp_jax.policy import Policy
from edp_jax.settings import redefined
from edp_jax.types import TaskSpec, Transition


@struct.dataclass
class DiffusionBC(groups.Diffusion, groups.Average, groups.Networks, groups.Optimization):
    """Settings of cloning with a diffusion policy."""


@struct.dataclass
class GaussianBC(groups.Average, groups.FeedForward, groups.Optimization):
    """Settings of cloning with a Gaussian feed-forward policy."""

    grad_clip: float = redefined(groups.Optimization, "grad_clip", 0.0)
    ema_period: int = redefined(groups.Average, "ema_period", 1)
    ema_start: int = redefined(groups.Average, "ema_start", 0)


def make_diffusion(settings: DiffusionBC, spec: TaskSpec) -> Algorithm:
    """The denoising loss alone (EDP, 2305.20081, Eq. 5); acts with one sample."""
    policy = edp.diffusion_policy(settings, spec)
    return _make(settings, policy, ways.by_sample(ways.acting_policy(settings, policy), spec))


def make_gaussian(settings: GaussianBC, spec: TaskSpec) -> Algorithm:
    """The likelihood of the dataset's actions under a Gaussian; acts with its mean."""
    policy = edp.gaussian_policy(settings, spec)
    return _make(settings, policy, ways.by_mean(policy.network))


def _make(settings: Any, policy: Policy, act: Acting) -> Algorithm:
    def draw(key: chex.PRNGKey, params: networks.Params, batch: Transition) -> Any:
        del params
        return policy.draw(key, batch.action)

    def update(
        state: AgentState, batch: Transition, settings: Any, draws: Any
    ) -> tuple[AgentState, Metrics]:
        opt = base.optimizer(settings, state.step)
        guidance = edp.cloning(policy, batch)
        actor = edp.policy_step(settings, policy, state, batch, draws, guidance, opt)
        return base.finish(state, actor=actor)

    return Algorithm(
        settings=settings,
        init=base.make_init(settings, {"actor": policy.network}),
        draw=draw,
        update=update,
        act=act,
        draw_params=edp.averaged_actor,
        policy_params=edp.averaged_actor,
        draws_ahead=base.draws_ahead(settings),
    )
