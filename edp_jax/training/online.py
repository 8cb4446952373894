"""The online phase of a run: its batches, which mix a dataset with what the members collect.

In each round the devices do the updates while the host lets every member act, with its policy as it
was at the round's start. What is collected can be drawn from the next round on. So host and devices
work at once, and the numbers do not depend on which of them is faster.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from edp_jax.algorithms import Algorithm
from edp_jax.algorithms.base import AgentState, acting_key
from edp_jax.data.rewards import RewardTransform
from edp_jax.policy import ACTION_BOUND, in_dataset_units
from edp_jax.training import sharding
from edp_jax.training.batches import BatchSource, HasRows
from edp_jax.training.buffer import Buffer, Mixed, add
from edp_jax.training.interaction import Finished, Interaction
from edp_jax.training.rounds import Rounds
from edp_jax.types import Array, Units


class HasUnits(HasRows, Protocol):
    """What the online phase reads of a dataset; `edp_jax.data.Dataset` has it."""

    @property
    def units(self) -> Units: ...
    @property
    def reward_transform(self) -> RewardTransform: ...


class Policies(NamedTuple):
    """The members' policies at one moment, a copy that their training does not change."""

    params: Any  # leaves [R, ...]
    keys: jax.Array  # [R] of the members
    dead: Array  # [R] bool, those that have diverged


class Online:
    """A `BatchSource` whose members act in their environments while they are trained.

    Attributes:
      rounds: when that is done.
    """

    def __init__(
        self,
        offline: BatchSource,
        dataset: HasUnits,
        interaction: Interaction,
        rounds: Rounds,
        explorer: Algorithm,
        *,
        num_members: int,
        capacity: int,
        share: float,
        noise: float = 0.0,
        reset_optimizer: bool = False,
    ):
        """Begins with nothing collected.

        Args:
          offline: gives the batches of the dataset.
          dataset: that one.
          interaction: of the members.
          rounds: when they act, and how long.
          explorer: the learner, as it acts while it collects.
          num_members: R.
          capacity: steps of each member that can be drawn, at least those of a round and of the
            warm-up.
          share: of a batch that is drawn from them; 0: by the number of rows.
          noise: standard deviation of what is added to the actions, in their box [-1, 1].
          reset_optimizer: whether the optimisers begin anew with the phase.
        """
        self.rounds = rounds
        self._offline, self._dataset, self._interaction = offline, dataset, interaction
        self._share, self._reset = share, reset_optimizer
        mesh = sharding.member_mesh(num_members)
        self._layout, self._replicated = sharding.over_members(mesh), sharding.replicated(mesh)
        self._units = sharding.put(dataset.units, self._replicated)
        shape = num_members, capacity, dataset.spec.row_width
        empty = Buffer(np.zeros(shape, np.float32), np.zeros(num_members, np.int32))
        self._buffer = sharding.put(empty, self._layout)
        self._add = jax.jit(jax.vmap(add), donate_argnums=0, out_shardings=self._layout)
        self._explorer = explorer
        self._copy = jax.jit(self._policies, out_shardings=self._layout)
        self._act = jax.jit(_make_act(explorer, dataset.units, noise))

    def begin(self, state: AgentState, init: Callable[[], AgentState]) -> AgentState:
        """The state [R] with which the phase begins; `init` makes an untrained one."""
        if not self._reset:
            return state
        untrained = init().networks
        networks = {
            name: dataclasses.replace(network, opt_state=untrained[name].opt_state)
            for name, network in state.networks.items()
        }
        return dataclasses.replace(state, networks=networks)

    def spans(
        self, newest: Callable[[], AgentState], start: int, end: int
    ) -> Iterator[tuple[int, Mixed]]:
        """As `BatchSource.spans`; both ends are ends of rounds. What a span needs was added."""
        rounds = self.rounds
        assert start >= rounds.begin and rounds.next_end(start) == start, "the end of no round"
        assert rounds.next_end(end) == end, "the end of no round"
        if start == rounds.begin:
            self._keep(self._collect(self._copy(newest()), 0, rounds.warmup))
        for begin in range(start, end, rounds.updates):
            policies, collected = self._copy(newest()), None
            first = rounds.warmup + (begin - rounds.begin) // rounds.updates * rounds.steps
            for stop, offline in self._offline.spans(newest, begin, begin + rounds.updates):
                yield stop, self._mixed(offline)
                if collected is None:  # the devices are at work meanwhile
                    collected = self._collect(policies, first, rounds.steps)
            self._keep(collected)

    def take_finished(self) -> list[Finished]:
        """The episodes that have ended since the last call."""
        finished, self._interaction.finished = self._interaction.finished, []
        return finished

    def steps_of(self, member: int) -> np.ndarray:
        """The steps [size, D] of a member that can be drawn, the oldest first, packed."""
        rows, added = np.asarray(self._buffer.rows[member]), int(self._buffer.added[member])
        return rows[:added] if added <= len(rows) else np.roll(rows, -(added % len(rows)), axis=0)

    def arrays(self) -> dict[str, np.ndarray]:
        """What a checkpoint at the end of a round has to hold, by name."""
        added = np.asarray(self._buffer.added)
        used = max(1, min(self._buffer.rows.shape[1], added.max()))
        kept = {"rows": np.asarray(self._buffer.rows[:, :used]), "added": added}
        return kept | self._interaction.arrays()

    def restore(self, arrays: Mapping[str, np.ndarray]) -> list[int]:
        """Goes on from what `arrays` gave; returns the members whose episode had to be left."""
        rows = np.zeros(self._buffer.rows.shape, np.float32)
        rows[:, : arrays["rows"].shape[1]] = arrays["rows"]
        self._buffer = sharding.put(Buffer(rows, arrays["added"]), self._layout)
        return self._interaction.take_up(arrays)

    def _policies(self, state: AgentState) -> Policies:
        params = jax.vmap(self._explorer.policy_params)(state)
        copied = jax.tree.map(jnp.copy, (params, state.key, state.diverged))
        return Policies(copied[0], copied[1], copied[2] >= 0)

    def _collect(self, policies: Policies, first: int, number: int) -> tuple[Any, Any]:
        """Packed rows [R, number, D], and how many [R] of them are steps."""
        policies = jax.device_put(policies, _acting_device())

        def act(observation: np.ndarray, step: int) -> np.ndarray:
            return np.asarray(self._act(policies, observation, np.int32(step)))

        return self._interaction.collect(act, first, number)

    def _keep(self, collected: Any) -> None:
        self._buffer = self._add(self._buffer, *sharding.put(collected, self._layout))

    def _mixed(self, offline: Any) -> Mixed:
        return Mixed(
            offline,
            self._buffer,
            self._units,
            self._dataset.reward_transform,
            self._dataset.spec,
            len(self._dataset.rows),
            self._share,
        )


def _make_act(explorer: Algorithm, units: Units, noise: float) -> Callable[..., Array]:
    def noisy(params: Any, observation: Array, key: jax.Array) -> Array:
        action_key, noise_key = jax.random.split(key)
        action = explorer.act(params, observation, action_key)
        action = action + noise * jax.random.normal(noise_key, action.shape)
        return jnp.clip(action, -ACTION_BOUND, ACTION_BOUND)

    chosen = in_dataset_units(noisy if noise else explorer.act, units)

    def act(policies: Policies, observation: Array, step: Array) -> Array:
        """Actions [R, A] for observations [R, O] in the units of the data; NaN of the dead."""
        keys = jax.vmap(acting_key, in_axes=(0, None))(policies.keys, step)
        actions = jax.vmap(chosen)(policies.params, observation, keys)
        return jnp.where(policies.dead[:, None], jnp.nan, actions)

    return act


def _acting_device() -> Any:
    """The CPU, so that acting does not wait behind the updates; else where they are made."""
    try:
        return jax.local_devices(backend="cpu")[0]
    except RuntimeError:  # JAX_PLATFORMS leaves it out
        return jax.local_devices()[0]
