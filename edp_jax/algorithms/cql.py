"""EDP with CQL (2006.04779): EDP-TD3 whose critics are kept low on actions that the data lack."""

import chex
import jax
import jax.numpy as jnp
from flax import struct

from edp_jax import losses, networks
from edp_jax.algorithms import edp, td3
from edp_jax.algorithms.base import Algorithm, Metrics
from edp_jax.policy import ACTION_BOUND, Prediction
from edp_jax.settings import setting
from edp_jax.types import Array, TaskSpec, Transition


@struct.dataclass
class Conservative:
    """CQL's penalty on the critics."""

    cql_alpha: float = setting(5.0, "weight of CQL's penalty", at_least=0, traced=True)
    cql_threshold: float = setting(
        -2.4,
        "a state whose sampled actions are valued above the data's by less has no penalty; in Q",
        traced=True,
    )
    num_cql_actions: int = setting(10, "uniform actions in the penalty", at_least=1)


@struct.dataclass
class EDPCQL(Conservative, td3.EDPTD3):
    """Settings of EDP-CQL."""


def make_penalty(critics: networks.Network) -> td3.MakeRegularizer:
    """CQL(H)'s penalty over uniform actions [M, B, A] and the policy's a0_hat [B, A].

    The policy's own loss computes a0_hat as well, so it costs nothing more. Every action has its
    own copy of the observation, because one large product in the first layer is faster than a sum
    in its gradient.
    """

    def make_regularizer(
        batch: Transition, prediction: Prediction, settings: EDPCQL, uniform: Array
    ) -> td3.Regularizer:
        actions = jnp.concatenate([uniform, prediction.action[None]])
        shape = (len(actions), *batch.observation.shape)
        observations = jnp.broadcast_to(batch.observation, shape)

        def penalty(params: networks.Params, q: Array) -> tuple[Array, Metrics]:
            excess = losses.cql_excess(critics.apply(params, observations, actions), q)
            loss = losses.cql_penalty(excess, settings.cql_threshold, batch.has_value)
            return settings.cql_alpha * loss, {"cql_excess": jnp.mean(excess)}

        return penalty

    return make_regularizer


def make(settings: EDPCQL, spec: TaskSpec) -> Algorithm:
    """EDP-CQL."""
    policy, critics = edp.diffusion_policy(settings, spec), edp.make_critics(settings, spec)

    def draw_actions(key: chex.PRNGKey, batch: Transition) -> Array:
        shape = (settings.num_cql_actions, *batch.action.shape)
        return jax.random.uniform(key, shape, minval=-ACTION_BOUND, maxval=ACTION_BOUND)

    draw = td3.make_draw(settings, policy, draw_actions)
    update = td3.make_update(policy, critics, make_regularizer=make_penalty(critics))
    return td3.assemble(settings, spec, policy, critics, draw, update)
