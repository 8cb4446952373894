"""How far a policy drifts from the data, in imagined episodes.

Fitted Q evaluation asks what a policy does at recorded observations. It cannot see where small
errors lead, one after another. Here several networks learn to predict the next observation, and the
policy acts in them from the starts of held-out episodes. They have learned from the same steps, so
they agree near these and disagree elsewhere. How much they disagree along the way is the *drift*.
(Ensembles of dynamics: PETS, 1805.12114. Their disagreement as a sign that a policy has left the
data: MOPO, 2005.13239, and MOReL, 2005.05951.)
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from edp_jax import networks
from edp_jax.algorithms import Algorithm
from edp_jax.selection.sampling import in_box_of
from edp_jax.types import Array, TaskSpec, Transition, Units

# An imagined observation stays within the recorded ones, made so much wider on both sides.
_MARGIN = 0.1
_ROUNDING = 1e-5  # deviation of a change that is always the same, against its size


@dataclasses.dataclass(frozen=True)
class Imagination:
    """How networks learn the dynamics, and what is imagined in them."""

    num_networks: int = 5
    hidden_dims: tuple[int, ...] = (256, 256)
    num_updates: int = 5000
    batch_size: int = 256
    learning_rate: float = 1e-3  # falls to 0 (cosine)
    num_episodes: int = 32
    length: int = 200  # steps of an imagined episode
    seed: int = 0


class Dynamics(NamedTuple):
    """Networks that predict the change of the observation in a step; all in the units of `fit`."""

    params: networks.Params  # of C networks, whose output times std plus mean is the change
    mean: Array  # [O] of the recorded changes
    std: Array  # [O] their deviation; 1 where the change is always the same
    low: Array  # [O] smallest and largest imagined observation
    high: Array  # [O]


class Imagined(NamedTuple):
    """Learned dynamics, and where the episodes begin that are imagined in them."""

    dynamics: Dynamics
    start: Array  # [E, O]
    settings: Imagination


def fit(transitions: Transition, settings: Imagination) -> Dynamics:
    """Fits networks to recorded steps; a function of its arguments alone.

    Args:
      transitions: [N] single steps, observations of about unit size, actions in [-1, 1].
      settings: how they learn.

    Returns:
      The networks, and what is needed to use them.
    """
    observation = np.asarray(transitions.observation, np.float32)
    action = np.asarray(transitions.action, np.float32)
    change = np.asarray(transitions.next_observation, np.float32) - observation
    mean = np.asarray(change.mean(axis=0, dtype=np.float64), np.float32)
    std = np.asarray(change.std(axis=0, dtype=np.float64), np.float32)
    std = np.where(std > _ROUNDING * np.abs(change).max(axis=0), std, np.float32(1))
    target = (change - mean) / std
    network = _network(observation.shape[-1], action.shape[-1], settings)
    schedule = optax.cosine_decay_schedule(settings.learning_rate, settings.num_updates)
    opt, key = optax.adam(schedule), jax.random.key(settings.seed)

    @jax.jit
    def train(observation: Array, action: Array, target: Array) -> networks.Params:
        def loss(params: networks.Params, rows: Array) -> Array:
            error = network.apply(params, observation[rows], action[rows]) - target[rows]
            return jnp.sum(jnp.mean(jnp.square(error), axis=(1, 2)))  # every network for itself

        def update(index: Array, carry: tuple) -> tuple:
            params, opt_state = carry
            row_key = jax.random.fold_in(key, index)
            rows = jax.random.randint(row_key, (settings.batch_size,), 0, len(observation))
            updates, opt_state = opt.update(jax.grad(loss)(params, rows), opt_state)
            return optax.apply_updates(params, updates), opt_state

        params = network.init(jax.random.fold_in(key, settings.num_updates))
        return jax.lax.fori_loop(0, settings.num_updates, update, (params, opt.init(params)))[0]

    low, high = observation.min(axis=0), observation.max(axis=0)
    wider = _MARGIN * (high - low)
    params = train(observation, action, target)
    return Dynamics(params, mean, std, low - wider, high + wider)


def make_drift(
    algorithm: Algorithm, units: Units, own: Units, settings: Imagination
) -> Callable[[Dynamics, Any, Array], Array]:
    """Builds a function that lets policies act in learned dynamics; it compiles once.

    Args:
      algorithm: their learner, which says how they act.
      units: in which the dynamics see observations and actions.
      own: those of the learner.
      settings: what is imagined.

    Returns:
      drift(dynamics, parameters that act [R, ...], first observations [E, O] in `units`) -> [R]:
      the mean over steps and episodes of how much the networks disagree. In one step that is the
      root of the mean over columns of the variance of their predictions, which are in deviations of
      the recorded change. Each episode follows one network; which one goes round, and shifts by one
      after every C episodes.
    """
    key = jax.random.key(settings.seed)

    def drift(dynamics: Dynamics, params: Any, start: Array) -> Array:
        network = _network(start.shape[-1], units.action_low.shape[-1], settings)
        episodes = jnp.arange(len(start))
        followed_network = (episodes + episodes // settings.num_networks) % settings.num_networks

        def step(observation: Array, index: Array) -> tuple[Array, Array]:
            seen = own.normalize(units.denormalize(observation))
            drawn = algorithm.act(params, seen, jax.random.fold_in(key, index))
            action = in_box_of(units, own, drawn)
            predicted = network.apply(dynamics.params, observation, action)  # [C, E, O]
            followed = predicted[followed_network, episodes]
            following = observation + dynamics.mean + dynamics.std * followed
            variance = jnp.mean(jnp.var(predicted, axis=0), axis=-1)
            return jnp.clip(following, dynamics.low, dynamics.high), jnp.sqrt(variance)

        return jnp.mean(jax.lax.scan(step, start, jnp.arange(settings.length))[1])

    return jax.jit(jax.vmap(drift, in_axes=(None, 0, None)))


def _network(observation_dim: int, action_dim: int, settings: Imagination) -> networks.Network:
    spec = TaskSpec(observation_dim, action_dim)
    return networks.make_dynamics(spec, settings.num_networks, settings.hidden_dims, "mish")
