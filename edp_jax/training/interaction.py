"""Members that act in environments while they learn, on the host.

Every episode begins from a seed that its member's seed and its number give. Therefore an episode in
progress can be saved without the state of its simulator: by its number and the actions so far.
"""

import contextlib
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from edp_jax import stepping
from edp_jax.errors import one_line
from edp_jax.types import COLLECTED, InputError, TaskSpec, Transition, pack

Act = Callable[[np.ndarray, int], np.ndarray]  # observation [R, O], step -> action [R, A]
Call = Callable[[Callable[[], list]], list]  # as `evaluation.patience.Patience` calls functions


@contextlib.contextmanager
def _failures_told() -> Iterator[None]:
    """Tells in one line what a simulator raises, which may be anything."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"an environment failed while its member learned in it ({type(error).__name__}: "
            f"{one_line(error)[:100]}); mend it: the same command goes on from the "
            "last checkpoint, if there is one"
        ) from error


class Finished(NamedTuple):
    """An episode that has ended."""

    member: int  # of R
    env_step: int  # of the member, counted from 1, in which it ended
    episode: int  # its number, counted from 0
    total: float  # its return; NaN where the environment gave a number that is not finite
    length: int  # steps; -1 in that case


class Episodes:
    """A gymnasium environment whose episodes begin from seeds of their own.

    Attributes:
      number: of the episode in progress; of the next one where the last has ended.
      actions: that were taken in it so far.
      observation: [O] float32, the newest.
      total: the rewards of the newest episode so far.
      length: its steps.
    """

    def __init__(self, environment: Any, seed: int):
        """Wraps an environment that nothing else uses.

        Args:
          environment: observations [O], actions [A] in a box.
          seed: of the member.
        """
        self._environment, self._seed = environment, seed
        self.action_space = environment.action_space
        self.number, self.actions, self.total, self.length = 0, [], 0.0, 0
        self.observation = np.zeros(environment.observation_space.shape, np.float32)

    def reset(self, *, seed: int | None = None) -> tuple[np.ndarray, dict]:
        """Begins the episode `number`; one that is in progress goes on instead."""
        del seed
        if not self.actions:
            numbers = np.random.SeedSequence((self._seed, self.number)).generate_state(1)
            observation, _ = self._environment.reset(seed=int(numbers[0] >> 1))
            self.observation = np.asarray(observation, np.float32)
            self.total, self.length = 0.0, 0
            if not np.isfinite(self.observation).all():
                raise ValueError(f"the first observation of episode {self.number} is not finite")
        return self.observation, {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        """Takes a step. Where it gives a number that is not finite, the episode is cut off."""
        observation, reward, terminated, truncated, _ = self._environment.step(action)
        observation = np.asarray(observation, np.float32)
        self.actions.append(np.array(action))
        self.total, self.length = self.total + float(reward), self.length + 1
        if not (np.isfinite(observation).all() and np.isfinite(self.total)):
            self.total, self.length = float("nan"), -1
            observation, reward, terminated, truncated = self.observation, np.nan, False, True
        self.observation = observation
        if terminated or truncated:
            self.number, self.actions = self.number + 1, []
        return observation, float(reward), bool(terminated), bool(truncated), {}

    def take_up(
        self, number: int, actions: np.ndarray, observation: np.ndarray, call: Call
    ) -> bool:
        """Brings the environment to where another one was, by repeating its actions.

        Args:
          number: of the episode.
          actions: [L, A] taken in it.
          observation: [O] where they led.
          call: calls the functions that reset and step.

        Returns:
          Whether they lead there again. Otherwise the episode is left, and the next one is begun.
        """
        self.number, self.actions = number, []
        if not len(actions):
            return True
        call(lambda: [self.reset()])
        for action in actions:
            call(lambda action=action: [self.step(action)])
            if self.number != number:
                break
        same = self.number == number and np.array_equal(self.observation, observation)
        if not same:
            self.number, self.actions = number + 1, []
        return same


class Interaction:
    """R members, each in an environment of its own; they step together."""

    def __init__(
        self,
        environments: Sequence[Episodes],
        *,
        rewards_add_up: bool = False,
        marks_held_out: bool = False,
        call: Call = lambda function: function(),
    ):
        """Takes the environments, which are reset when the first step is asked for.

        Args:
          environments: R of them.
          rewards_add_up: whether the data store, as a reward, the sum of what the environment has
            paid in an episode so far, see `tasks.Task.stored_rewards_add_up`.
          marks_held_out: whether rows of the data say which are held out; these are `COLLECTED`.
          call: calls the functions that reset and step, each for one step.
        """
        self._environments, self._add_up, self._call = environments, rewards_add_up, call
        self._marks = marks_held_out
        self.finished: list[Finished] = []

    def collect(self, act: Act, first: int, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Takes some steps in every environment. The episodes that end go to `finished`.

        Args:
          act: the members' policies. One that gives NaN stands still until the next call.
          first: steps that were taken before.
          number: T, how many to take.

        Returns:
          Packed rows [R, T, D] in the units of the data, and how many [R] of each member's rows,
          the first ones, hold a step: those with numbers that are not finite are left out.
        """
        counter, seeds = itertools.count(first), range(len(self._environments))
        steps = stepping.run(  # anew each time, so that what is in progress is all in `arrays`
            self._environments,
            lambda observation: act(observation, next(counter)),
            seeds,  # which `Episodes` does not look at
            restart=True,
            call=self._call,
        )
        packed, sound = [], []
        for index in range(number):
            with _failures_told():
                step = next(steps, None)
            if step is None:  # all stand still
                break
            reward = step.reward
            if self._add_up:
                reward = np.array([each.total for each in self._environments])
            with np.errstate(over="ignore"):
                taken = Transition(
                    observation=step.observation,
                    action=step.action,
                    reward=reward,
                    discount=1.0 - step.terminated,
                    next_observation=step.next_observation,
                    held_out=np.full_like(reward, COLLECTED) if self._marks else None,
                )
                packed.append(pack(taken))
            sound.append(step.stepped & np.isfinite(packed[-1]).all(axis=-1))
            for member in np.flatnonzero(step.terminated | step.truncated).tolist():
                each = self._environments[member]
                self.finished.append(
                    Finished(member, first + index + 1, each.number - 1, each.total, each.length)
                )
        return self._kept(packed, sound, number)

    def _kept(
        self, packed: list[np.ndarray], sound: list[np.ndarray], number: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Moves the sound ones of steps [R, D] to the front of rows [R, number, D]."""
        first = self._environments[0]
        sizes = first.observation.shape[0], first.action_space.shape[0]
        spec = TaskSpec(*sizes, marks_held_out=self._marks)
        rows = np.zeros((len(self._environments), number, spec.row_width), np.float32)
        counts = np.zeros(len(rows), np.int32)
        for step, use in zip(packed, sound, strict=True):
            members = np.flatnonzero(use)
            rows[members, counts[members]] = step[members]
            counts[members] += 1
        return rows, counts

    def arrays(self) -> dict[str, np.ndarray]:
        """What a checkpoint has to hold of the episodes in progress, by name: [R, ...] each."""
        taken = [np.array(each.actions) for each in self._environments]
        length = np.array([len(actions) for actions in taken], np.int32)
        dtype = next((actions.dtype for actions in taken if len(actions)), np.dtype(np.float32))
        action_dim = self._environments[0].action_space.shape[0]
        actions = np.zeros((len(taken), max(1, *length), action_dim), dtype)
        for member, own in enumerate(taken):
            actions[member, : len(own)] = own.reshape(-1, action_dim)
        return {
            "episode": np.array([each.number for each in self._environments], np.int32),
            "length": length,
            "actions": actions,
            "observation": np.stack([each.observation for each in self._environments]),
        }

    def take_up(self, arrays: Mapping[str, np.ndarray]) -> list[int]:
        """Goes on from what `arrays` gave; returns the members whose episode had to be left."""
        left = []
        for member, each in enumerate(self._environments):
            actions = arrays["actions"][member, : arrays["length"][member]]
            number, observation = int(arrays["episode"][member]), arrays["observation"][member]
            with _failures_told():
                same = each.take_up(number, actions, observation, self._call)
            left += [] if same else [member]
        return left
