"""Fitted Q evaluation: what a policy would return, out of transitions that others recorded.

The critic of a policy pi is fitted to r + gamma Q(s', a'), where a' is drawn from pi (Le et al.
2019; Paine et al. 2020, 2007.09055). No action of the learner's critics is asked for, and nothing
is improved: Q converges to the value of pi, as far as the data show what pi would do. Each policy
gets C critics, each with targets of its own, which differ in their first parameters. They agree
where the data decide, and differ where the policy leaves the data.

The actions of a policy are drawn once, before the fit. So its own network is not in the loop, and
the critics of all policies are fitted in one compiled program, on the same batches and from the
same first parameters: what differs between two policies is the policies.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from edp_jax import losses, networks
from edp_jax.types import Array, TaskSpec, Transition

# The largest return, as the networks see it. They begin with numbers below 1, which are then of no
# account against it; where a policy leaves the data, they would remain.
_LARGEST = 10.0


@dataclasses.dataclass(frozen=True)
class FQE:
    """How critics are fitted."""

    discount: float = 0.995  # gamma, below 1
    num_updates: int = 5000
    num_critics: int = 5
    hidden_dims: tuple[int, ...] = (64, 64)
    batch_size: int = 128
    learning_rate: float = 2e-3
    tau: float = 0.2  # step of the critics' average, which makes the targets and the estimates
    seed: int = 0


class Choices(NamedTuple):
    """What P policies would do: M actions drawn at each observation, in [-1, 1]."""

    following: Array  # [P, N, M, A] at the next observations of the transitions
    starting: Array  # [P, E, M, A] at the first observations of E episodes


class _Fit(NamedTuple):
    """The critics of one policy under training."""

    params: networks.Params
    average: networks.Params
    opt_state: optax.OptState


def evaluate(
    transitions: Transition,
    starts: Array,
    choices: Choices,
    bounds: tuple[float, float],
    settings: FQE,
) -> np.ndarray:
    """Estimates the discounted return of policies from the first observations of episodes.

    Args:
      transitions: [N], of single actions; observations of about unit size.
      starts: [E, O] observations to start from, of the same size.
      choices: of the policies.
      bounds: the smallest and the largest discounted return that there can be, see
        `edp_jax.training.divergence.possible_returns`. No target is beyond them.
      settings: how critics are fitted.

    Returns:
      [P, C, E] values in the units of the rewards, a function of the arguments alone.
    """
    low, high = bounds
    scale = (max(abs(low), abs(high)) or 1.0) / _LARGEST
    scaled = dataclasses.replace(transitions, reward=transitions.reward / scale)
    spec = TaskSpec(transitions.observation.shape[-1], transitions.action.shape[-1])
    critics = networks.make_critics(
        spec, settings.num_critics, settings.hidden_dims, "relu", layer_norm=True
    )
    program = jax.jit(jax.vmap(_make_fit(critics, settings), in_axes=(None, None, None, 0)))
    values = program(scaled, starts, (low / scale, high / scale), choices)
    return scale * np.asarray(values, np.float64)


def _make_fit(critics: networks.Network, settings: FQE) -> Any:
    """Builds fit(transitions, starts, bounds, choices of one policy) -> values [C, E]."""
    opt = optax.adam(settings.learning_rate)
    key = jax.random.key(settings.seed)

    def fit(
        transitions: Transition, starts: Array, bounds: tuple[Array, Array], choices: Choices
    ) -> Array:
        size, count = choices.following.shape[:2]

        def update(index: Array, state: _Fit) -> _Fit:
            row_key, action_key = jax.random.split(jax.random.fold_in(key, index))
            rows = jax.random.randint(row_key, (settings.batch_size,), 0, size)
            drawn = jax.random.randint(action_key, (settings.batch_size,), 0, count)
            batch = jax.tree.map(lambda leaf: leaf[rows], transitions)
            next_action = choices.following[rows, drawn]
            next_q = critics.apply(state.average, batch.next_observation, next_action)
            discount = settings.discount * batch.discount
            target = jax.vmap(losses.td_target, in_axes=(None, None, 0))(
                batch.reward, discount, next_q
            )
            target = jnp.clip(target, *bounds)

            def loss(params: networks.Params) -> Array:
                q = critics.apply(params, batch.observation, batch.action)
                return jnp.sum(losses.mean(jnp.square(q - target), axis=-1))

            updates, opt_state = opt.update(jax.grad(loss)(state.params), state.opt_state)
            params = optax.apply_updates(state.params, updates)
            average = optax.incremental_update(params, state.average, settings.tau)
            return _Fit(params, average, opt_state)

        params = critics.init(jax.random.fold_in(key, settings.num_updates))
        first = _Fit(params, params, opt.init(params))
        average = jax.lax.fori_loop(0, settings.num_updates, update, first).average
        q = critics.apply(average, starts, jnp.moveaxis(choices.starting, 1, 0))  # [C, M, E]
        return jnp.mean(q, axis=1)

    return fit
