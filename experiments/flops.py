"""How many floating-point operations one update needs, counted from the sizes of its networks."""

import dataclasses
from collections.abc import Callable
from typing import Any

from edp_jax import TaskSpec

EMBEDDING = (16, 32, 16)  # widths of layers.TimeEmbedding


@dataclasses.dataclass(frozen=True)
class Dense:
    """Numbers of weights of a stack of dense layers, by what they are multiplied with.

    A weight costs one multiplication and one addition per row.
    """

    observation: int  # first layer, columns of the observation
    own: int  # first layer, columns of the other inputs
    rest: int  # the layers behind

    def forward(self, rows: int, observation_rows: int | None = None) -> int:
        """One pass.

        Args:
          rows: of the input.
          observation_rows: fewer, where several rows share an observation (layers.Dense).
        """
        shared = rows if observation_rows is None else observation_rows
        return 2 * (self.observation * shared + (self.own + self.rest) * rows)

    def to_params(self, rows: int, observation_rows: int | None = None) -> int:
        """Gradient of the parameters: to every layer's weights, and to all inputs but the first."""
        return self.forward(rows, observation_rows) + 2 * self.rest * rows

    def to_own(self, rows: int) -> int:
        """Gradient of the inputs besides the observation."""
        return 2 * (self.own + self.rest) * rows

    def train(self, rows: int, observation_rows: int | None = None) -> int:
        """A pass and the gradient of its parameters: about three passes."""
        return self.forward(rows, observation_rows) + self.to_params(rows, observation_rows)


class Update:
    """The parts that updates are put together from, each with its number of operations.

    A pass counts 1, the gradient of its parameters about 2, the gradient of its input alone
    about 1. B is the batch, M the number of actions in a target.
    """

    def __init__(self, settings: Any, spec: TaskSpec, batch_size: int):
        """Takes the settings of any learner; a part reads those that its learners have."""
        self._settings, self._rows = settings, batch_size
        hidden = settings.hidden_dims
        observation, behind = spec.observation_dim * hidden[0], _weights(*hidden)
        own, last = spec.action_dim * hidden[0], hidden[-1]
        self._critic = Dense(observation, own, behind + last)
        self._value = Dense(observation, 0, behind + last)
        self._actor = Dense(observation, 0, behind + last * spec.action_dim)
        self._denoiser = dataclasses.replace(self._actor, own=own)

    def actor(self) -> int:
        """A feed-forward policy, forward and gradient, B rows."""
        return self._actor.train(self._rows)

    def denoiser(self) -> int:
        """A diffusion policy, forward and gradient, also through its time embedding, B rows."""
        inner, behind = self._embedding
        return self._denoiser.train(self._rows) + 2 * self._rows * (2 * inner + 3 * behind)

    def critics(self) -> int:
        """Every critic, forward and gradient, B rows."""
        return self._settings.num_critics * self._critic.train(self._rows)

    def mean_target(self) -> int:
        """One pass of a feed-forward policy, B rows, then target critics on M B rows.

        The observation is multiplied once, not M times.
        """
        actions = getattr(self._settings, "num_backup_actions", 1) * self._rows
        critics = self._target_critics * self._critic.forward(actions, self._rows)
        return self._actor.forward(self._rows) + critics

    def sampled_target(self) -> int:
        """The sampler's passes of the policy, then target critics, M B rows each.

        The observation is multiplied once, not M times and once per call.
        """
        actions = self._settings.num_backup_actions * self._rows
        critics = self._target_critics * self._critic.forward(actions, self._rows)
        return self.target_chain() + critics

    def target_chain(self) -> int:
        """The sampler's passes of the policy in a target, M B rows."""
        calls = self._settings.target_calls or self._settings.sampler_calls
        return self._chain(self._settings.num_backup_actions * self._rows, calls)

    def value_target(self) -> int:
        """IQL: target critics; V forward and gradient, and forward once more; B rows."""
        critics = self._target_critics * self._critic.forward(self._rows)
        return critics + self._value.train(self._rows) + self._value.forward(self._rows)

    def advantage(self) -> int:
        """IQL: the new V forward at the data's observations, B rows."""
        return self._value.forward(self._rows)

    def guidance(self) -> int:
        """One critic forward and back to the action, B rows."""
        return self._critic.forward(self._rows) + self._critic.to_own(self._rows)

    def slope(self) -> int:
        """`edp`: target critics forward and back to the action a0_hat, B rows.

        Their values of the data's actions have multiplied the observation already.
        """
        one = self._critic.forward(self._rows, 0) + self._critic.to_own(self._rows)
        return self._target_critics * one

    def sampled_action(self) -> int:
        """Diffusion-QL: the sampler's passes of the policy, and back to parameters and inputs."""
        back = self._denoiser.to_params(self._rows) + 2 * self._denoiser.own * self._rows
        calls = self._settings.sampler_calls
        return self._chain(self._rows, calls) + calls * back

    def noisy_guidance(self) -> int:
        """DAC: target critics forward at the data's actions; forward and back at noisy ones."""
        forward = self._critic.forward(self._rows)
        return self._settings.num_critics * (forward + self.guidance())

    def baseline(self) -> int:
        """CRR: every critic, forward, B rows for each baseline action.

        The value of the dataset's action has multiplied the observation already.
        """
        rows = self._settings.num_baseline_actions * self._rows
        return self._settings.num_critics * self._critic.forward(rows, 0)

    def penalty(self) -> int:
        """CQL: every critic, forward and gradient, B rows for each penalised action.

        These are the uniform ones and the policy's.
        """
        rows = (self._settings.num_cql_actions + 1) * self._rows
        return self._settings.num_critics * self._critic.train(rows, 0)

    def student_target(self) -> int:
        """FQL: one pass of the student, then target critics, B rows."""
        critics = self._target_critics * self._critic.forward(self._rows)
        return self._denoiser.forward(self._rows) + self._times() + critics

    def flow_action(self) -> int:
        """FQL: the flow's passes; the observation is multiplied once, not once per step."""
        calls = self._settings.flow_steps * (self._denoiser.forward(self._rows, 0) + self._times())
        return calls + self._denoiser.forward(0, self._rows)

    def mean_guidance(self) -> int:
        """FQL: every critic forward and back to the action, B rows."""
        return self._settings.num_critics * self.guidance()

    def _times(self) -> int:
        """The time embedding and its columns of the first layer, forward, B rows."""
        return 2 * self._rows * sum(self._embedding)

    @property
    def _embedding(self) -> tuple[int, int]:
        """Weights of the time embedding's first layer, and of what comes behind it."""
        behind = EMBEDDING[-1] * self._settings.hidden_dims[0]
        return _weights(*EMBEDDING[:2]), _weights(*EMBEDDING[1:]) + behind

    @property
    def _target_critics(self) -> int:
        return self._settings.num_target_critics or self._settings.num_critics

    def _chain(self, rows: int, calls: int) -> int:
        """The calls of a sampler; rows that share an observation multiply it once in all."""
        return calls * self._denoiser.forward(rows, 0) + self._denoiser.forward(0, self._rows)


_FQL = (Update.student_target, Update.flow_action, Update.mean_guidance)
_TD3 = (Update.denoiser, Update.critics, Update.sampled_target, Update.guidance)
PARTS: dict[str, tuple[Callable[[Update], int], ...]] = {
    "edp_td3": _TD3,
    "edp_crr": (Update.denoiser, Update.critics, Update.sampled_target, Update.baseline),
    "edp_iql": (Update.denoiser, Update.critics, Update.value_target, Update.advantage),
    "edp_cql": (*_TD3, Update.penalty),
    "edp_bcq": (Update.denoiser, Update.critics, Update.sampled_target),
    "diffusion_ql": (*_TD3, Update.sampled_action),
    "bc_diffusion": (Update.denoiser,),
    "dac": (Update.denoiser, Update.critics, Update.sampled_target, Update.noisy_guidance),
    "idql": (Update.denoiser, Update.critics, Update.value_target),
    "edp": (
        *(Update.denoiser, Update.critics, Update.value_target, Update.advantage),
        Update.slope,
    ),
    "fql": (Update.denoiser, Update.denoiser, Update.critics, *_FQL),  # flow and student
    "td3_bc": (Update.actor, Update.critics, Update.mean_target, Update.guidance),
    "crr": (Update.actor, Update.critics, Update.mean_target, Update.baseline),
    "iql": (Update.actor, Update.critics, Update.value_target, Update.advantage),
    "bc": (Update.actor,),
}


def update_flops(learner: str, settings: Any, spec: TaskSpec, batch_size: int) -> int | None:
    """Counts the operations of one update's matrix products: 2 * in * out per row of each layer.

    Left out are everything that is no matrix product (activations, optimiser, averages, random
    numbers), and the time embedding along a sampler's chain, whose calls share one row.

    Args:
      learner: its name.
      settings: of that learner.
      spec: sizes of the task.
      batch_size: B.

    Returns:
      The count, or None for a learner that `PARTS` does not have.
    """
    if learner not in PARTS:
        return None
    update = Update(settings, spec, batch_size)
    return sum(part(update) for part in PARTS[learner])


def sampler_flops(learner: str, settings: Any, spec: TaskSpec, batch_size: int) -> int:
    """Of `update_flops`, the operations of the chain that samples actions for targets."""
    if Update.sampled_target not in PARTS.get(learner, ()):
        return 0
    return Update(settings, spec, batch_size).target_chain()


def _weights(*widths: int) -> int:
    return sum(i * o for i, o in zip(widths[:-1], widths[1:], strict=True))
