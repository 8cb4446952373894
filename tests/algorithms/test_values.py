"""Critics on tiny environments whose values are known (after rejax): gamma = 0.5, so a few hundred updates suffice."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from edp_jax import TaskSpec, Transition, algorithms
from edp_jax.algorithms import AlgorithmConfig, Hypers, edp
from edp_jax.data import RawDataset, preprocess
from edp_jax.training import loop
from edp_jax.types import unpack

CONFIG = AlgorithmConfig(
    hidden_dims=(32,), num_timesteps=5, sampler_calls=1, ema_start=0, ema_period=1, num_candidates=2
)
LEARNERS = {
    "td3": CONFIG,
    "crr": CONFIG,
    "iql": CONFIG,
    "bcq": dataclasses.replace(CONFIG, num_backup_actions=2),
    "td3_bc": dataclasses.replace(CONFIG, activation="relu"),
    "cql": CONFIG,
    "diffusion_ql": dataclasses.replace(CONFIG, sampler="ddpm", sampler_calls=5),
}
SIZE = 256
NUM_UPDATES = 600


def transitions(observation, reward, discount, next_observation) -> Transition:
    """SIZE transitions with random actions, which change nothing."""
    action = np.random.default_rng(0).uniform(-1, 1, (SIZE, 1)).astype(np.float32)
    column = lambda values: np.resize(np.asarray(values, np.float32), SIZE)  # noqa: E731
    return Transition(
        column(observation)[:, None],
        action,
        column(reward),
        column(discount),
        column(next_observation)[:, None],
    )


ENVIRONMENTS = {  # name -> (transitions, observations, their values)
    "constant reward, no end: r / (1 - gamma)": (transitions([0], [1], [1], [0]), [0.0], [2.0]),
    "reward is the observation, one step": (
        transitions([-1, 1], [-1, 1], [0, 0], [0, 0]),
        [-1.0, 1.0],
        [-1.0, 1.0],
    ),
    "reward two steps away: gamma r": (
        transitions([0, 1], [0, 1], [1, 0], [1, 1]),
        [0.0, 1.0],
        [0.5, 1.0],
    ),
}


def learned_values(name: str, dataset: Transition, observations) -> np.ndarray:
    """Mean Q over actions at each observation, after NUM_UPDATES."""
    algorithm = algorithms.make(name, LEARNERS[name], TaskSpec(1, 1))
    train_chunk = loop.make_train_chunk(algorithm, 64)
    hypers = Hypers(discount=0.5, tau=0.1, learning_rate=3e-3, expectile=0.5, cql_alpha=0.0)
    state = loop.init_seeds(algorithm, (0,))
    state = next(
        loop.train(train_chunk, state, loop.put_dataset(dataset, 1), hypers, iter([NUM_UPDATES]))
    ).state
    critics = edp.make_critics(LEARNERS[name], TaskSpec(1, 1))
    params = jax.tree.map(lambda leaf: leaf[0], state.critic.params)
    actions = jnp.linspace(-1, 1, 21)[:, None]
    return np.array(
        [float(critics.apply(params, jnp.full((21, 1), o), actions).mean()) for o in observations]
    )


FARTHEST = "reward two steps away: gamma r"  # needs the target and the observation


@pytest.mark.parametrize(
    ("name", "environment"),
    [
        *((name, environment) for name in ("td3", "iql") for environment in ENVIRONMENTS),
        *((name, FARTHEST) for name in ("crr", "bcq", "td3_bc", "cql", "diffusion_ql")),
    ],
)
def test_critics_find_known_values(name, environment):
    dataset, observations, values = ENVIRONMENTS[environment]
    np.testing.assert_allclose(learned_values(name, dataset, observations), values, atol=0.15)


@pytest.mark.parametrize("cut, values", [("timeouts", [2.0, 2.0]), ("terminals", [1.5, 1.0])])
def test_a_timeout_is_not_a_terminal(cut, values):
    """0 -> 1 -> 0 -> ... pays 1 per step for ever, recorded two steps at a time: cut by a timeout the values are 1 / (1 - gamma),
    cut by a terminal 1 + gamma and 1."""
    ends = np.resize([False, True], SIZE)
    flags = {"terminals": np.zeros(SIZE, bool), "timeouts": np.zeros(SIZE, bool)} | {cut: ends}
    base = transitions([0, 1], [1], [1], [1, 0])
    raw = RawDataset(
        base.observation, base.action, base.reward, **flags, next_observations=base.next_observation
    )
    np.testing.assert_allclose(
        learned_values("td3", unpack(preprocess.to_rows(raw), TaskSpec(1, 1)), [0.0, 1.0]),
        values,
        atol=0.15,
    )
