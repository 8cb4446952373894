"""IDQL (2304.10573): a diffusion policy clones the dataset, IQL's critics choose of its samples.

The policy never sees the critics. Their choice is the policy that IQL's values belong to
(its implicit actor): an action whose Q is above V is taken with another weight than one below. The
weights are numbers between 0 and 1, so that nothing depends on the scale of the rewards.

The networks and the sampler are those of EDP, not the larger ones of the publication.
"""

from typing import Any

import chex
import jax.numpy as jnp
from flax import struct

from edp_jax import networks
from edp_jax.algorithms import edp, groups, iql, ways
from edp_jax.algorithms.base import AgentState, Algorithm
from edp_jax.settings import setting
from edp_jax.types import Array, TaskSpec


@struct.dataclass
class IDQL(
    groups.Candidates,
    groups.Diffusion,
    groups.Critics,
    groups.Average,
    groups.Networks,
    groups.Optimization,
):
    """Settings of IDQL.

    The expectile is no traced setting as in IQL: acting reads it as well, and all members of a run
    act by one program.
    """

    expectile: float = setting(
        0.7,
        "of the value regression, and of the choice: the weight of actions above V, the others' is "
        "1 less it",
        at_least=0,
        at_most=1,
    )


def choose_by_expectile(q: Array, v: Array, expectile: float, noise: Array) -> Array:
    """Draws candidates with IDQL's weights (2304.10573, the implicit actor of the expectile loss).

    Args:
      q: values [M, ...] of M candidates; every entry behind the first axis makes its own choice.
      v: value [...] of the observation.
      expectile: tau, the one that V was learned with.
      noise: [M, ...] standard Gumbel.

    Returns:
      Indices [...], drawn with weights tau where Q > V and 1 - tau elsewhere.
    """
    chex.assert_shape(v, q.shape[1:])
    weight = jnp.where(q > v, expectile, 1.0 - expectile)
    return jnp.argmax(jnp.log(weight) + noise, axis=0)


def policy_params(state: AgentState) -> dict[str, networks.Params]:
    """The averaged policy and critics, and V, which has no average."""
    return edp.averaged_actor_and_critic(state) | {"value": state.networks["value"].params}


def make(settings: IDQL, spec: TaskSpec) -> Algorithm:
    """IDQL; acts by a choice among samples."""
    policy = edp.diffusion_policy(settings, spec)
    critics, value = edp.make_critics(settings, spec), iql.make_value(settings, spec)

    def choose(params: Any, observation: Array, q: Array, noise: Array | None) -> Array:
        assert noise is not None
        v = value.apply(params["value"], observation)
        return choose_by_expectile(jnp.min(q, axis=0), v, settings.expectile, noise)

    acting, count = ways.acting_policy(settings, policy), settings.num_candidates
    act = ways.by_critics(choose, count, acting, critics, spec, at_random=True)
    return iql.assemble(
        settings,
        spec,
        policy,
        critics,
        act,
        policy_params,
        lambda _, batch, *__: edp.cloning(policy, batch),
    )
