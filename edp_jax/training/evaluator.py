"""Evaluation of all members' policies at once, with one compiled call per environment step."""

from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import numpy as np

from edp_jax.algorithms import Algorithm
from edp_jax.algorithms.base import AgentState, evaluation_key
from edp_jax.evaluation import normalized_score, rollout
from edp_jax.evaluation.rollout import MAX_ENVS
from edp_jax.policy import in_dataset_units
from edp_jax.training import hosts, sharding
from edp_jax.types import Array, EnvSpec, Units


class Evaluation(NamedTuple):
    """The episodes of one evaluation: E of each of R members."""

    returns: np.ndarray  # [R, E] undiscounted, in the environment's rewards
    lengths: np.ndarray  # [R, E] steps
    scores: np.ndarray | None  # [R, E] normalised; None where the task has no reference scores

    @property
    def unit(self) -> str:
        """What `values` are: "score" or "return"."""
        return "return" if self.scores is None else "score"

    @property
    def values(self) -> np.ndarray:
        """Scores [R, E], or returns where there are none."""
        return self.returns if self.scores is None else self.scores


def episode_seeds(seeds: tuple[int, ...], step: int, num_episodes: int) -> np.ndarray:
    """Chooses the environment seed of every episode of an evaluation.

    Args:
      seeds: of R members.
      step: updates done.
      num_episodes: E.

    Returns:
      Seeds [R, E]. Each depends on the member's seed, the step and the episode, so two evaluations
      of a run do not begin in the same states.
    """

    def seed_of(*numbers: int) -> int:
        return int(np.random.SeedSequence(numbers).generate_state(1)[0] >> 1)

    episodes = range(num_episodes)
    return np.array([[seed_of(seed, step, episode) for episode in episodes] for seed in seeds])


def make_evaluate(
    algorithm: Algorithm,
    environment: EnvSpec,
    *,
    units: Units,
    seeds: tuple[int, ...],
    num_episodes: int,
    reference_scores: tuple[float, float] | None = None,
    check_stop: Callable[[], None] = lambda: None,
) -> Callable[[AgentState], Evaluation]:
    """Makes a function that lets the members' policies act in an environment.

    Args:
      algorithm: the learner, which says how to act.
      environment: where.
      units: of the dataset. The environment's observations and actions are in the same units.
      seeds: of R members.
      num_episodes: E, of each member.
      reference_scores: returns that count as 0 and 100.
      check_stop: called between environment steps; it may raise to end the evaluation.

    Returns:
      evaluate(state [R]) -> Evaluation. It is collective: each process runs the episodes of its own
      members, and all get the whole result.
    """

    act_in_units = in_dataset_units(algorithm.act, units)

    @jax.jit
    def act(params: chex.ArrayTree, keys: jax.Array, observation: Array, step: Array) -> Array:
        """Actions [R, E, A] for observations [R, E, O]."""
        keys = jax.vmap(jax.random.fold_in, in_axes=(0, None))(keys, step)
        return jax.vmap(act_in_units)(params, observation, keys)

    def evaluate(state: AgentState) -> Evaluation:
        own_seeds = seeds[sharding.own_members(len(seeds))]
        step = sharding.first_value(state.step)
        state = sharding.own_part(state)
        params, keys = jax.vmap(algorithm.policy_params)(state), jax.vmap(evaluation_key)(state)

        def act_once(observation: np.ndarray, step: int) -> np.ndarray:
            check_stop()
            return np.asarray(act(params, keys, observation, np.int32(step)))

        # Where episodes do not fit at once they run in groups, and each group's policies get other
        # random numbers. The size of a group must therefore not depend on the number of processes:
        # it is chosen for all R members, then multiplied by the members of this process.
        max_envs = len(own_seeds) * max(1, MAX_ENVS // len(seeds))
        env_seeds = episode_seeds(own_seeds, step, num_episodes)
        episodes = hosts.run_in_all(
            lambda: rollout(act_once, environment, seeds=env_seeds, max_envs=max_envs)
        )
        returns, lengths = hosts.all_gather(episodes.returns), hosts.all_gather(episodes.lengths)
        scores = None if reference_scores is None else normalized_score(returns, reference_scores)
        return Evaluation(returns, lengths, scores)

    return evaluate
