"""Signs of a good policy beside its value, each of them better the smaller it is."""

from typing import Any, NamedTuple

import jax
import numpy as np

from edp_jax import losses
from edp_jax.algorithms import AgentState, edp, groups, one_call
from edp_jax.types import TaskSpec, Transition

_DRAWS = 4  # timesteps and noises per action


class Signs(NamedTuple):
    """Signs of one policy; NaN where its learner has no such number."""

    denoising_loss: float = np.nan  # of its actor on the data's actions
    sample_loss: float = np.nan  # the same on actions of its own
    td_error: float = np.nan  # root mean square, of its critics, in units of the stored rewards
    excess: float = np.nan  # mean of how far its critics exceed the largest possible return
    distance: float = np.nan  # root mean square, of its actions from the data's, in half boxes
    drift: float = np.nan  # how much learned dynamics disagree where it leads, see `dynamics`


def denoising_loss(
    settings: Any, spec: TaskSpec, state: AgentState, batch: Transition, seed: int
) -> float:
    """The loss that a diffusion policy imitates with (EDP Eq. 5), of the averaged actor.

    It bounds the negative log-likelihood of actions (DDPM, 2006.11239, Eq. 14), up to weights and
    a constant. So it is small on actions that the policy finds likely, and large between modes.

    Args:
      settings: of the learner.
      spec: of the task.
      state: of one member.
      batch: [B], as the learner sees it; the actions may be others than those of the data.
      seed: of the noise.

    Returns:
      NaN for policies that remove no noise, and for one-call students, which are not trained to.
    """
    if not isinstance(settings, groups.Diffusion) or isinstance(settings, one_call.Student):
        return np.nan
    policy = edp.diffusion_policy(settings, spec.for_learner)
    params = state.networks["actor"].target_params
    found = []
    for key in jax.random.split(jax.random.key(seed), _DRAWS):
        prediction = policy.predict(params, batch, policy.draw(key, batch.action))
        found.append(float(losses.mean(prediction.denoising_loss, batch.has_action)))
    return float(np.mean(found))


def critic_signs(
    q: np.ndarray, next_q: np.ndarray, batch: Transition, discount: float, highest: float
) -> tuple[float, float]:
    """How far critics are from what one more step says, and from what can be.

    Args:
      q: [C, B] of the data's actions.
      next_q: [C, B, M] of the policy's actions at the next observations.
      batch: [B] single steps; rewards as the learner sees them.
      discount: the learner's gamma.
      highest: the largest discounted return of such rewards.

    Returns:
      The root mean square of mean_c Q - (r + gamma mean_m min_c Q'), and the mean over next
      observations of max(0, mean Q' - highest).
    """
    target = batch.reward + discount * batch.discount * next_q.min(axis=0).mean(axis=-1)
    error = np.sqrt(np.mean(np.square(q.mean(axis=0) - target)))
    excess = np.maximum(next_q.mean(axis=(0, -1)) - highest, 0.0)
    return float(error), float(excess.mean())


def distance(chosen: np.ndarray, recorded: np.ndarray) -> float:
    """Root mean square difference of actions [N, M, A] from those [N, A] of the data."""
    return float(np.sqrt(np.mean(np.square(chosen - recorded[:, None]))))
