"""Diffusion-QL: guidance through the whole sampling chain."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from edp_jax import diffusion
from edp_jax.algorithms import diffusion_ql, edp, td3
from edp_jax.policy import DiffusionPolicy

from .builders import (
    CONSTANT_NOISE,
    LINEAR_CRITICS,
    SCHEDULE,
    SPEC,
    assert_close,
    gradient,
    guided_update,
    make_batch,
    rows,
    tiny_learner,
    tiny_settings,
)


@pytest.mark.parametrize("sampler", ["ddpm", "dpm_solver_1"])
def test_guidance_improves_the_sampled_action(sampler):
    """-eta q / |q| with q = 2 a + 3 and a from the chain, whose gradient is taken numerically."""
    solver = diffusion.make_sampler(sampler, SCHEDULE, 3)
    policy = DiffusionPolicy(CONSTANT_NOISE, SCHEDULE, solver)
    update = td3.make_update(policy, LINEAR_CRITICS, diffusion_ql.make_guided_action(policy))
    own = tiny_settings("diffusion_ql", num_target_critics=0, grad_clip=0.0, eta=3.0)
    batch, key = rows(s=3.0, a=0.4, next_s=10.0), jax.random.key(5)
    chain = policy.draw_chain(key, (1, 1))
    chain = chain._replace(x_T=jnp.full((1, 1), 0.05))
    if chain.noise is not None:
        chain = chain._replace(noise=0.1 * chain.noise)

    def action(eps: float) -> float:
        return float(policy.run_chain({"eps": jnp.array([eps])}, batch.observation, chain)[0, 0])

    new, metrics = guided_update(update, own, batch, chain, eps=0.05)

    q, slope = 2 * action(0.05) + 3, 2 * (action(0.06) - action(0.04)) / 0.02
    assert abs(slope) > 0.1
    assert_close(metrics["actor/q_mean"], q)
    expected = 2 * (0.05 - 1.0) - 3.0 * slope / q
    assert_close(gradient(new.networks["actor"])["eps"], [expected], rtol=1e-3)


def test_the_learner_guides_its_sampled_actions():
    """Its q_mean is the guide's value of what the chain gives from the drawn numbers."""
    learner, batch = tiny_learner("diffusion_ql"), make_batch()
    own, state = learner.settings, learner.init(jax.random.key(0))
    draws = learner.draw(jax.random.key(1), learner.draw_params(state), batch)
    assert draws.other.x_T.shape == (4, 2) and draws.other.noise.shape == (2, 4, 2)
    _, metrics = jax.jit(learner.update)(state, batch, own, draws)
    policy, critics = edp.diffusion_policy(own, SPEC), edp.make_critics(own, SPEC)
    action = policy.run_chain(state.networks["actor"].params, batch.observation, draws.other)
    guide = jax.tree.map(lambda p: p[draws.guide][None], state.networks["critic"].params)
    np.testing.assert_allclose(
        metrics["actor/q_mean"], critics.apply(guide, batch.observation, action).mean(), rtol=1e-4
    )
