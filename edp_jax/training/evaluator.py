"""Evaluation of all members' policies at once, with one compiled call per environment step."""

import sys
from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from edp_jax.algorithms import Algorithm
from edp_jax.algorithms.base import AgentState, evaluation_key
from edp_jax.errors import one_line
from edp_jax.evaluation import Episodes, Fault, envs, episode_means, normalized_score, rollout
from edp_jax.evaluation.patience import Patience
from edp_jax.evaluation.rollout import MAX_ENVS
from edp_jax.policy import in_dataset_units
from edp_jax.training import hosts, sharding
from edp_jax.types import Array, EnvSpec, InputError, Units


class Evaluation(NamedTuple):
    """The episodes of one evaluation: E of each of R members."""

    returns: np.ndarray  # [R, E] undiscounted, in the environment's rewards
    lengths: np.ndarray  # [R, E] steps; -1 where numbers were not finite: it does not count
    scores: np.ndarray | None  # [R, E] normalised; None where the task has no reference scores
    faults: tuple[str, ...] = ()  # a line about each episode of this process that does not count

    @property
    def unit(self) -> str:
        """What `values` are: "score" or "return"."""
        return "return" if self.scores is None else "score"

    @property
    def values(self) -> np.ndarray:
        """Scores [R, E], or returns where there are none."""
        return self.returns if self.scores is None else self.scores

    @property
    def means(self) -> np.ndarray:
        """Mean of `values` [R] over the episodes that count."""
        return episode_means(self.values, self.lengths)


def check_environment(
    environment: EnvSpec,
    seconds: float = float("inf"),
    remedy: str = "mend it, or train without: --config.env_id=none",
) -> None:
    """Resets an environment and takes one step in it, before a run counts on it.

    Args:
      environment: where policies are to act.
      seconds: that each may take.
      remedy: what the user can do where it fails.

    Raises:
      InputError: it cannot be made, or fails at that.
    """
    env = envs.make(environment, 1)[0]
    low, high = env.action_space.low, env.action_space.high
    action = np.clip(np.zeros(env.action_space.shape), low, high).astype(np.float32)
    try:
        with Patience(seconds) as call:
            observation, _ = call(lambda: env.reset(seed=0))
            shapes = [np.shape(observation)]
            observation, reward, terminated, truncated, _ = call(lambda: env.step(action))
        shapes.append(np.shape(observation))
        _ = float(reward), bool(terminated), bool(truncated)
        if set(shapes) != {env.observation_space.shape}:
            raise ValueError(f"observations of shape {shapes}, not {env.observation_space.shape}")
    except InputError:
        raise
    except Exception as error:  # simulators raise what they like
        raise InputError(
            f"environment {environment.name!r}: its first reset and step fail "
            f"({type(error).__name__}: {one_line(error)[:100]}); {remedy}"
        ) from error


def episode_seeds(
    seeds: tuple[int, ...], step: int, num_episodes: int, first: int = 0
) -> np.ndarray:
    """Chooses the environment seed of every episode of an evaluation.

    Args:
      seeds: of R members.
      step: updates done.
      num_episodes: E.
      first: number of the first episode; others begin in other states.

    Returns:
      Seeds [R, E]. Each depends on the member's seed, the step and the episode, so two evaluations
      of a run do not begin in the same states.
    """

    def seed_of(*numbers: int) -> int:
        return int(np.random.SeedSequence(numbers).generate_state(1)[0] >> 1)

    episodes = range(first, first + num_episodes)
    return np.array([[seed_of(seed, step, episode) for episode in episodes] for seed in seeds])


def make_evaluate(
    algorithm: Algorithm,
    environment: EnvSpec,
    *,
    units: Units,
    seeds: tuple[int, ...],
    num_episodes: int,
    execute: int | None = None,
    reference_scores: tuple[float, float] | None = None,
    seconds: float = float("inf"),
    check_stop: Callable[[], None] = lambda: None,
    first_episode: int = 0,
    guard: bool = False,
) -> Callable[[AgentState], Evaluation]:
    """Makes a function that lets the members' policies act in an environment.

    Args:
      algorithm: the learner, which says how to act.
      environment: where.
      units: of the dataset. The environment's observations and actions are in the same units.
      seeds: of R members.
      num_episodes: E, of each member.
      execute: how many actions of a chunk are taken before the policy is asked again; None: all.
      reference_scores: returns that count as 0 and 100.
      seconds: that a step of the environments may take, of all that run side by side together.
      check_stop: called between environment steps; it may raise to end the evaluation.
      first_episode: see `episode_seeds`.
      guard: see `rollout`.

    Returns:
      evaluate(state [R]) -> Evaluation. It is collective: each process runs the episodes of its own
      members, and all get the whole result. Members that have diverged do not act: none of their
      episodes counts. Where the environment fails, all is tried once more in new ones; if they fail
      as well it raises InputError.
    """

    act_in_units = in_dataset_units(algorithm.act, units, execute)

    @jax.jit
    def act(
        params: chex.ArrayTree, keys: jax.Array, dead: Array, observation: Array, step: Array
    ) -> Array:
        """Actions [R, E, A], or plans [R, E, execute, A], for observations [R, E, O]; or NaN."""
        keys = jax.vmap(jax.random.fold_in, in_axes=(0, None))(keys, step)
        actions = jax.vmap(act_in_units)(params, observation, keys)
        return jax.vmap(lambda is_dead, own: jnp.where(is_dead, jnp.nan, own))(dead, actions)

    def evaluate(state: AgentState) -> Evaluation:
        own_seeds = seeds[sharding.own_members(len(seeds))]
        step = sharding.first_value(state.step)
        state = sharding.own_part(state)
        params, keys = jax.vmap(algorithm.policy_params)(state), jax.vmap(evaluation_key)(state)
        dead = np.asarray(state.diverged) >= 0

        def act_once(observation: np.ndarray, step: int) -> np.ndarray:
            return np.asarray(act(params, keys, dead, observation, np.int32(step)))

        # Where episodes do not fit at once they run in groups, and each group's policies get other
        # random numbers. The size of a group must therefore not depend on the number of processes:
        # it is chosen for all R members, then multiplied by the members of this process.
        max_envs = len(own_seeds) * max(1, MAX_ENVS // len(seeds))
        env_seeds = episode_seeds(own_seeds, step, num_episodes, first_episode)

        def run_once() -> Episodes:
            try:
                return rollout(
                    act_once,
                    environment,
                    seeds=env_seeds,
                    max_envs=max_envs,
                    seconds=seconds,
                    check_stop=check_stop,
                    guard=guard,
                )
            except (InputError, hosts.Stopped):
                raise
            except Exception as error:  # simulators raise what they like
                raise InputError(
                    f"environment {environment.name!r}: {type(error).__name__}: {one_line(error)}"
                ) from error

        def run_own() -> Episodes:
            try:
                return run_once()
            except InputError as error:
                print(f"warning: {error}; tried once more", file=sys.stderr, flush=True)
                envs.make.cache_clear()  # in new environments
            try:
                return run_once()
            except InputError:
                envs.make.cache_clear()
                raise

        episodes = hosts.run_in_all(run_own)
        returns, lengths = hosts.all_gather(episodes.returns), hosts.all_gather(episodes.lengths)
        scores = None if reference_scores is None else normalized_score(returns, reference_scores)
        faults = tuple(
            f"seed {own_seeds[fault.policy]}, episode {fault.episode}: {_told(fault)}; the episode "
            "does not count"
            for fault in episodes.faults
            if not dead[fault.policy]
        )
        return Evaluation(returns, lengths, scores, faults)

    return evaluate


def _told(fault: Fault) -> str:
    where = f"at step {fault.step}" if fault.step else "at its reset"
    if fault.error:
        return f"the environment failed {where} ({fault.error})"
    who = "policy" if fault.what == "action" else "environment"
    return f"the {who} gave a NaN or infinite {fault.what} {where}"
