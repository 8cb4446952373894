"""Weighted denoising: the learner to begin with on own data, called `edp`.

A diffusion policy imitates the dataset, actions that are better than V more than the others. It is
EDP-IQL (EDP, 2305.20081, section 4.2) with two changes:

* The likelihood of an action is the squared error of its predicted noise (`likelihood="noise"`
  there). Denoising loss and weighted likelihood are then one loss: the denoising loss with a
  weight on every action.
* The weights are those of IDQL's implicit actor (2304.10573): the policy that IQL's values belong
  to. They depend on the sign of an advantage alone, so that no setting has the unit of a reward,
  and none is far from the others, so that little of the data is lost to imitation.

No gradient of a critic ever reaches the policy, so it cannot leave the data for actions that the
critics only believe to be good. Sampling from little noise then makes the likelier actions much
likelier, and IDQL's choice among samples has the same weights once more.
"""

import jax.numpy as jnp
from flax import struct

from edp_jax import losses, networks
from edp_jax.algorithms import edp, groups, idql
from edp_jax.algorithms.base import Algorithm, Metrics
from edp_jax.policy import Prediction
from edp_jax.settings import redefined
from edp_jax.types import Array, TaskSpec, Transition


@struct.dataclass
class EDP(idql.IDQL):
    """Settings of the recommended learner: the same for every task."""

    starting_noise: float = redefined(groups.Diffusion, "starting_noise", 0.3)
    critic_layer_norm: bool = redefined(groups.Critics, "critic_layer_norm", True)
    learning_rate: float = redefined(groups.Optimization, "learning_rate", 1e-3)
    tau: float = redefined(groups.Average, "tau", 0.02)


def implicit_weight(advantage: Array, expectile: float, counts: Array | None = None) -> Array:
    """Weight of each action in the denoising loss, the same in whatever unit rewards are.

    Args:
      advantage: [B] Q - V of the dataset's actions.
      expectile: tau, the one that V was learned with.
      counts: [B], see `edp_jax.losses`; the others have the weight 1.

    Returns:
      [B] tau where Q > V and 1 - tau elsewhere (IDQL, 2304.10573, the implicit actor of the
      expectile loss), divided by their mean.
    """
    weight = jnp.where(advantage > 0.0, expectile, 1.0 - expectile)
    weight = weight / losses.mean(weight, counts)
    return weight if counts is None else jnp.where(counts > 0, weight, 1.0)


def weighted_denoising(advantage: Array, batch: Transition, settings: EDP) -> edp.Guidance:
    """What the policy is trained on: the mean of weight x denoising loss.

    Rows without a value, such as chunks that a recording cut, are cloned.
    """
    weight = implicit_weight(advantage, settings.expectile, batch.has_value)

    def guidance(params: networks.Params, prediction: Prediction) -> tuple[Array, Metrics]:
        del params
        extra = (weight - 1.0) * prediction.denoising_loss  # that with the weight 1 is there
        metrics = {"advantage_mean": losses.mean(advantage, batch.has_value)}
        return losses.mean(extra, batch.has_action), metrics

    return guidance


def make(settings: EDP, spec: TaskSpec) -> Algorithm:
    """The recommended learner; acts by IDQL's choice among samples from little noise."""
    policy = edp.diffusion_policy(settings, spec)
    return idql.assemble(settings, spec, policy, weighted_denoising)
