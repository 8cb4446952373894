"""Small learners, batches, and networks that can be worked out by hand: what these tests share."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from edp_jax import algorithms, diffusion
from edp_jax.algorithms import (
    AgentState,
    Algorithm,
    TrainState,
    base,
    edp,
    own_noise,
    td3,
    trust,
)
from edp_jax.networks import Network
from edp_jax.policy import Corruption, DiffusionPolicy, GaussianPolicy
from edp_jax.types import TaskSpec, Transition

SPEC = TaskSpec(observation_dim=3, action_dim=2)
LEARNERS = tuple(algorithms.REGISTRY)
REMEMBERED = (own_noise.SEEN, trust.ERRORS)  # parts of a state that are no networks
EVERY_LEARNER = pytest.mark.parametrize("name", LEARNERS)
# Every part of a learner has something to do: three critics of which two count, two actions in
# every maximum.
TINY = dict(
    hidden_dims=(8,),
    num_timesteps=5,
    sampler_calls=2,
    num_candidates=3,
    num_backup_actions=2,
    num_baseline_actions=2,
    num_cql_actions=2,
    flow_steps=2,
    num_critics=3,
    num_target_critics=2,
    ema_period=2,
    ema_start=0,
)


def tiny_settings(name: str, **changes):
    """Settings of a learner that is small in every respect; `changes` it lacks are an error."""
    fields = {field.name for field in dataclasses.fields(algorithms.find(name).settings)}
    tiny = {key: value for key, value in TINY.items() if key in fields}
    return algorithms.settings(name, **(tiny | changes))


def tiny_learner(name: str, **changes) -> Algorithm:
    return algorithms.make(name, tiny_settings(name, **changes), SPEC)


def make_batch(size: int = 4, spec: TaskSpec = SPEC, **changes) -> Transition:
    """Random transitions, the same ones every time."""
    rng = np.random.default_rng(0)
    numbers = lambda *shape: rng.normal(size=shape).astype(np.float32)  # noqa: E731
    batch = Transition(
        observation=numbers(size, spec.observation_dim),
        action=rng.uniform(-0.9, 0.9, (size, spec.action_dim)).astype(np.float32),
        reward=numbers(size),
        discount=(rng.uniform(size=size) > 0.2).astype(np.float32),
        next_observation=numbers(size, spec.observation_dim),
    )
    return batch.replace(**changes)


BATCH = make_batch()


@functools.cache
def compiled(name: str):
    """(learner, its compiled update, its state): compiled once per test file."""
    learner = tiny_learner(name, lr_decay_steps=100)
    learner = learner._replace(draw=jax.jit(learner.draw), act=jax.jit(learner.act))
    return learner, jax.jit(learner.update_step), jax.jit(learner.init)(jax.random.key(0))


# Networks small enough to work out by hand. The observation has one column s.

# Q_i(s, a) = w_i . a + s
LINEAR_CRITICS = Network(
    init=lambda key: {"w": jnp.ones((2, 1))},
    apply=lambda params, s, a: jnp.einsum("...a,ca->c...", a, params["w"]) + s[..., 0],
    is_ensemble=True,
)
# V(s) = v + s
SHIFTED_VALUE = Network(
    init=lambda key: {"v": jnp.zeros(())},
    apply=lambda params, s: params["v"] + s[..., 0],
)
# The same noise everywhere.
CONSTANT_NOISE = Network(
    init=lambda key: {"eps": jnp.zeros(1)},
    apply=lambda params, s, x_t, t: params["eps"] + jnp.zeros_like(x_t),
)
# A feed-forward policy: mean + s / 10.
SHIFTED_MEAN = Network(
    init=lambda key: {"mean": jnp.zeros(1), "log_std": jnp.zeros(1)},
    apply=lambda params, s: params["mean"] + 0.1 * s,
)
CONSTANT_MEAN = SHIFTED_MEAN._replace(apply=lambda params, s: params["mean"] + 0.0 * s)

SCHEDULE = diffusion.make_schedule("vp", 5)
ABAR = float(np.exp(-0.1 / 5 - 0.5 * 9.9 / 25))  # abar_1 of that schedule
SAMPLER = diffusion.make_sampler("dpm_solver_1", SCHEDULE, 2)
CONSTANT_DIFFUSION = DiffusionPolicy(CONSTANT_NOISE, SCHEDULE, SAMPLER)
CONSTANT_GAUSSIAN = GaussianPolicy(CONSTANT_MEAN)


def a0_hat(action: float, noise: float, eps: float) -> float:
    """EDP's approximated action at t = 0 when the network predicts eps (EDP Eq. 8 and 9)."""
    noisy = np.sqrt(ABAR) * action + np.sqrt(1 - ABAR) * noise
    return float(np.clip((noisy - np.sqrt(1 - ABAR) * eps) / np.sqrt(ABAR), -1, 1))


def as_arrays(params: dict) -> dict:
    return {name: jnp.asarray(value, jnp.float32) for name, value in params.items()}


def train_state(settings, params, target=None, *, ensemble: bool = False) -> TrainState:
    """A network's state before its first step. Parameters are numbers and lists, by name."""
    params = as_arrays(params)
    network = Network(lambda key: params, lambda: None, is_ensemble=ensemble)
    state = base.init_train_state(network, jax.random.key(0), base.optimizer(settings))
    return state.replace(target_params=params if target is None else as_arrays(target))


def agent(step: int = 0, **networks: TrainState) -> AgentState:
    return AgentState(jnp.asarray(step), jax.random.key(0), networks)


def rows(s, a, r=0.0, d=1.0, next_s=0.0) -> Transition:
    """Transitions with one column of observation and of action, from a number or one per row."""
    column = lambda value: np.resize(np.asarray(value, np.float32), np.size(a))  # noqa: E731
    return Transition(
        column(s)[:, None], column(a)[:, None], column(r), column(d), column(next_s)[:, None]
    )


def first_timestep(*noise: float) -> Corruption:
    """Noise of each row, put into its action at t = 0."""
    return Corruption(jnp.zeros(len(noise), jnp.int32), jnp.asarray(noise, jnp.float32)[:, None])


def guided_update(update, settings, batch: Transition, other, *, eps: float):
    """An update of a learner like EDP-TD3, from an actor `eps` and critics w = (2, -1).

    The averages are far from both, so that a learner that uses the wrong ones is noticed. The noise
    of the one row is 1, its next action 0; the first critic guides; `other` are the other draws.
    """
    actor = train_state(settings, {"eps": [eps]}, {"eps": [-9.0]})
    critic = train_state(settings, {"w": [[2.0], [-1.0]]}, {"w": [[5.0], [7.0]]}, ensemble=True)
    target = edp.TargetDraws(jnp.zeros((1, 1, 1)), None)
    draws = td3.Draws(first_timestep(1.0), target, jnp.asarray(0), other)
    return update(agent(actor=actor, critic=critic), batch, settings, draws)


def gradient(state: TrainState):
    """What the first gradient of a network was, after clipping: Adam's moment is a tenth of it."""
    return jax.tree.map(lambda moment: 10.0 * moment, optax.tree.get(state.opt_state, "mu"))


def assert_close(actual, expected, rtol: float = 1e-5, atol: float = 1e-6) -> None:
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=rtol, atol=atol), actual, expected
    )


def same(left, right) -> bool:
    """Whether two trees have the same numbers everywhere."""
    pairs = zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True)
    return all(np.array_equal(x, y, equal_nan=True) for x, y in pairs)


def as_data(leaf):
    """A leaf of a state as numbers, random keys too."""
    is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return jax.random.key_data(leaf) if is_key else leaf
