"""A policy as it is used: a function from observations to actions, whatever it was read from."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from edp_jax import acting, confidence
from edp_jax.export import checks
from edp_jax.types import InputError

OBSERVATION = "observation"
ON_INVALID = ("raise", "hold")

# inputs by name, "observation" [B, O] and the random numbers [B, ...]
# -> actions [B, A], or [B, execute, A] of a policy with a horizon
Run = Callable[[Mapping[str, np.ndarray]], Any]
# the same inputs -> the actions, and what critics say about them
Judge = Callable[[Mapping[str, Any]], confidence.Judged]


@dataclasses.dataclass(frozen=True)
class Interface:
    """What a policy takes and gives."""

    observation_dim: int  # O
    action_dim: int  # A
    horizon: int  # H
    execute: int  # of the H actions, those that it gives
    random_numbers: Mapping[str, tuple[int, ...]]  # `Acting.shapes`

    def __post_init__(self):
        if not isinstance(self.execute, int) or not 1 <= self.execute <= self.horizon:
            raise ValueError(f"execute is {self.execute}, horizon {self.horizon}")
        if unknown := self.random_numbers.keys() - set(acting.NAMES):
            raise ValueError(f"random numbers {sorted(unknown)[0]!r:.40} are unknown")

    @property
    def inputs(self) -> dict[str, tuple[int, ...]]:
        """Shapes of all inputs by name, without the axis of the batch."""
        return {OBSERVATION: (self.observation_dim,), **self.random_numbers}

    def fixed_numbers(self, seed: int, batch_size: int) -> dict[str, np.ndarray]:
        """The same random numbers for every observation of a batch [B], a function of the seed.

        numpy keeps the stream of RandomState for ever, so they are the same on every machine.
        """
        one = self.random(np.random.RandomState(seed), 1)
        return {name: np.repeat(value, batch_size, axis=0) for name, value in one.items()}

    def check_function(self, function: Callable[[Run, Mapping[str, Any]], Any], run: Run) -> None:
        """Compares a policy's function with this interface.

        Args:
          function: gives the actions of `run` for inputs, or what has their shape.
          run: the policy's function.

        Raises:
          Exception: it does not take such inputs.
          ValueError: it gives actions of another shape.
        """
        observation = np.zeros((1, self.observation_dim), np.float32)
        shape = function(run, {OBSERVATION: observation, **self.fixed_numbers(0, 1)}).shape
        chosen = () if self.horizon == 1 else (self.execute,)
        if tuple(shape) != (1, *chosen, self.action_dim):
            raise ValueError(f"its actions have the shape {list(shape)}")

    def random(self, rng: np.random.RandomState, batch_size: int) -> dict[str, np.ndarray]:
        """Random numbers for a batch [B], in the order of their names in `acting.NAMES`."""
        numbers = {}
        for name in (name for name in acting.NAMES if name in self.random_numbers):
            draw = rng.gumbel if name == acting.CHOICE_NOISE else rng.normal
            drawn = draw(size=(batch_size, *self.random_numbers[name]))
            numbers[name] = drawn.astype(np.float32)
        return numbers


class Options(NamedTuple):
    """How a policy is used, whatever it was read from."""

    on_invalid: str = "raise"  # one of ON_INVALID
    noise_seed: int = 0  # of the random numbers of calls without a key

    def check(self) -> None:
        """Refuses values of no use.

        Raises:
          InputError: one is.
        """
        if self.on_invalid not in ON_INVALID:
            raise InputError(
                f"on_invalid={self.on_invalid!r:.40} is unknown: use one of {', '.join(ON_INVALID)}"
            )
        if not isinstance(self.noise_seed, int) or not 0 <= self.noise_seed < 2**32:
            raise InputError(
                f"noise_seed={self.noise_seed!r:.40} must be an integer from 0 to 4294967295"
            )


class Policy:
    """A callable policy: observation [O] or [B, O] -> action [A] or [B, A].

    A policy with a horizon gives the actions to take in turn, before it is called again:
    [execute, A] or [B, execute, A]. All are in the units of the dataset that it was trained on, and
    inside its action box.

    Without a key it is deterministic: every call, and every observation of a batch, uses the same
    random numbers, which depend on `Options.noise_seed` alone.

    Attributes:
      interface: sizes, and the random numbers that it reads.
      metadata: what its file says of it; plain values.
      held: how many calls in a row gave the last valid action again, see `load_policy`.
      problem: why, in one line; empty where the last call was valid.
    """

    def __init__(
        self,
        interface: Interface,
        run: Run,
        metadata: Mapping[str, Any],
        options: Options,
        *,
        make_judge: Callable[[], Judge] | None = None,
    ):
        """Makes a policy of the function that a file holds.

        `make_judge` gives what `act_with_confidence` calls; None where the file has no critics.
        """
        options.check()
        self.interface, self.metadata = interface, metadata
        self.held, self.problem = 0, ""
        self._run, self._options = run, options
        self._make_judge = None if make_judge is None else functools.cache(make_judge)
        self._last: tuple[tuple[int, ...], np.ndarray] | None = None  # axes [...], action
        self._fixed = functools.lru_cache(8)(
            functools.partial(interface.fixed_numbers, options.noise_seed)
        )
        draw = functools.partial(acting.draw, interface.random_numbers)
        self._draw = jax.jit(draw, static_argnames="batch")

    @property
    def observation_dim(self) -> int:
        """Columns of an observation, O."""
        return self.interface.observation_dim

    @property
    def action_dim(self) -> int:
        """Columns of an action, A."""
        return self.interface.action_dim

    @property
    def horizon(self) -> int:
        """Actions that it chooses together, H; 1: it gives single actions, without an axis."""
        return self.interface.horizon

    @property
    def execute(self) -> int:
        """How many of these it gives."""
        return self.interface.execute

    def __call__(self, observation: np.ndarray, key: jax.Array | None = None) -> np.ndarray:
        """Chooses actions.

        Args:
          observation: [O] or [B, O], in the units of the dataset.
          key: a `jax.random.key`, to draw actions with its randomness; other rows of a batch then
            have other random numbers.

        Returns:
          Action [A] or [B, A], or with a horizon [execute, A] or [B, execute, A], in the units of
          the dataset.

        Raises:
          InputError: the observation has another size than the policy's, or it or the action is
            NaN or infinite. With `on_invalid="hold"` the last valid action comes back instead,
            where there is one and it has the shape that is due; what is no key is refused.
        """
        if key is not None:
            checks.check_key(key)
        try:
            checked = checks.as_observation(observation, self.observation_dim)
            action = self._choose(checked, key)
        except InputError as error:
            last = self._to_hold(observation)
            if self._options.on_invalid == "raise" or last is None:
                raise
            self.held, self.problem = self.held + 1, str(error)
            return last.copy()
        self.held, self.problem = 0, ""
        if self._options.on_invalid == "hold":
            self._last = checked.shape[:-1], action.copy()
        return action

    def act_with_confidence(
        self, observation: np.ndarray, key: jax.Array | None = None
    ) -> confidence.Judged:
        """Chooses actions, and tells what the critics of the run say about them.

        Args:
          observation: as for a call.
          key: as for a call.

        Returns:
          (action, value, disagreement). The action is that of a call. The value is the mean of the
          critics and the disagreement their standard deviation: [], or [B] for a batch, in units
          of the discounted return that the critics learned (docs/deploy.md).

        Raises:
          InputError: as a call does, also with `on_invalid="hold"`; or the policy has no critics
            that could disagree.
        """
        if self._make_judge is None:
            raise InputError(
                "policy: an exported file takes no critics along; load the folder of its run"
            )
        if key is not None:
            checks.check_key(key)
        checked = checks.as_observation(observation, self.observation_dim)
        judged = jax.device_get(self._make_judge()(self._inputs(checked, key)))
        checks.check_action(judged.action)
        return judged if checked.ndim == 2 else confidence.Judged(*(each[0] for each in judged))

    def warm_up(self, batch_size: int | None = None) -> None:
        """Acts once, so that no later call with observations of that shape has to compile.

        Args:
          batch_size: B of observations [B, O]; None: a single one [O].

        Raises:
          InputError: it is no such number, or the action is NaN or infinite.
        """
        axes = () if batch_size is None else (batch_size,)
        for size in axes:
            checks.check_batch_size(size)
        self._choose(np.zeros((*axes, self.observation_dim), np.float32), None)

    def _choose(self, observation: np.ndarray, key: jax.Array | None) -> np.ndarray:
        """Actions for a checked observation."""
        action = np.array(self._run(self._inputs(observation, key)))
        checks.check_action(action)
        return action if observation.ndim == 2 else action[0]

    def _inputs(self, observation: np.ndarray, key: jax.Array | None) -> dict[str, Any]:
        """Inputs [B, ...] of `run` for a checked observation."""
        rows = observation.reshape(-1, self.observation_dim)
        numbers = self._fixed(len(rows)) if key is None else self._draw(key, batch=(len(rows),))
        return {OBSERVATION: rows, **numbers}

    def _to_hold(self, observation: Any) -> np.ndarray | None:
        """The last valid action, where there is one and it has the shape that is due.

        An observation that is no array of the policy's size asks for no shape, and gets any.
        """
        axes, action = self._last or ((), None)
        try:
            *asked, size = np.shape(observation)
        except Exception:  # rows of several lengths, a number, an array of another library
            return action
        other = size == self.observation_dim and len(asked) < 2 and tuple(asked) != axes
        return None if other else action
