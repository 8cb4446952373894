"""Networks: the activation, the split first layer, ensembles and what each input does."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from edp_jax import layers, networks, ops
from edp_jax.types import InputError, TaskSpec

SPEC = TaskSpec(observation_dim=3, action_dim=2)
OBSERVATION = jnp.linspace(-1.0, 1.0, 12).reshape(4, 3)
ACTION = jnp.linspace(-0.9, 0.9, 8).reshape(4, 2)


def random_params(init, seed: int = 0):
    """Normal parameters of the shapes that init(key) makes, without compiling init.

    Kernels have variance 1/fan_in.
    """
    rng = np.random.default_rng(seed)

    def fill(path, leaf):
        scale = leaf.shape[-2] ** -0.5 if path[-1].key == "kernel" else 0.1
        return jnp.asarray(
            scale * rng.standard_normal(leaf.shape) + (path[-1].key == "scale"), leaf.dtype
        )

    return jax.tree_util.tree_map_with_path(fill, jax.eval_shape(init, jax.random.key(0)))


def num_parameters(params) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def test_mish_and_its_derivative():
    """Against x tanh(softplus(x)) in float64; d/dx = tanh(sp) + x sigmoid(x) (1 - tanh(sp)^2)."""
    x = np.concatenate([np.linspace(-100.0, 100.0, 401), np.linspace(-5.0, 5.0, 401)])
    softplus, sigmoid = np.logaddexp(0.0, x), 1.0 / (1.0 + np.exp(-x))
    tanh = np.tanh(softplus)
    x32 = jnp.asarray(x, jnp.float32)
    np.testing.assert_allclose(ops.mish(x32), x * tanh, rtol=1e-5, atol=1e-6)
    derivative = jax.vmap(jax.grad(ops.mish))(x32)
    np.testing.assert_allclose(
        derivative, tanh + x * sigmoid * (1.0 - tanh**2), rtol=1e-5, atol=2e-6
    )


def test_mish_at_known_points_and_far_out():
    # mish(0) = 0, mish(1) = tanh(log(1 + e)) = 0.865098
    np.testing.assert_allclose(
        ops.mish(jnp.array([0.0, 1.0, 1e4, -1e4])), [0.0, 0.865098, 1e4, 0.0], rtol=1e-6
    )
    assert np.all(np.isfinite(jax.vmap(jax.grad(ops.mish))(jnp.array([1e4, -1e4, 3e38]))))


def test_multi_input_dense_is_a_dense_layer_on_the_concatenation():
    layer = layers.Dense(5)
    params = layer.init(jax.random.key(0), OBSERVATION, ACTION)
    dense = nn.Dense(5).apply(params, jnp.concatenate([OBSERVATION, ACTION], axis=-1))
    np.testing.assert_allclose(layer.apply(params, OBSERVATION, ACTION), dense, atol=1e-6)
    kernel = layers.Dense(4000).init(jax.random.key(0), OBSERVATION, ACTION)["params"]["kernel"]
    np.testing.assert_allclose(
        jnp.std(kernel), (3 + 2) ** -0.5, rtol=0.02
    )  # initialised for the fan-in of the concatenation


@pytest.mark.parametrize("leading", [(), (4,), (6, 4)])
def test_candidates_broadcast_over_observations(leading):
    """Observation [B, O] with actions [M, B, A] equals the observation repeated M times."""
    observation = OBSERVATION if leading else OBSERVATION[0]
    action = jax.random.normal(jax.random.key(1), (*leading, 2))
    repeated = jnp.broadcast_to(observation, (*leading, 3))
    noise_net = networks.make_noise_net(SPEC, (8, 8), "mish")
    params = random_params(noise_net.init)
    out = noise_net.apply(params, observation, action, 3.0)
    assert out.shape == (*leading, 2)
    np.testing.assert_allclose(
        out, noise_net.apply(params, repeated, action, jnp.full(leading, 3.0)), atol=1e-6
    )
    critics = networks.make_critics(SPEC, 2, (8, 8), "mish", False)
    params = random_params(critics.init)
    q = critics.apply(params, observation, action)
    assert q.shape == (2, *leading)
    np.testing.assert_allclose(q, critics.apply(params, repeated, action), atol=1e-6)


@pytest.mark.parametrize("num_critics", [1, 3])
def test_critics_are_independent_members(num_critics):
    critics = networks.make_critics(SPEC, num_critics, (8, 8), "mish", False)
    params = jax.jit(critics.init)(jax.random.key(0))
    q = critics.apply(params, OBSERVATION, ACTION)
    assert q.shape == (num_critics, 4)
    assert len({float(row[0]) for row in q}) == num_critics
    for i in range(num_critics):  # a slice of the parameters is that member
        alone = critics.apply(
            jax.tree.map(lambda p, i=i: p[i : i + 1], params), OBSERVATION, ACTION
        )
        np.testing.assert_allclose(alone[0], q[i], atol=1e-6)
    # (3 + 2) 8 + 8, 8 8 + 8, 8 + 1 parameters each
    assert num_parameters(params) == num_critics * (48 + 72 + 9)


def test_layer_norm_adds_its_parameters_and_bounds_the_output():
    plain = networks.make_critics(SPEC, 2, (8, 8), "mish", False)
    normed = networks.make_critics(SPEC, 2, (8, 8), "mish", True)
    plain_params, normed_params = random_params(plain.init), random_params(normed.init)
    assert num_parameters(normed_params) - num_parameters(plain_params) == 2 * 2 * (
        8 + 8
    )  # scale and bias, 2 layers, 2 critics
    far = 1e4 * ACTION
    assert np.abs(plain.apply(plain_params, OBSERVATION, far)).max() > 100.0
    assert np.abs(normed.apply(normed_params, OBSERVATION, far)).max() < 20.0  # why LayerNorm helps


def test_noise_net_uses_all_its_inputs():
    net = networks.make_noise_net(SPEC, (16, 16), "mish")
    params = random_params(net.init)
    base = net.apply(params, OBSERVATION, ACTION, jnp.full(4, 2.0))
    for changed in (
        (OBSERVATION + 0.5, ACTION, 2.0),
        (OBSERVATION, ACTION + 0.5, 2.0),
        (OBSERVATION, ACTION, 7.5),
    ):
        other = net.apply(params, *changed[:2], jnp.full(4, changed[2]))
        assert np.all(np.abs(other - base).max(axis=-1) > 1e-4)
    per_row = net.apply(
        params, OBSERVATION, ACTION, jnp.array([2, 7, 2, 7])
    )  # integers, one per row
    np.testing.assert_allclose(per_row[::2], base[::2], atol=1e-6)
    assert np.abs(per_row[1::2] - base[1::2]).min() > 0


@pytest.mark.parametrize(
    "observation, action, t",
    [
        ((4, 2), (4, 3), ()),  # O and A exchanged: the sum of the widths is right
        ((4, 1, 3), (4, 2), ()),
        ((4, 3), (4, 1, 2), ()),
        ((4, 3), (2,), ()),
        ((4, 3), (4, 2), (1,)),
        ((4, 3), (4, 2), (4, 1)),
    ],
)
def test_inputs_of_other_shapes_are_refused(observation, action, t):
    net = networks.make_noise_net(SPEC, (8,), "mish")
    params = random_params(net.init)
    with pytest.raises(AssertionError):
        net.apply(params, jnp.ones(observation), jnp.ones(action), jnp.ones(t))
    if t == ():
        critics = networks.make_critics(SPEC, 2, (8,), "mish", False)
        with pytest.raises(AssertionError):
            critics.apply(random_params(critics.init), jnp.ones(observation), jnp.ones(action))


@pytest.mark.parametrize("make", [networks.make_actor, networks.make_value])
def test_observations_of_another_width_are_refused(make):
    layer_norm = () if make is networks.make_actor else (False,)
    net = make(SPEC, (8,), "mish", *layer_norm)
    with pytest.raises(AssertionError):
        net.apply(random_params(net.init), jnp.ones((4, 2)))


def test_actor_is_bounded_and_the_log_std_beside_it_starts_at_zero():
    """tanh of the multilayer perceptron: at large inputs close to the corners of the box."""
    net = networks.with_log_std(networks.make_actor(SPEC, (8,), "relu"), 2)
    params = net.init(jax.random.key(0))
    np.testing.assert_array_equal(params["log_std"], jnp.zeros(2))
    far = net.apply(params, 1e4 * OBSERVATION)
    np.testing.assert_allclose(np.abs(far), 1.0, atol=1e-6)
    other = net.apply({**params, "log_std": jnp.ones(2)}, 1e4 * OBSERVATION)
    np.testing.assert_array_equal(other, far)


def test_time_embedding_separates_neighbouring_timesteps():
    embedding = layers.TimeEmbedding()
    params = random_params(lambda key: embedding.init(key, jnp.zeros(())))
    vectors = embedding.apply(params, jnp.arange(1000))
    assert vectors.shape == (1000, 16)
    assert np.linalg.norm(np.diff(vectors, axis=0), axis=-1).min() > 1e-3


def test_value_maps_observations_to_scalars():
    value = networks.make_value(SPEC, (8,), "relu", False)
    params = random_params(value.init)
    assert value.apply(params, OBSERVATION).shape == (4,)
    assert value.apply(params, OBSERVATION[0]).shape == ()


@pytest.mark.parametrize("activation", ops.ACTIVATIONS)
def test_every_activation_makes_another_network(activation):
    net = networks.make_noise_net(SPEC, (8, 8), activation)
    params = random_params(net.init)
    out = net.apply(params, OBSERVATION, ACTION, 1.0)
    other = networks.make_noise_net(SPEC, (8, 8), "relu" if activation != "relu" else "mish")
    other = other.apply(params, OBSERVATION, ACTION, 1.0)
    assert np.all(np.isfinite(out)) and np.abs(out - other).max() > 1e-3


@pytest.mark.parametrize(
    "make, named",
    [
        (lambda: networks.make_noise_net(SPEC, (8,), "tanh"), "tanh"),
        (lambda: networks.make_noise_net(SPEC, (), "mish"), "hidden_dims"),
        (lambda: networks.make_value(SPEC, (8, 0), "mish", False), r"\(8, 0\)"),
        (lambda: networks.make_critics(SPEC, 0, (8,), "mish", False), "num_critics=0"),
    ],
)
def test_refusals(make, named):
    with pytest.raises(InputError, match=named) as error:
        make()
    assert "\n" not in str(error.value)


def test_matmul_has_the_gradients_of_a_matrix_product():
    """d/dx sum(g * (x @ k)) = g k^T, d/dk = sum over the batch of x^T g, with any batch shape."""
    rng = np.random.default_rng(0)
    x, kernel, g = (
        rng.standard_normal(shape, np.float32) for shape in ((2, 3, 4), (4, 5), (2, 3, 5))
    )
    x_gradient, kernel_gradient = jax.grad(
        lambda x, k: jnp.sum(g * ops.matmul(x, k)), argnums=(0, 1)
    )(x, kernel)
    np.testing.assert_allclose(ops.matmul(x, kernel), x @ kernel, rtol=1e-6)
    np.testing.assert_allclose(x_gradient, g @ kernel.T, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(
        kernel_gradient, np.tensordot(x, g, axes=((0, 1), (0, 1))), rtol=1e-5, atol=1e-5
    )


def test_layer_norm_and_its_gradients():
    """Those of its formula, in float64, with any batch shape; a row of one number has no spread."""
    rng = np.random.default_rng(0)
    x, g = (rng.standard_normal((2, 3, 5)) for _ in range(2))
    x[1, 2] = 0.5
    scale, bias = rng.standard_normal((2, 5))
    mean, deviation = x.mean(-1, keepdims=True), np.sqrt(x.var(-1, keepdims=True) + 1e-6)
    normal = (x - mean) / deviation
    back = g * scale
    along = (back * normal).mean(-1, keepdims=True)
    expected = (
        normal * scale + bias,
        (back - back.mean(-1, keepdims=True) - normal * along) / deviation,
        (g * normal).sum((0, 1)),
        g.sum((0, 1)),
    )
    x, scale, bias, g = (array.astype(np.float32) for array in (x, scale, bias, g))
    value, pull_back = jax.vjp(ops.layer_norm, x, scale, bias)
    for found, number in zip((value, *pull_back(g)), expected, strict=True):
        np.testing.assert_allclose(found, number, rtol=1e-4, atol=1e-4 * np.abs(number).max())


def test_dynamics_are_an_ensemble_over_observations_and_actions():
    network = networks.make_dynamics(SPEC, 4, (8,), "relu")
    params = network.init(jax.random.key(0))
    change = network.apply(params, OBSERVATION, ACTION)
    assert change.shape == (4, 4, 3) and network.is_ensemble
    assert len({float(each) for each in change[:, 0, 0]}) == 4
    with pytest.raises(AssertionError):
        network.apply(params, ACTION, OBSERVATION)
