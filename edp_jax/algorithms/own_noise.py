"""How much noise a diffusion policy starts from, chosen by the policy itself.

A diffusion policy acts from x_T ~ N(0, s^2 I). A small s gives actions near the likeliest one. But
where the data act in several ways, a chain from the middle may end between them, where nobody has
acted. The policy itself can tell: its denoising loss is a bound of the negative log-likelihood of
an action with other weights of the timesteps (DDPM, 2006.11239, Eq. 14), so it is small on actions
that the policy finds likely and large between its modes. The s whose samples have the smallest
loss acts (docs/findings.md, "Which starting noise").

The loss is asked at observations of the newest batch, which the state remembers.
"""

import dataclasses
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from edp_jax import diffusion
from edp_jax.algorithms.base import AgentState, Algorithm, Metrics, TrainState, noise_key
from edp_jax.networks import Params
from edp_jax.policy import DiffusionPolicy
from edp_jax.types import Array, InputError, TaskSpec, Transition

CHOSEN = -1.0  # value of `starting_noise` that leaves it to the policy
SCALES = (0.0, 0.1, 0.3, 1.0)  # that it chooses among
SEEN = "seen"  # name of the remembered observations in the state

_ROWS = 64  # observations that the samples are drawn at
_DRAWS = 16  # timesteps and noises per sample


class OwnNoise(NamedTuple):
    """A diffusion policy as it acts, on the parameters {"network", "noise_scale"}."""

    policy: DiffusionPolicy
    starting_noise: float  # s; `CHOSEN`: the parameters say it

    @property
    def num_noisy_calls(self) -> int:
        """As of `DiffusionPolicy`."""
        return self._fixed.num_noisy_calls

    def sample(self, params: dict[str, Any], observation: Array, x_T: Array, steps: Any) -> Array:
        """Actions [..., A], as of `DiffusionPolicy`."""
        policy = self._fixed
        if self.starting_noise == CHOSEN:
            policy = policy.with_noise_scale(params["noise_scale"])
        return policy.sample(params["network"], observation, x_T, steps)

    @property
    def _fixed(self) -> DiffusionPolicy:
        chosen = self.starting_noise == CHOSEN
        return self.policy if chosen else self.policy.with_noise_scale(self.starting_noise)


def check(starting_noise: float) -> None:
    """Checks a value of the setting.

    Raises:
      InputError: it is below 0 and not `CHOSEN`.
    """
    if starting_noise < 0 and starting_noise != CHOSEN:
        raise InputError(
            f"starting_noise={starting_noise:g} must be at least 0, or {CHOSEN:g}: the policy "
            "chooses it"
        )


def likeliest(
    policy: DiffusionPolicy,
    params: Params,
    observation: Array,
    action_dim: int,
    key: chex.PRNGKey,
) -> Array:
    """The s [] of `SCALES` whose samples have the smallest denoising loss (EDP Eq. 5).

    Starting noise, timesteps and added noise are the same for every s, so that their chance does
    not decide.

    Args:
      policy: how it samples; its own scale is not read.
      params: of its network.
      observation: [N, O] to sample at.
      action_dim: A.
      key: of all random numbers.
    """
    start_key, steps_key, corruption_key = jax.random.split(key, 3)
    x_T = jax.random.normal(start_key, (len(observation), action_dim))
    keys = jax.random.split(corruption_key, _DRAWS)
    corruptions = jax.vmap(lambda key: policy.draw(key, x_T))(keys)

    def loss(scale: Array) -> Array:
        own = policy.with_noise_scale(scale)
        action = own.sample(params, observation, x_T, steps_key)

        def denoising(timestep: Array, noise: Array) -> Array:
            x_t = diffusion.add_noise(policy.schedule, action, timestep, noise)
            predicted = policy.network.apply(params, observation, x_t, timestep)
            return jnp.mean(diffusion.denoising_loss(predicted, noise))

        return jnp.mean(jax.vmap(denoising)(*corruptions))

    scales = jnp.array(SCALES)
    return scales[jnp.argmin(jax.lax.map(loss, scales))]


def choosing(
    learner: Algorithm, policy: DiffusionPolicy, starting_noise: float, spec: TaskSpec
) -> Algorithm:
    """The learner with an acting policy that is an `OwnNoise`.

    Args:
      learner: its `policy_params` are {"actor": parameters of the network, ...}.
      policy: what it trains.
      starting_noise: s, or `CHOSEN`.
      spec: sizes of observation and action.
    """

    def init(key: chex.PRNGKey) -> AgentState:
        seen = jnp.zeros((_ROWS, spec.observation_dim))
        return _remember(learner.init(key), seen)

    def update(
        state: AgentState, batch: Transition, settings: Any, draws: Any
    ) -> tuple[AgentState, Metrics]:
        state, metrics = learner.update(state, batch, settings, draws)
        rows = jnp.arange(_ROWS) % len(batch.observation)
        return _remember(state, batch.observation[rows]), metrics

    @jax.jit  # it is also called outside of programs
    def policy_params(state: AgentState) -> dict[str, Any]:
        params = learner.policy_params(state)
        network, scale = params["actor"], jnp.asarray(starting_noise, jnp.float32)
        if starting_noise == CHOSEN:
            seen = state.networks[SEEN].params
            scale = likeliest(policy, network, seen, spec.action_dim, noise_key(state))
        return params | {"actor": {"network": network, "noise_scale": scale}}

    return learner._replace(init=init, update=update, policy_params=policy_params)


def _remember(state: AgentState, observation: Array) -> AgentState:
    seen = {SEEN: TrainState(observation, None, ())}
    return dataclasses.replace(state, networks=state.networks | seen)
