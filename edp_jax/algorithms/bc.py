"""Behaviour cloning with a diffusion or a Gaussian policy."""

from edp_jax.algorithms import base, edp
from edp_jax.algorithms.base import AgentState, Algorithm, AlgorithmConfig, Hypers, Metrics
from edp_jax.types import TaskSpec, Transition


def make(config: AlgorithmConfig, spec: TaskSpec) -> Algorithm:
    """BC: the denoising loss alone (EDP Eq. 5), or the likelihood of a Gaussian policy."""
    policy = edp.make_policy(config, spec)

    def update_step(state: AgentState, batch: Transition, hypers: Hypers) -> tuple[AgentState, Metrics]:
        opt = base.optimizer(config, hypers, state.step)
        draws = policy.draw(base.update_key(state), batch.action)
        actor = edp.policy_step(config, policy, state, batch, draws, edp.imitation(config), opt, hypers)
        return edp.finish(state, actor=actor)

    return Algorithm(edp.make_init(config, policy.network), update_step, edp.make_act(config, policy, None, spec))
