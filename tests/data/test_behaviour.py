import os

import numpy as np
import pytest

from edp_jax.data.behaviour import Behaviour, read_behaviour, save_behaviour
from edp_jax.types import InputError


def test_behaviour_mean_action_by_hand():
    # hidden = relu(x) = (2, 0), mean = 2 * 0.25 + 0 * 1 = 0.5
    first = (np.eye(2, dtype=np.float32), np.zeros(2, np.float32))
    last = (np.array([[0.25, 0.0], [1.0, 0.0]], np.float32), np.array([0.0, -1.0], np.float32))
    behaviour = Behaviour((first, last))
    assert (behaviour.observation_dim, behaviour.action_dim) == (2, 1)
    np.testing.assert_allclose(
        behaviour.act(np.array([[2.0, -3.0]]), None), [[np.tanh(0.5)]], rtol=1e-6
    )


def test_behaviour_samples_have_the_mean_and_deviation_of_the_head():
    last = (np.zeros((1, 2), np.float32), np.array([0.3, np.log(0.2)], np.float32))
    actions = Behaviour((last,)).act(np.zeros((20_000, 1)), np.random.default_rng(0))
    assert np.all(np.abs(actions) <= 1)
    before_tanh = np.arctanh(actions)
    np.testing.assert_allclose(
        before_tanh.mean(), 0.3, atol=0.006
    )  # 4 standard errors of 0.2 / sqrt(20000)
    np.testing.assert_allclose(before_tanh.std(), 0.2, atol=0.005)


def test_behaviour_file_round_trip(tmp_path):
    layers = (
        (np.ones((3, 4), np.float32), np.zeros(4, np.float32)),
        (np.full((4, 2), 2, np.float32), np.ones(2, np.float32)),
    )
    path = str(tmp_path / "policy.npz")
    save_behaviour(path, Behaviour(layers), {"steps": 7})
    for (weight, bias), (expected_weight, expected_bias) in zip(
        read_behaviour(path).layers, layers, strict=True
    ):
        np.testing.assert_array_equal(weight, expected_weight)
        np.testing.assert_array_equal(bias, expected_bias)
    assert os.listdir(tmp_path) == ["policy.npz"]


def test_layers_may_be_stored_in_half_the_bytes(tmp_path):
    path = str(tmp_path / "policy.npz")
    weight, bias = np.array([[0.1, -2.0]], np.float16), np.array([0.5, 1.0], np.float16)
    np.savez_compressed(path, layer_0_weight=weight, layer_0_bias=bias, env_id="Hopper-v4")
    ((read_weight, read_bias),) = read_behaviour(path).layers
    assert read_weight.dtype == read_bias.dtype == np.float32
    np.testing.assert_array_equal(read_weight, weight)
    np.testing.assert_array_equal(read_bias, bias)


def test_missing_behaviour_file(tmp_path):
    with pytest.raises(
        InputError,
        match="there is no such file; make one with python -m experiments.train_behaviour",
    ):
        read_behaviour(str(tmp_path / "none.npz"))


def text(path):
    path.write_text("a policy")


def truncated(path):
    np.savez(path, layer_0_weight=np.zeros((3, 4)), layer_0_bias=np.zeros(4))
    path.write_bytes(path.read_bytes()[:300])


def one_array(path):
    with open(path, "wb") as file:
        np.save(file, np.zeros(3))


def objects(path):
    np.savez(path, layer_0_weight=np.array([{}], object), layer_0_bias=np.zeros(1))


@pytest.mark.parametrize(
    ("write", "says"),
    [
        (lambda path: np.savez(path, rewards=np.zeros(3)), "there is no layer_0_weight"),
        (lambda path: np.savez(path, layer_0_weight=np.zeros((3, 4))), "damaged"),
        (text, "damaged"),
        (truncated, "damaged"),
        (one_array, "damaged"),
        (objects, "damaged"),
    ],
)
def test_a_file_of_something_else_is_refused(tmp_path, write, says):
    write(tmp_path / "policy.npz")
    with pytest.raises(InputError, match=says) as error:
        read_behaviour(str(tmp_path / "policy.npz"))
    assert "\n" not in str(error.value)
