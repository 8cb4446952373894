"""How many floating-point operations one update needs, counted from the sizes of its networks."""

import dataclasses

from edp_jax import TaskSpec
from edp_jax.algorithms import AlgorithmConfig

EMBEDDING = (16, 32, 16)  # widths of networks.TimeEmbedding


@dataclasses.dataclass(frozen=True)
class Dense:
    """Weights of a stack of dense layers, one multiplication and one addition each per row, by what they are multiplied with."""

    observation: int  # first layer, columns of the observation
    own: int  # first layer, columns of the other inputs
    rest: int  # the layers behind

    def forward(self, rows: int, observation_rows: int | None = None) -> int:
        """One pass; fewer `observation_rows` where several rows share an observation (networks.Dense)."""
        shared = rows if observation_rows is None else observation_rows
        return 2 * (self.observation * shared + (self.own + self.rest) * rows)

    def to_params(self, rows: int, observation_rows: int | None = None) -> int:
        """Gradient of the parameters: every layer's weights, and every layer's input but the first's."""
        return self.forward(rows, observation_rows) + 2 * self.rest * rows

    def to_own(self, rows: int) -> int:
        """Gradient of the inputs besides the observation."""
        return 2 * (self.own + self.rest) * rows

    def train(self, rows: int, observation_rows: int | None = None) -> int:
        """A pass and the gradient of its parameters: about three passes."""
        return self.forward(rows, observation_rows) + self.to_params(rows, observation_rows)


def _weights(*widths: int) -> int:
    return sum(i * o for i, o in zip(widths[:-1], widths[1:], strict=True))


def update_flops(algorithm: str, config: AlgorithmConfig, spec: TaskSpec, batch_size: int) -> int:
    """Operations of one update's matrix products: 2 * in * out per row of each layer.

    A pass counts 1, the gradient of its parameters about 2 (to the weights, and to the inputs of all layers but the first), the
    gradient of its input alone about 1. With B rows, N critics (N' in a target), M backup actions and n sampler calls:

      policy     forward and gradient, B rows; a diffusion policy also through its time embedding
      target     n passes of the policy, M B rows (a feed-forward policy: 1 pass, B rows), then N' critics, M B rows (td3_bc:
                 B rows); the observation is multiplied once, not n times or M times. IQL: V, B rows
      critics    N times forward and gradient, B rows; CQL: and B more rows for every penalised action
      guidance   td3, cql, td3_bc: one critic forward and back to the action, B rows
                 diffusion_ql: that, and n passes of the policy forward and back to parameters and inputs, B rows
                 crr: N critics, B rows for every baseline action
                 iql: N' critics; V forward and gradient, and forward once more; B rows each

    Left out: everything that is no matrix product (activations, optimiser, averages, random numbers), and the time embedding
    along a chain, whose calls share one row.
    """
    hidden, rows = config.hidden_dims, batch_size
    observation, behind = spec.observation_dim * hidden[0], _weights(*hidden)
    critic = Dense(observation, spec.action_dim * hidden[0], behind + hidden[-1])
    value = Dense(observation, 0, behind + hidden[-1])
    actor = Dense(observation, 0, behind + hidden[-1] * spec.action_dim)
    denoiser = dataclasses.replace(actor, own=spec.action_dim * hidden[0])
    feed_forward = algorithm == "td3_bc" or config.policy == "gaussian"

    policy = (
        actor.train(rows)
        if feed_forward
        else denoiser.train(rows) + _time_embedding(hidden[0], rows)
    )
    if algorithm == "bc":
        return policy
    num_targets = config.num_target_critics or config.num_critics
    critics = config.num_critics * critic.train(rows)
    if algorithm == "iql":
        return (
            policy
            + critics
            + num_targets * critic.forward(rows)
            + value.train(rows)
            + 2 * value.forward(rows)
        )

    backups = rows * (1 if algorithm == "td3_bc" else config.num_backup_actions)
    chain = (
        actor.forward(rows)
        if feed_forward
        else _chain(denoiser, config.sampler_calls, backups, rows)
    )
    total = policy + critics + chain + num_targets * critic.forward(backups, rows)
    if algorithm == "crr":
        total += config.num_critics * critic.forward(
            config.num_baseline_actions * rows, 0
        )  # the data's Q has the observation
    elif algorithm != "bcq":
        total += critic.forward(rows) + critic.to_own(rows)
    if algorithm == "diffusion_ql":
        backward = denoiser.to_params(rows) + 2 * denoiser.own * rows
        total += (
            _chain(denoiser, config.sampler_calls, rows, rows) + config.sampler_calls * backward
        )
    if algorithm == "cql":
        penalised = config.num_cql_actions + 1  # uniform ones and the policy's
        total += config.num_critics * critic.train(penalised * rows, 0)
    return total


def _chain(denoiser: Dense, num_calls: int, rows: int, observation_rows: int) -> int:
    return denoiser.forward(0, observation_rows) + num_calls * denoiser.forward(rows, 0)


def _time_embedding(width: int, rows: int) -> int:
    """Forward and gradient of the embedding and of its columns of the first layer."""
    inner, behind = _weights(*EMBEDDING[:2]), _weights(*EMBEDDING[1:], width)
    return 2 * rows * (2 * inner + 3 * behind)
