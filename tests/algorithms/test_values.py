"""Critics on tiny environments whose values are known (after rejax).

gamma is 0.5, so a few hundred updates suffice.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from edp_jax import TaskSpec, algorithms
from edp_jax.algorithms import base, edp
from edp_jax.data import RawDataset, preprocess
from edp_jax.types import Transition, unpack

SPEC = TaskSpec(1, 1)
COMMON = dict(hidden_dims=(32,), learning_rate=3e-3, tau=0.1, discount=0.5)
DIFFUSION = dict(num_timesteps=5, sampler_calls=1, ema_start=0, ema_period=1, num_candidates=2)
SETTINGS = {
    "edp_td3": DIFFUSION,
    "edp_crr": DIFFUSION,
    "edp_iql": DIFFUSION | dict(expectile=0.5),
    "edp_bcq": DIFFUSION | dict(num_backup_actions=2),
    "edp_cql": DIFFUSION | dict(cql_alpha=0.0),
    "diffusion_ql": DIFFUSION | dict(sampler_calls=5),
    "td3_bc": {},
    "crr": {},
    "iql": dict(expectile=0.5),
}
SIZE, BATCH_SIZE, NUM_UPDATES = 256, 64, 600


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


FARTHEST = "reward two steps away: gamma r"  # needs the target and the observation
ENVIRONMENTS = {  # name -> (transitions, observations, their values)
    "constant reward, no end: r / (1 - gamma)": (transitions([0], [1], [1], [0]), [0.0], [2.0]),
    "reward is the observation, one step": (
        transitions([-1, 1], [-1, 1], [0, 0], [0, 0]),
        [-1.0, 1.0],
        [-1.0, 1.0],
    ),
    FARTHEST: (transitions([0, 1], [0, 1], [1, 0], [1, 1]), [0.0, 1.0], [0.5, 1.0]),
}


@functools.cache
def training(name: str):
    """(learner, compiled training): dataset -> its state after NUM_UPDATES on random batches."""
    learner = algorithms.make(name, algorithms.settings(name, **COMMON, **SETTINGS[name]), SPEC)

    def train(dataset: Transition):
        def step(state, _):
            index = jax.random.randint(base.batch_key(state, state.step), (BATCH_SIZE,), 0, SIZE)
            batch = jax.tree.map(lambda column: jnp.asarray(column)[index], dataset)
            return learner.update_step(state, batch, learner.settings)[0], None

        return jax.lax.scan(step, learner.init(jax.random.key(0)), length=NUM_UPDATES)[0]

    return learner, jax.jit(train)


def learned_values(name: str, dataset: Transition, observations) -> np.ndarray:
    """Mean Q over actions at each observation."""
    learner, train = training(name)
    params = train(dataset).networks["critic"].params
    critics = edp.make_critics(learner.settings, SPEC)
    actions = jnp.linspace(-1, 1, 21)[:, None]
    return np.array(
        [float(critics.apply(params, jnp.full((21, 1), o), actions).mean()) for o in observations]
    )


@pytest.mark.parametrize(
    ("name", "environment"),
    [
        *((name, environment) for name in ("edp_td3", "edp_iql") for environment in ENVIRONMENTS),
        *((name, FARTHEST) for name in SETTINGS if name not in ("edp_td3", "edp_iql")),
    ],
)
def test_critics_find_known_values(name, environment):
    dataset, observations, values = ENVIRONMENTS[environment]
    np.testing.assert_allclose(learned_values(name, dataset, observations), values, atol=0.15)


@pytest.mark.parametrize(("cut", "values"), [("timeouts", [2.0, 2.0]), ("terminals", [1.5, 1.0])])
def test_a_timeout_is_not_a_terminal(cut, values):
    """0 -> 1 -> 0 -> ... pays 1 per step for ever, recorded two steps at a time. Cut by a timeout
    the values are 1 / (1 - gamma), cut by a terminal 1 + gamma and 1."""
    ends = np.resize([False, True], SIZE)
    flags = {"terminals": np.zeros(SIZE, bool), "timeouts": np.zeros(SIZE, bool)} | {cut: ends}
    steps = transitions([0, 1], [1], [1], [1, 0])
    raw = RawDataset(
        steps.observation,
        steps.action,
        steps.reward,
        **flags,
        next_observations=steps.next_observation,
    )
    recorded = unpack(preprocess.to_rows(raw, TaskSpec(1, 1)), TaskSpec(1, 1))
    found = learned_values("edp_td3", recorded, [0.0, 1.0])
    np.testing.assert_allclose(found, values, atol=0.15)
