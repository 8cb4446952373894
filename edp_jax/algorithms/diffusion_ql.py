"""Diffusion-QL (2208.06193): EDP-TD3 that guides the whole sampling chain.

In place of the action approximation stands an action that the chain has sampled, with the gradient
through all its calls of the network (Eq. 3).
"""

import chex
from flax import struct

from edp_jax import networks
from edp_jax.algorithms import edp, groups, td3
from edp_jax.algorithms.base import Algorithm
from edp_jax.policy import Chain, DiffusionPolicy
from edp_jax.settings import redefined
from edp_jax.types import Array, TaskSpec, Transition


@struct.dataclass
class DiffusionQL(td3.GuidedDiffusion):
    """Settings of Diffusion-QL as published: K = 5, DDPM, a choice among 50 candidates."""

    num_timesteps: int = redefined(groups.Diffusion, "num_timesteps", 5)
    sampler: str = redefined(groups.Diffusion, "sampler", "ddpm")
    sampler_calls: int = redefined(groups.Diffusion, "sampler_calls", 5)
    num_candidates: int = redefined(groups.Selection, "num_candidates", 50)


def make_guided_action(policy: DiffusionPolicy) -> td3.GuidedAction:
    """Actions [B, A] of the chain, with the gradient through all its calls of the network."""

    def guided_action(params: networks.Params, batch: Transition, chain: Chain) -> Array:
        return policy.run_chain(params, batch.observation, chain)

    return guided_action


def make(settings: DiffusionQL, spec: TaskSpec) -> Algorithm:
    """Diffusion-QL."""
    policy, critics = edp.diffusion_policy(settings, spec), edp.make_critics(settings, spec)

    def draw_chain(key: chex.PRNGKey, batch: Transition) -> Chain:
        return policy.draw_chain(key, batch.action.shape)

    draw = td3.make_draw(settings, policy, draw_chain)
    update = td3.make_update(policy, critics, make_guided_action(policy))
    return td3.assemble(settings, spec, policy, critics, draw, update)
