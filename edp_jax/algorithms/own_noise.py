"""How a diffusion policy acts: whether critics choose among its samples, and from how much noise.

Both are found out from the data (docs/findings.md, "A choice among candidates").

**Whether critics choose.** They can tell actions apart where their advantages vary by more than
their own errors: where r times the variance of A is above the mean of delta^2, both averaged over
about the last 200 batches. r says how much of what the critics say of unseen episodes is true
(`trust.reliability`): critics that know a few rows by heart have small errors on these rows, but a
small r. Then the best of several samples acts, and these start from a fifth of the noise, so that
they differ but are not far from the data (docs/findings.md, "Less noise among the candidates").
Else a single sample acts.

**From how much noise a single sample starts.** It is made from x_T ~ N(0, s^2 I). A small s gives
actions near the likeliest one. But where the data act in several ways, a chain from the middle may
end between them, where nobody has acted. The policy itself can tell: its denoising loss is a bound
of the negative log-likelihood of an action with other weights of the timesteps (DDPM, 2006.11239,
Eq. 14), so it is small on actions that the policy finds likely and large between its modes. The s
whose samples have the smallest loss acts (docs/findings.md, "Which starting noise").

The loss is asked at observations of the newest batch, which the state remembers.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from edp_jax import diffusion
from edp_jax.algorithms import trust
from edp_jax.algorithms.base import AgentState, Algorithm, Metrics, TrainState, noise_key
from edp_jax.networks import Params
from edp_jax.policy import DiffusionPolicy
from edp_jax.types import Array, InputError, TaskSpec, Transition

CHOSEN = -1.0  # value of `starting_noise` that leaves it to the policy
SCALES = (0.0, 0.1, 0.3, 1.0)  # that it chooses among
SEEN = "seen"  # name of what is remembered in the state
CHOOSY = "choosy"  # name of the parameter [] bool that says whether critics can tell actions apart
CANDIDATE_NOISE = 0.2  # s of the samples that they choose among

_ROWS = 64  # observations that the samples are drawn at
_DRAWS = 16  # timesteps and noises per sample
_STEP = 0.005  # of the averages of A's variance and of delta^2, per update


class Seen(NamedTuple):
    """What the state remembers of the batches."""

    observation: Array  # [64, O] of the newest
    # running means over the batches; both start at 0 and are equally far below the true ones
    advantage_variance: Array  # [] of the variance of A
    squared_error: Array  # [] of the mean of delta^2


class OwnNoise(NamedTuple):
    """A diffusion policy that takes the amount of noise it starts from out of its parameters.

    These are "network", those of the noise network; "noise_scale", the s [] of a single sample; and
    `CHOOSY`. `scale_of` says what follows from the last two.
    """

    policy: DiffusionPolicy
    starting_noise: float  # s; `CHOSEN`: the parameters say it
    several: bool  # whether critics may choose among its samples

    @property
    def num_noisy_calls(self) -> int:
        """As of `DiffusionPolicy`."""
        return self._fixed.num_noisy_calls

    def sample(self, params: dict[str, Any], observation: Array, x_T: Array, steps: Any) -> Array:
        """Actions [..., A], as of `DiffusionPolicy`."""
        policy = self._fixed
        if self.starting_noise == CHOSEN:
            policy = policy.with_noise_scale(scale_of(params, self.several))
        return policy.sample(params["network"], observation, x_T, steps)

    @property
    def _fixed(self) -> DiffusionPolicy:
        chosen = self.starting_noise == CHOSEN
        return self.policy if chosen else self.policy.with_noise_scale(self.starting_noise)


def scale_of(params: Mapping[str, Any], several: bool) -> Array:
    """The s [] that samples start from.

    Args:
      params: "noise_scale" and `CHOOSY` of the policy.
      several: whether several samples are drawn, which critics may choose among.
    """
    alone = params["noise_scale"]
    return jnp.where(params[CHOOSY], CANDIDATE_NOISE, alone) if several else alone


def tell_apart(state: AgentState) -> Array:
    """Whether critics can tell actions apart: [] bool of one member, [R] of all.

    They cannot where no episodes are held out (`trust.reliability_of`).
    """
    seen: Seen = state.networks[SEEN].params
    return trust.reliability_of(state) * seen.advantage_variance > seen.squared_error


def describe(learner: Algorithm, state: AgentState) -> list[str]:
    """Tells in lines whether critics choose, and what the members [R] of a state chose themselves.

    Args:
      learner: made by `choosing`, or another one, of which there is nothing to tell.
      state: of all members.
    """
    if SEEN not in state.networks:
        return []
    able = ("yes" if choosy else "no" for choosy in tell_apart(state).tolist())
    lines = [f"critics can tell actions apart: {'; '.join(able)}"]
    if learner.settings.starting_noise == CHOSEN:
        actor = jax.vmap(learner.policy_params)(state)["actor"]
        several = learner.settings.num_candidates > 1
        scales = (f"{scale:g}" for scale in scale_of(actor, several).tolist())
        lines.append(f"starting noise that each has chosen, as the run acts: {'; '.join(scales)}")
    return lines


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
      learner: its `policy_params` are {"actor": parameters of the network, ...}; its metrics have
        the "actor/advantage_variance" and the "actor/squared_error" of the critics. Without
        `trust.remembering` the critics never choose.
      policy: what it trains.
      starting_noise: s, or `CHOSEN`.
      spec: sizes of observation and action.
    """

    def init(key: chex.PRNGKey) -> AgentState:
        seen = Seen(jnp.zeros((_ROWS, spec.observation_dim)), jnp.zeros(()), jnp.zeros(()))
        return _remember(learner.init(key), seen)

    def update(
        state: AgentState, batch: Transition, settings: Any, draws: Any
    ) -> tuple[AgentState, Metrics]:
        state, metrics = learner.update(state, batch, settings, draws)
        before: Seen = state.networks[SEEN].params
        rows = jnp.arange(_ROWS) % len(batch.observation)

        def averaged(old: Array, name: str) -> Array:
            return old + _STEP * (metrics[f"actor/{name}"] - old)

        newest = Seen(
            batch.observation[rows],
            averaged(before.advantage_variance, "advantage_variance"),
            averaged(before.squared_error, "squared_error"),
        )
        return _remember(state, newest), metrics

    @jax.jit  # it is also called outside of programs
    def policy_params(state: AgentState) -> dict[str, Any]:
        params = learner.policy_params(state)
        network, scale = params["actor"], jnp.asarray(starting_noise, jnp.float32)
        if starting_noise == CHOSEN:
            seen = state.networks[SEEN].params.observation
            scale = likeliest(policy, network, seen, spec.action_dim, noise_key(state))
        choosy = tell_apart(state)
        return params | {"actor": {"network": network, "noise_scale": scale, CHOOSY: choosy}}

    return learner._replace(init=init, update=update, policy_params=policy_params)


def _remember(state: AgentState, seen: Seen) -> AgentState:
    networks = state.networks | {SEEN: TrainState(seen, None, ())}
    return dataclasses.replace(state, networks=networks)
