"""Evaluating the policies of all seeds of a state, with one compiled call per environment step."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import numpy as np

from edp_jax.algorithms import Algorithm, policy_params
from edp_jax.algorithms.base import AgentState, evaluation_key
from edp_jax.evaluation import normalized_score, rollout
from edp_jax.evaluation.rollout import MAX_ENVS
from edp_jax.policy import in_dataset_units
from edp_jax.training import hosts, sharding
from edp_jax.types import EnvSpec


class Evaluation(NamedTuple):
    returns: np.ndarray  # [S, E]
    lengths: np.ndarray  # [S, E] steps
    scores: np.ndarray | None  # [S, E] normalised, where the task has reference scores


def episode_seeds(seeds: tuple[int, ...], step: int, num_episodes: int) -> np.ndarray:
    """Environment seeds [S, E]: one per (training seed, step, episode), so that evaluations share no start."""
    return np.array(
        [
            [
                int(np.random.SeedSequence((seed, step, episode)).generate_state(1)[0] >> 1)
                for episode in range(num_episodes)
            ]
            for seed in seeds
        ]
    )


def make_evaluate(
    algorithm: Algorithm,
    environment: EnvSpec,
    reference_scores: tuple[float, float] | None,
    units: Mapping[str, np.ndarray],
    seeds: tuple[int, ...],
    num_episodes: int,
    check_stop: Callable[[], None],
) -> Callable[[AgentState], Evaluation]:
    """Builds evaluate(state [S]) -> Evaluation; `check_stop` is called between environment steps and may raise.

    `units` are the arguments of `policy.in_dataset_units`: observations come and actions go in the environment's own units.
    Of several processes each runs the episodes of its own members, and all get the whole result.
    """
    act_in_units = in_dataset_units(algorithm.act, **units)

    @jax.jit
    def act(params, keys, observation, step):
        keys = jax.vmap(jax.random.fold_in, in_axes=(0, None))(keys, step)
        return jax.vmap(act_in_units)(params, observation, keys)

    def evaluate(state: AgentState) -> Evaluation:
        own = sharding.own_members(len(seeds))
        state = sharding.own_part(state)
        params, keys = policy_params(state), jax.vmap(evaluation_key)(state)

        def act_once(observation: np.ndarray, step: int) -> np.ndarray:
            check_stop()
            return np.asarray(act(params, keys, observation, np.int32(step)))

        env_seeds = episode_seeds(seeds[own], int(state.step[0]), num_episodes)
        max_envs = len(env_seeds) * max(
            1, MAX_ENVS // len(seeds)
        )  # waves draw anew: they must not depend on the processes
        episodes = hosts.agreed(
            lambda: rollout(act_once, environment, seeds=env_seeds, max_envs=max_envs)
        )
        returns, lengths = hosts.gather(episodes.returns), hosts.gather(episodes.lengths)
        return Evaluation(
            returns,
            lengths,
            None if reference_scores is None else normalized_score(returns, reference_scores),
        )

    return evaluate
