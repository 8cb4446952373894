"""Behaviour cloning with a diffusion or a Gaussian policy."""

from typing import Any

import chex

from edp_jax import networks
from edp_jax.algorithms import base, edp
from edp_jax.algorithms.base import AgentState, Algorithm, AlgorithmConfig, Hypers, Metrics
from edp_jax.types import TaskSpec, Transition


def make(config: AlgorithmConfig, spec: TaskSpec) -> Algorithm:
    """BC: the denoising loss alone (EDP Eq. 5), or the likelihood of a Gaussian policy."""
    policy = edp.make_policy(config, spec)

    def draw(key: chex.PRNGKey, params: networks.Params, batch: Transition) -> Any:
        del params
        return policy.draw(key, batch.action)

    def update(
        state: AgentState, batch: Transition, hypers: Hypers, draws: Any
    ) -> tuple[AgentState, Metrics]:
        opt = base.optimizer(config, hypers, state.step)
        actor = edp.policy_step(
            config, policy, state, batch, draws, edp.imitation(config), opt, hypers
        )
        return edp.finish(state, actor=actor)

    init, act = edp.make_init(config, policy.network), edp.make_act(config, policy, None, spec)
    return Algorithm(init, draw, update, act, draws_ahead=base.draws_ahead(config))
