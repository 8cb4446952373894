"""Policies: what one network pass says about a batch, sampling actions, and choosing among candidates."""

from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from edp_jax import diffusion
from edp_jax.networks import Network, Params
from edp_jax.types import Transition

ACTION_BOUND = 1.0  # every learner works in the box [-1, 1]^A
LOG_STD_RANGE = (-5.0, 2.0)  # of a learned standard deviation, as in IQL's public code
LIKELIHOODS = ("gaussian", "learned_std", "elbo")

Act = Callable[
    [Any, chex.Array, chex.PRNGKey], chex.Array
]  # (parameters, observation [..., O], key) -> action [..., A]


class Corruption(NamedTuple):
    """The randomness of the forward process for one batch."""

    timestep: chex.Array  # [B] integer in 0..K-1
    noise: chex.Array  # [B, A]


class Prediction(NamedTuple):
    """What one pass of the policy's network gives for a batch."""

    params: Params  # that made it
    action: (
        chex.Array
    )  # [B, A] in the box: a0_hat of a diffusion policy, the mean of a Gaussian one
    std: chex.Array  # [A] of the Gaussian around it
    denoising_loss: chex.Array  # [B], 0 for a Gaussian policy
    log_likelihood: chex.Array  # [B] log pi(a | s) of the batch's actions, or what stands in for it


class DiffusionPolicy(NamedTuple):
    """A noise network and what turns it into a policy; static."""

    network: Network  # apply(params, observation, x_t, t) -> noise
    schedule: diffusion.NoiseSchedule
    sampler: diffusion.Sampler
    likelihood: str = "gaussian"  # one of LIKELIHOODS

    def draw(self, key: chex.PRNGKey, action: chex.Array) -> Corruption:
        """Uniform timesteps and standard normal noise for action [B, A]."""
        timestep_key, noise_key = jax.random.split(key)
        timestep = jax.random.randint(
            timestep_key, action.shape[:-1], 0, self.schedule.num_timesteps
        )
        return Corruption(timestep, jax.random.normal(noise_key, action.shape))

    def predict(self, params: Params, batch: Transition, corruption: Corruption) -> Prediction:
        """Corrupts the batch's actions and takes the noise out again, in one step."""
        t, noise = corruption
        x_t = diffusion.add_noise(self.schedule, batch.action, t, noise)
        # The heart of EDP: this ONE pass of the noise network serves both losses (Eq. 10). Its output is compared with the noise
        # (Eq. 5) and, through the action approximation (Eq. 9), gives the action that the learner improves; no chain is run.
        predicted_noise = self.network.apply(params, batch.observation, x_t, t)
        action = jnp.clip(
            diffusion.predict_x0(self.schedule, x_t, t, predicted_noise),
            -ACTION_BOUND,
            ACTION_BOUND,
        )
        log_std = (
            _log_std(params) if self.likelihood == "learned_std" else jnp.zeros(action.shape[-1])
        )
        if self.likelihood == "elbo":
            log_likelihood = diffusion.elbo_log_likelihood(self.schedule, t, predicted_noise, noise)
        else:
            log_likelihood = diffusion.gaussian_log_likelihood(action, batch.action, log_std)
        return Prediction(
            params,
            action,
            jnp.exp(log_std),
            diffusion.denoising_loss(predicted_noise, noise),
            log_likelihood,
        )

    def sample(
        self, params: Params, observation: chex.Array, x_T: chex.Array, key: chex.PRNGKey
    ) -> chex.Array:
        """Actions [..., A] for observation [..., O], denoised from x_T [..., A] by the sampler's chain."""
        denoise = lambda x, t: self.network.apply(params, observation, x, t)  # noqa: E731
        return diffusion.sample(
            self.sampler,
            denoise,
            x_T,
            key,
            clip=ACTION_BOUND,
            unroll=min(self.sampler.num_calls, 16),
        )


class GaussianPolicy(NamedTuple):
    """N(mean(s), std) with a state-independent std, kept in the box: the feed-forward policies of IQL and CRR; static."""

    network: Network  # apply(params, observation) -> mean; params["log_std"] [A]

    def draw(self, key: chex.PRNGKey, action: chex.Array) -> tuple[()]:
        """Its prediction is deterministic."""
        del key, action
        return ()

    def predict(self, params: Params, batch: Transition, draws: Any = ()) -> Prediction:
        del draws
        mean = self.network.apply(params, batch.observation)
        log_likelihood = diffusion.gaussian_log_likelihood(mean, batch.action, _log_std(params))
        return Prediction(
            params, mean, jnp.exp(_log_std(params)), jnp.zeros_like(log_likelihood), log_likelihood
        )

    def sample(
        self, params: Params, observation: chex.Array, x_T: chex.Array, key: chex.PRNGKey
    ) -> chex.Array:
        """Actions [..., A] for observation [..., O] from standard normal x_T [..., A]; with x_T = 0 the mean."""
        del key
        action = self.network.apply(params, observation) + jnp.exp(_log_std(params)) * x_T
        return jnp.clip(action, -ACTION_BOUND, ACTION_BOUND)


def _log_std(params: Params) -> chex.Array:
    return jnp.clip(params["log_std"], *LOG_STD_RANGE)


Policy = DiffusionPolicy | GaussianPolicy


def select_by_energy(q: chex.Array, temperature: float, key: chex.PRNGKey) -> chex.Array:
    """Energy-based action selection (EDP Eq. 13; SfBC, 2209.14548): indices [...] drawn from softmax(q / temperature).

    q [N, ...] holds the value of each of N candidates; every row of the batch makes its own choice. Temperature 0 takes the best.
    """
    if temperature == 0:
        return jnp.argmax(q, axis=0)
    return jax.random.categorical(key, q / temperature, axis=0)


def take_candidate(actions: chex.Array, index: chex.Array) -> chex.Array:
    """actions [N, ..., A], index [...] -> the chosen actions [..., A]."""
    return jnp.take_along_axis(actions, index[None, ..., None], axis=0)[0]


def in_dataset_units(
    act: Act,
    observation_mean: chex.Array,
    observation_std: chex.Array,
    action_low: chex.Array,
    action_high: chex.Array,
) -> Act:
    """`act` between the units of the data: observations [..., O] before normalisation, actions [..., A] in their own box."""
    centre, half = (action_low + action_high) / 2, (action_high - action_low) / 2

    def scaled(params: Any, observation: chex.Array, key: chex.PRNGKey) -> chex.Array:
        return centre + half * act(params, (observation - observation_mean) / observation_std, key)

    return scaled
