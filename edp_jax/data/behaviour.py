"""Behaviour policies, which record datasets: small networks in numpy, kept as .npz files."""

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from edp_jax.errors import program
from edp_jax.files import read_array, replacing
from edp_jax.types import InputError

_LOG_STD_RANGE = (-20.0, 2.0)


@dataclasses.dataclass(frozen=True)
class Behaviour:
    """A Gaussian policy whose samples tanh maps into [-1, 1], as Soft Actor-Critic trains it.

    A ReLU network gives mean and logarithm of the standard deviation; its last layer has 2 A
    outputs, the means first.
    """

    layers: tuple[tuple[np.ndarray, np.ndarray], ...]  # weight [inputs, outputs], bias [outputs]

    @property
    def observation_dim(self) -> int:
        return self.layers[0][0].shape[0]

    @property
    def action_dim(self) -> int:
        return self.layers[-1][1].shape[0] // 2

    def act(self, observation: np.ndarray, rng: np.random.Generator | None) -> np.ndarray:
        """Chooses actions.

        Args:
          observation: [E, O].
          rng: draws the actions; None: they are those of the Gaussian's mean.

        Returns:
          [E, A] float32 in [-1, 1].
        """
        hidden = np.asarray(observation, np.float32)
        for weight, bias in self.layers[:-1]:
            hidden = np.maximum(hidden @ weight + bias, 0)
        weight, bias = self.layers[-1]
        mean, log_std = np.split(hidden @ weight + bias, 2, axis=-1)
        if rng is not None:
            noise = rng.standard_normal(mean.shape, dtype=np.float32)
            mean = mean + np.exp(np.clip(log_std, *_LOG_STD_RANGE)) * noise
        return np.tanh(mean)


def save_behaviour(
    path: str, behaviour: Behaviour, metadata: Mapping[str, str | int | float]
) -> None:
    """Writes a file, complete or not at all.

    Args:
      path: the .npz file to make or replace. It gets the arrays layer_<i>_weight and layer_<i>_bias
        in float32, and no pickle.
      behaviour: the policy.
      metadata: how it was made; an array [] per entry.
    """
    arrays: dict[str, Any] = {name: np.asarray(value) for name, value in metadata.items()}
    for index, (weight, bias) in enumerate(behaviour.layers):
        arrays[f"layer_{index}_weight"] = np.asarray(weight, np.float32)
        arrays[f"layer_{index}_bias"] = np.asarray(bias, np.float32)
    with replacing(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, **arrays)


def read_behaviour(path: str) -> Behaviour:
    """Reads what `save_behaviour` wrote; the layers may be stored as float16.

    Raises:
      InputError: the file does not exist, is damaged or holds no layers.
    """
    remedy = f"make one with {program('train_behaviour')}"
    if not os.path.isfile(path):
        raise InputError(f"behaviour policy {path!r}: there is no such file; {remedy}")
    try:
        with np.load(path, allow_pickle=False) as file:
            count = sum(name.endswith("_weight") for name in file.files)
            names = [(f"layer_{i}_weight", f"layer_{i}_bias") for i in range(count)]
            layers = tuple(
                (
                    read_array(file, weight).astype(np.float32),
                    read_array(file, bias).astype(np.float32),
                )
                for weight, bias in names
            )
            if layers:
                _check_layers(layers)
    except Exception as error:  # what damaged headers and archives raise is of many kinds
        raise InputError(
            f"behaviour policy {path!r}: damaged, or something else; {remedy}"
        ) from error
    if not layers:
        raise InputError(
            f"behaviour policy {path!r}: something else, there is no layer_0_weight; {remedy}"
        )
    return Behaviour(layers)


def _check_layers(layers: tuple[tuple[np.ndarray, np.ndarray], ...]) -> None:
    """Refuses layers that do not follow each other, or are not finite.

    Raises:
      ValueError: see above.
    """
    inputs = [weight.shape[0] for weight, _ in layers[1:]]
    outputs = [bias.shape for _, bias in layers]
    fit = all(weight.shape[1:] == bias.shape for weight, bias in layers)
    if not fit or outputs[:-1] != [(size,) for size in inputs] or outputs[-1][0] % 2:
        raise ValueError("sizes of layers do not fit")
    if not all(np.isfinite(array).all() for layer in layers for array in layer):
        raise ValueError("a number is NaN or infinite")
