"""Every learner beyond EDP-TD3: what is its own, against values worked out by hand, and one short life of each configuration."""

import importlib
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from edp_jax import InputError, TaskSpec, Transition, algorithms, diffusion, losses
from edp_jax.algorithms import AlgorithmConfig, Hypers, cql, diffusion_ql, edp, td3
from edp_jax.networks import Network
from edp_jax.policy import GaussianPolicy
from edp_jax.training import loop
from edp_jax.training.evaluator import make_evaluate
from edp_jax.types import EnvSpec
from experiments import launch

CONFIGS = sorted(
    path.stem
    for path in (pathlib.Path(__file__).parents[2] / "configs").glob("*.py")
    if path.stem not in ("__init__", "base", "tasks")
)
SMALL = dict(
    hidden_dims=(16,), num_timesteps=5, sampler_calls=2, num_candidates=3, num_baseline_actions=2
)


def make_batch(size: int, observation_dim: int, action_dim: int) -> Transition:
    rng = np.random.default_rng(0)
    return Transition(
        observation=rng.normal(size=(size, observation_dim)).astype(np.float32),
        action=rng.uniform(-0.9, 0.9, (size, action_dim)).astype(np.float32),
        reward=rng.normal(size=size).astype(np.float32),
        discount=(rng.uniform(size=size) > 0.2).astype(np.float32),
        next_observation=rng.normal(size=(size, observation_dim)).astype(np.float32),
    )


@pytest.mark.parametrize("name", CONFIGS)
def test_every_configuration_trains_and_evaluates(name):
    config = importlib.import_module(f"configs.{name}").get_config("builtin/hopper-medium")
    config.update(SMALL)
    settings = launch.resolve(config)
    algorithm = algorithms.make(config.algorithm, settings.algorithm, TaskSpec(11, 3))
    chunks = loop.train(
        loop.make_train_chunk(algorithm, 32),
        loop.init_seeds(algorithm, (0, 1)),
        loop.put_dataset(make_batch(50, 11, 3), 2),
        settings.hypers,
        iter([2]),
    )
    chunk = next(chunks)
    assert all(np.all(np.isfinite(values)) for values in chunk.metrics.values())
    assert not np.allclose(*chunk.metrics["actor/loss"])  # two seeds
    evaluate = make_evaluate(
        algorithm,
        EnvSpec("hopper"),
        (0.0, 100.0),
        {"observation_mean": 0.0, "observation_std": 1.0, "action_low": -1.0, "action_high": 1.0},
        seeds=(0, 1),
        num_episodes=1,
        check_stop=lambda: None,
    )
    result = evaluate(chunk.state)
    assert (
        result.returns.shape == (2, 1)
        and np.all(np.isfinite(result.returns))
        and np.all(result.lengths > 0)
    )


@pytest.mark.parametrize("name", ["crr", "iql"])
@pytest.mark.parametrize("likelihood", ["gaussian", "learned_std", "elbo"])
def test_every_likelihood_lowers_the_loss_it_defines(name, likelihood, monkeypatch):
    """Weights are near 1 here; the denoising loss, which would lower it too, is taken away."""
    monkeypatch.setattr(diffusion, "denoising_loss", lambda predicted, noise: jnp.zeros(len(noise)))
    config = AlgorithmConfig(**SMALL, likelihood=likelihood, ema_start=0)
    algorithm = algorithms.make(name, config, TaskSpec(3, 2))
    update = jax.jit(algorithm.update_step)
    state, batch = algorithm.init(jax.random.key(0)), make_batch(64, 3, 2)
    hypers = Hypers(learning_rate=3e-3, discount=0.0, crr_beta=100.0, iql_temperature=0.01)
    policy = edp.make_policy(config, TaskSpec(3, 2))
    corruption = policy.draw(jax.random.key(1), batch.action)
    loss = lambda state: (
        -float(policy.predict(state.actor.params, batch, corruption).log_likelihood.mean())
    )  # noqa: E731
    before = loss(state)
    for _ in range(150):
        state, _ = update(state, batch, hypers)
    assert loss(state) < before - 0.1


@pytest.mark.parametrize(
    ("name", "changes", "own"),
    [
        ("td3", {}, {"discount", "eta"}),
        ("diffusion_ql", {}, {"discount", "eta"}),
        ("td3_bc", {}, {"discount", "eta"}),
        ("crr", {}, {"discount", "crr_beta"}),
        ("crr", {"crr_weight": "indicator"}, {"discount"}),
        ("iql", {}, {"discount", "expectile", "iql_temperature"}),
        ("cql", {}, {"discount", "eta", "cql_alpha", "cql_threshold"}),
        ("bcq", {}, {"discount"}),
        ("bc", {}, set()),
    ],
)
def test_a_learner_reads_its_own_settings(name, changes, own):
    algorithm = algorithms.make(name, AlgorithmConfig(**SMALL, **changes), TaskSpec(3, 2))
    assert algorithms.hypers_read(algorithm, TaskSpec(3, 2)) == own | {
        "tau",
        "learning_rate",
        "weight_decay",
        "grad_clip",
    }


def test_a_learned_standard_deviation_stays_within_its_bounds():
    """-0 - (-5) - log(2 pi)/2 at log_std -9, where the bound is -5."""
    config = AlgorithmConfig(**SMALL, policy="gaussian")
    policy = edp.make_policy(config, TaskSpec(3, 1))
    params = {**policy.network.init(jax.random.key(0)), "log_std": jnp.array([-9.0])}
    batch = make_batch(1, 3, 1)
    batch = batch.replace(action=policy.predict(params, batch).action)
    np.testing.assert_allclose(
        policy.predict(params, batch).log_likelihood, 5 - np.log(2 * np.pi) / 2, rtol=1e-5
    )


def test_likelihoods_by_hand():
    """a0_hat is off by (0.5, -0.5): -(0.25 + 0.25)/2 - log 2 pi with std 1; with std (1/2, 1/4) the errors are (1, 2) std."""
    mean, action = jnp.array([[0.5, -0.5]]), jnp.zeros((1, 2))
    np.testing.assert_allclose(
        diffusion.gaussian_log_likelihood(mean, action), -0.25 - np.log(2 * np.pi), rtol=1e-6
    )
    log_std = jnp.log(jnp.array([0.5, 0.25]))
    expected = -0.5 * (1 + 4) + np.log(8) - np.log(2 * np.pi)
    np.testing.assert_allclose(
        diffusion.gaussian_log_likelihood(mean, action, log_std), expected, rtol=1e-6
    )


def test_elbo_weight_is_the_kl_divergence_between_two_reverse_steps():
    """KL(N(m_1, beta), N(m_2, beta)) = |m_1 - m_2|^2 / (2 beta) with m = (x - beta / sqrt(1 - abar) eps) / sqrt(1 - beta)."""
    schedule = diffusion.make_schedule("vp", 7)
    t, eps, other = jnp.array([4]), jnp.array([[0.3, -1.0]]), jnp.array([[0.1, 0.5]])
    beta, abar = schedule.betas[4], schedule.alphas_cumprod[4]
    means = [(0.2 - beta / np.sqrt(1 - abar) * e) / np.sqrt(1 - beta) for e in (eps, other)]
    kl = np.sum((means[0] - means[1]) ** 2) / (2 * beta)
    np.testing.assert_allclose(
        diffusion.elbo_log_likelihood(schedule, t, other, eps), -7 * kl, rtol=1e-5
    )


def test_softmax_weights_have_mean_one():
    """B softmax((0, log 3)) = 2 (1/4, 3/4)."""
    np.testing.assert_allclose(
        losses.softmax_weight(jnp.array([0.0, np.log(3.0)]), 1.0), [0.5, 1.5], rtol=1e-6
    )
    np.testing.assert_array_equal(
        jax.grad(lambda a: losses.softmax_weight(a, 1.0)[0])(jnp.array([0.0, 1.0])), 0.0
    )


def test_cql_penalty_by_hand():
    """Two actions of values 0 and log 3: log((1 + 3)/2) = log 2 above a data value of 0; a second critic has log 1 - 1.

    Excess (log 2, -1) of one critic, (3, -5) of another: (log 2 - 1)/2 + (3 - 5)/2; with tau = -2 it ends in (3 - 2)/2.
    """
    q_sampled = jnp.array([[[0.0], [np.log(3.0)]], [[0.0], [0.0]]])
    excess = losses.cql_excess(q_sampled, jnp.array([[0.0], [1.0]]))
    np.testing.assert_allclose(excess, [[np.log(2.0)], [-1.0]], rtol=1e-6)
    excess = jnp.array([[np.log(2.0), -1.0], [3.0, -5.0]])
    np.testing.assert_allclose(
        losses.cql_penalty(excess, -jnp.inf), (np.log(2.0) - 1.0) / 2 - 1.0, rtol=1e-6
    )
    np.testing.assert_allclose(
        losses.cql_penalty(excess, -2.0), (np.log(2.0) - 1.0) / 2 + 0.5, rtol=1e-6
    )
    np.testing.assert_array_equal(
        jax.grad(losses.cql_penalty)(excess, -2.0), [[0.5, 0.5], [0.5, 0.0]]
    )


def test_cql_lowers_values_off_the_data():
    """All data lies near action 0.5: with alpha, random actions end below it by far more, with a threshold by less."""
    config = AlgorithmConfig(**SMALL, ema_start=0)
    critics, batch = edp.make_critics(config, TaskSpec(3, 2)), make_batch(64, 3, 2)
    batch = batch.replace(action=0.5 + 0.05 * batch.action)
    random_action = np.random.default_rng(1).uniform(-1, 1, batch.action.shape).astype(np.float32)
    algorithm = cql.make(config, TaskSpec(3, 2))
    update = jax.jit(algorithm.update_step)
    gaps = []
    for alpha, threshold in ((0.0, -0.5), (5.0, -1e9), (5.0, -0.5)):
        state = algorithm.init(jax.random.key(0))
        for _ in range(150):
            state, _ = update(
                state,
                batch,
                Hypers(cql_alpha=alpha, cql_threshold=threshold, learning_rate=3e-3, discount=0.0),
            )
        q = lambda action, state=state: float(
            critics.apply(state.critic.params, batch.observation, action).mean()
        )  # noqa: E731
        gaps.append(q(random_action) - q(batch.action))
    assert gaps[1] < gaps[2] - 0.5 < gaps[0] - 1.0, gaps


def test_bcq_value_by_hand():
    """Critics (1, 5) and (3, 4) of two candidates: 0.75 * 1 + 0.25 * 3 = 1.5 and 0.75 * 4 + 0.25 * 5 = 4.25; the best is 4.25."""
    q = jnp.array([[[1.0], [5.0]], [[3.0], [4.0]]])
    np.testing.assert_allclose(losses.bcq_value(q, 0.75), [4.25])


def test_diffusion_ql_guides_the_whole_chain():
    """The action it improves is the sampler's, with a gradient; EDP-TD3's is the one-step approximation."""
    config = AlgorithmConfig(**{**SMALL, "sampler_calls": 5}, sampler="ddpm")
    policy, batch = edp.make_policy(config, TaskSpec(3, 2)), make_batch(4, 3, 2)
    params = policy.network.init(jax.random.key(0))
    prediction = policy.predict(params, batch, policy.draw(jax.random.key(1), batch.action))
    np.testing.assert_array_equal(
        td3.approximated_action(policy, batch, prediction, jax.random.key(2)), prediction.action
    )
    action = diffusion_ql.full_chain_action(policy, batch, prediction, jax.random.key(2))
    noise_key, chain_key = jax.random.split(jax.random.key(2))
    expected = policy.sample(
        params, batch.observation, jax.random.normal(noise_key, (4, 2)), chain_key
    )
    np.testing.assert_allclose(action, expected, rtol=1e-6)

    def mean_action(params):
        return diffusion_ql.full_chain_action(
            policy, batch, prediction._replace(params=params), jax.random.key(2)
        ).mean()

    assert all(np.any(np.asarray(g) != 0) for g in jax.tree.leaves(jax.grad(mean_action)(params)))


def test_gaussian_policy_by_hand():
    """Mean 0.5, std 2: the density of 0.9, and samples clipped to the box."""
    params = {"log_std": jnp.log(jnp.array([2.0]))}
    policy = GaussianPolicy(Network(None, lambda params, observation: observation + 0.5))
    batch = Transition(jnp.zeros((1, 1)), jnp.array([[0.9]]), None, None, None)
    prediction = policy.predict(params, batch)
    np.testing.assert_allclose(
        prediction.log_likelihood, -0.5 * 0.2**2 - np.log(2.0) - 0.5 * np.log(2 * np.pi), rtol=1e-5
    )
    x_T = jnp.array([[[0.1]], [[3.0]]])
    np.testing.assert_allclose(
        policy.sample(params, batch.observation, x_T, None)[:, 0, 0], [0.7, 1.0], rtol=1e-6
    )


def test_a_gaussian_policy_acts_with_its_mean():
    config = AlgorithmConfig(policy="gaussian", hidden_dims=(8,))
    algorithm = algorithms.make("iql", config, TaskSpec(3, 2))
    state = algorithm.init(jax.random.key(0))
    observation = jnp.ones((5, 3))
    actions = [
        algorithm.act(algorithms.policy_params(state), observation, jax.random.key(i))
        for i in range(2)
    ]
    np.testing.assert_array_equal(*actions)
    assert actions[0].shape == (5, 2)


def test_td3_bc_updates_its_policy_every_second_time():
    config = AlgorithmConfig(policy="gaussian", hidden_dims=(8,))
    algorithm = algorithms.make("td3_bc", config, TaskSpec(3, 2))
    update = jax.jit(algorithm.update_step)
    states = [algorithm.init(jax.random.key(0))]
    for _ in range(2):
        states.append(update(states[-1], make_batch(8, 3, 2), Hypers())[0])
    same = lambda a, b: all(
        np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    )  # noqa: E731
    assert same(states[0].actor, states[1].actor) and not same(states[1].actor, states[2].actor)
    assert not same(states[0].critic.params, states[1].critic.params)
    assert same(states[0].critic.target_params, states[1].critic.target_params)
    assert not same(states[1].critic.target_params, states[2].critic.target_params)


def test_a_target_takes_the_least_of_a_random_subset_of_critics():
    config = AlgorithmConfig(num_critics=5, num_target_critics=2)
    drawn = {
        tuple(sorted(np.asarray(edp.draw_critics(jax.random.key(i), config)).tolist()))
        for i in range(200)
    }
    assert len(drawn) == 10 and all(len(set(pair)) == 2 for pair in drawn)  # all pairs of five
    assert edp.draw_critics(jax.random.key(0), AlgorithmConfig(num_critics=5)) is None
    params = {"w": jnp.arange(5.0)}
    np.testing.assert_array_equal(edp.take_critics(params, jnp.array([3, 1]))["w"], [3.0, 1.0])
    with pytest.raises(InputError, match="num_target_critics=3 is more than num_critics=2"):
        algorithms.make("iql", AlgorithmConfig(num_target_critics=3), TaskSpec(3, 2))


@pytest.mark.parametrize("name", ["td3", "diffusion_ql", "crr", "iql", "cql", "bcq", "td3_bc"])
def test_every_learner_takes_a_subset_of_its_critics(name):
    """Critic i of three says i everywhere, V says 0; with one of them drawn for each update the target is 0, 1 or 2.
    Rewards are 0. IQL's is seen in its value loss: expectile 0.7 of the squared error."""
    config = AlgorithmConfig(**SMALL, num_critics=3, num_target_critics=1)
    algorithm = algorithms.make(name, config, TaskSpec(3, 2))
    batch = make_batch(8, 3, 2).replace(
        reward=np.zeros(8, np.float32), discount=np.ones(8, np.float32)
    )

    @jax.jit
    def update(key):
        state = algorithm.init(key)
        bias = jnp.arange(3.0)[:, None]  # of the last layers
        constant = jax.tree.map(
            lambda p: bias if p.shape == bias.shape else jnp.zeros_like(p),
            state.critic.target_params,
        )
        value = (
            None
            if state.value is None
            else state.value.replace(params=jax.tree.map(jnp.zeros_like, state.value.params))
        )
        state = state.replace(critic=state.critic.replace(target_params=constant), value=value)
        return algorithm.update_step(state, batch, Hypers(discount=1.0))[1]

    name, values = (
        ("value/loss", [0.0, 0.7, 2.8])
        if name == "iql"
        else ("critic/target_mean", [0.0, 1.0, 2.0])
    )
    seen = {round(float(update(jax.random.key(seed))[name]), 4) for seed in range(12)}
    assert seen == set(values)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"policy": "flow"}, "policy 'flow' is unknown"),
        ({"likelihood": "exact"}, "likelihood 'exact' is unknown"),
        ({"crr_baseline": "median"}, "crr_baseline 'median' is unknown"),
    ],
)
def test_unknown_choices_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        algorithms.make("crr", AlgorithmConfig(**changes), TaskSpec(3, 2))


@pytest.mark.parametrize("name", ["td3", "cql", "bcq", "diffusion_ql"])
def test_diffusion_learners_refuse_a_gaussian_policy(name):
    with pytest.raises(InputError, match="does not fit"):
        algorithms.make(name, AlgorithmConfig(policy="gaussian"), TaskSpec(3, 2))


def test_every_learner_has_a_configuration():
    """And no configuration names another; test_every_configuration_trains_and_evaluates runs them all."""
    named = {importlib.import_module(f"configs.{name}").get_config().algorithm for name in CONFIGS}
    assert named == set(algorithms.REGISTRY)
