"""Policies: what one network pass says about a batch, sampling actions, choosing among candidates.

A policy is a network together with what turns its output into actions. It is static: its methods
are pure functions of the network's parameters, and all randomness comes in as an argument.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from edp_jax import diffusion, losses
from edp_jax.diffusion.samplers import Denoise
from edp_jax.networks import Network, Params
from edp_jax.types import Array, Transition, Units

ACTION_BOUND = 1.0  # every learner works in the box [-1, 1]^A
LOG_STD_RANGE = (-5.0, 2.0)  # of a learned standard deviation, as in IQL's public code
LIKELIHOODS = ("gaussian", "learned_std", "elbo", "noise")

# (parameters, observation [..., O], key or random numbers) -> action [..., A]
Act = Callable[[Any, Array, Any], Array]


class Corruption(NamedTuple):
    """The random numbers of the forward process (EDP, 2305.20081, Eq. 8) for one batch."""

    timestep: Array  # [B] integer in 0 .. K - 1
    noise: Array  # [B, A] standard normal


class Prediction(NamedTuple):
    """What one pass of a policy's network gives for a batch."""

    action: Array  # [B, A] in the box: a0_hat of a diffusion policy, the mean of a Gaussian one
    std: Array  # [A] standard deviation of the Gaussian around it
    denoising_loss: Array  # [B]; 0 for a Gaussian policy
    log_likelihood: Array  # [B] log pi(a | s) of the batch's actions, or its stand-in


class DiffusionPolicy(NamedTuple):
    """A policy that starts from noise and removes it in several calls of a noise network."""

    network: Network  # apply(params, observation, x_t, t) -> noise
    schedule: diffusion.NoiseSchedule
    sampler: diffusion.Sampler
    likelihood: str = "gaussian"  # one of LIKELIHOODS
    noise_scale: Array | float = 1.0  # standard deviation s [] of the noise that samples start from
    dtype: str = "float32"  # in which the network computes while it samples

    def draw(self, key: chex.PRNGKey, action: Array) -> Corruption:
        """Draws uniform timesteps and standard normal noise for actions [B, A]."""
        timestep_key, noise_key = jax.random.split(key)
        timestep = jax.random.randint(
            timestep_key, action.shape[:-1], 0, self.schedule.num_timesteps
        )
        return Corruption(timestep, jax.random.normal(noise_key, action.shape))

    def predict(self, params: Params, batch: Transition, corruption: Corruption) -> Prediction:
        """Adds noise to the batch's actions and removes it again, in one pass of the network.

        This one pass serves both losses of EDP (Eq. 10). Its output is compared with the noise
        (Eq. 5). It also gives the action approximation a0_hat (Eq. 9), which the learner improves
        without running the sampling chain.
        """
        t, noise = corruption
        chex.assert_equal_shape([batch.action, noise])
        x_t = diffusion.add_noise(self.schedule, batch.action, t, noise)
        predicted_noise = self.network.apply(params, batch.observation, x_t, t)
        action = diffusion.predict_x0(self.schedule, x_t, t, predicted_noise)
        action = jnp.clip(action, -ACTION_BOUND, ACTION_BOUND)
        learned = self.likelihood == "learned_std"
        log_std = _log_std(params) if learned else jnp.zeros(action.shape[-1])
        if self.likelihood == "elbo":
            log_likelihood = diffusion.elbo_log_likelihood(
                self.schedule, t, predicted_noise, noise, batch.recorded
            )
        elif self.likelihood == "noise":
            log_likelihood = diffusion.noise_log_likelihood(predicted_noise, noise, batch.recorded)
        else:
            log_likelihood = diffusion.gaussian_log_likelihood(
                action, batch.action, log_std, batch.recorded
            )
        denoising_loss = diffusion.denoising_loss(predicted_noise, noise, batch.recorded)
        return Prediction(action, jnp.exp(log_std), denoising_loss, log_likelihood)

    def cloning_loss(self, prediction: Prediction, counts: Array | None = None) -> Array:
        """What cloning adds to the denoising loss []: nothing."""
        del counts
        return jnp.zeros((), prediction.denoising_loss.dtype)

    def with_noise_scale(self, scale: Array | float) -> "DiffusionPolicy":
        """The same policy, sampled from less noise: closer to the likeliest actions.

        All noise of a sample is multiplied by `scale` [], which is s below: it starts from x_T ~
        N(0, s^2 I), and a stochastic sampler adds s z in its steps, where it added z ~ N(0, I).
        """
        sampler = self.sampler
        if sampler.is_stochastic:
            sampler = sampler._replace(noise_scale=scale * sampler.noise_scale)
        return self._replace(sampler=sampler, noise_scale=scale)

    @property
    def num_noisy_calls(self) -> int:
        """Calls n of a stochastic sampler, each of which adds noise; 0 if it is deterministic."""
        return self.sampler.num_calls if self.sampler.is_stochastic else 0

    def sample(self, params: Params, observation: Array, x_T: Array, steps: Any) -> Array:
        """Samples actions.

        Args:
          params: of the network.
          observation: [..., O].
          x_T: [..., A] standard normal.
          steps: randomness of a stochastic sampler's n calls: a key, or their noise [n, ..., A]
            where that is drawn already. A deterministic sampler reads none.

        Returns:
          Actions [..., A].
        """
        if self.num_noisy_calls and is_noise(steps):
            return self.run_chain(params, observation, Chain(x_T, steps))
        denoise, x_T = self._denoise(params, observation), self.noise_scale * x_T
        return diffusion.sample(self.sampler, denoise, x_T, steps, **self._chain)

    def draw_chain(self, key: chex.PRNGKey, shape: tuple[int, ...]) -> "Chain":
        """Draws everything random about samples of the given shape [..., A]."""
        noise_key, chain_key = jax.random.split(key)
        x_T = jax.random.normal(noise_key, shape)
        return Chain(x_T, diffusion.draw_noise(self.sampler, chain_key, shape))

    def run_chain(self, params: Params, observation: Array, chain: "Chain") -> Array:
        """Actions [..., A] for observation [..., O] from random numbers that are drawn already."""
        denoise, x_T = self._denoise(params, observation), self.noise_scale * chain.x_T
        return diffusion.sample_with_noise(self.sampler, denoise, x_T, chain.noise, **self._chain)

    @property
    def _chain(self) -> dict[str, Any]:
        return {"clip": ACTION_BOUND, "unroll": min(self.sampler.num_calls, 16)}

    def _denoise(self, params: Params, observation: Array) -> Denoise:
        if self.dtype == "float32":
            return lambda x, t: self.network.apply(params, observation, x, t)
        cast = lambda array: array.astype(self.dtype)  # noqa: E731
        params, observation = jax.tree.map(cast, (params, observation))
        return lambda x, t: self.network.apply(params, observation, cast(x), t).astype(x.dtype)


def is_noise(steps: Any) -> bool:
    """Whether the randomness of a sampler's calls is noise, not a key that it is drawn from."""
    return bool(jnp.issubdtype(steps.dtype, jnp.floating))


class Chain(NamedTuple):
    """The random numbers of one run of a sampler."""

    x_T: Array  # [..., A] starting noise
    noise: Array | None  # [n, ..., A] of its n calls; None for a deterministic sampler


class GaussianPolicy(NamedTuple):
    """N(mean(s), std), kept in the box; std does not depend on the state.

    The feed-forward policies of IQL (2110.06169) and CRR (2006.15134).
    """

    network: Network  # apply(params, observation) -> mean; params["log_std"] [A]

    def draw(self, key: chex.PRNGKey, action: Array) -> tuple[()]:
        """Draws nothing: the prediction is deterministic."""
        del key, action
        return ()

    def predict(self, params: Params, batch: Transition, draws: Any = ()) -> Prediction:
        """The mean at the batch's observations, and the log-density of its actions."""
        del draws
        mean = self.network.apply(params, batch.observation)
        log_std = _log_std(params)
        log_likelihood = diffusion.gaussian_log_likelihood(
            mean, batch.action, log_std, batch.recorded
        )
        return Prediction(mean, jnp.exp(log_std), jnp.zeros_like(log_likelihood), log_likelihood)

    def cloning_loss(self, prediction: Prediction, counts: Array | None = None) -> Array:
        """What cloning adds to the denoising loss (which is 0 here): -mean log pi(a | s) [].

        The mean is over the rows that count, see `edp_jax.losses`.
        """
        return -losses.mean(prediction.log_likelihood, counts)

    @property
    def num_noisy_calls(self) -> int:
        """0: it is sampled in one step."""
        return 0

    def sample(self, params: Params, observation: Array, x_T: Array, steps: Any) -> Array:
        """Actions [..., A] for observation [..., O] from standard normal numbers x_T [..., A]."""
        del steps
        action = self.network.apply(params, observation) + jnp.exp(_log_std(params)) * x_T
        return jnp.clip(action, -ACTION_BOUND, ACTION_BOUND)


def _log_std(params: Params) -> Array:
    return jnp.clip(params["log_std"], *LOG_STD_RANGE)


Policy = DiffusionPolicy | GaussianPolicy


def select_by_energy(q: Array, temperature: float, noise: Array | None) -> Array:
    """Energy-based action selection (EDP Eq. 13; SfBC, 2209.14548).

    Args:
      q: values [M, ...] of M candidates; every entry behind the first axis makes its own choice.
      temperature: in units of Q. 0 takes the best candidate.
      noise: [M, ...] standard Gumbel; not read where the temperature is 0.

    Returns:
      Indices [...] of the candidates, drawn with probability softmax(q / temperature): the largest
      of logits plus Gumbel noise is so distributed.
    """
    if temperature == 0:
        return jnp.argmax(q, axis=0)
    assert noise is not None, "a choice at a temperature reads Gumbel noise"
    return jnp.argmax(q / temperature + noise, axis=0)


def take_candidate(actions: Array, index: Array) -> Array:
    """The chosen actions [..., A] of candidates [M, ..., A], by index [...]."""
    chex.assert_shape(index, actions.shape[1:-1])
    return jnp.take_along_axis(actions, index[None, ..., None], axis=0)[0]


def in_dataset_units(act: Act, units: Units, execute: int | None = None) -> Act:
    """`act` with observations [..., O] and actions [..., A] in the units of the dataset.

    The actions are inside the box of the dataset's actions, whatever rounding does.

    Of a policy with a horizon H, which gives chunks [..., H A], it gives the first `execute`
    actions of each, one after the other: [..., execute, A]. None: all H.
    """
    action_dim = units.action_low.shape[-1]

    def scaled(params: Any, observation: Array, random: Any) -> Array:
        action = act(params, units.normalize(observation), random)
        if action.shape[-1] > action_dim:
            action = action.reshape(*action.shape[:-1], -1, action_dim)
            if execute is not None:
                action = jax.lax.slice_in_dim(action, 0, execute, axis=-2)
        return jnp.clip(units.unscale(action), units.action_low, units.action_high)

    return scaled
