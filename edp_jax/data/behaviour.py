"""Behaviour policies: tanh-Gaussian networks in plain numpy, stored as small .npz files without pickle."""

import dataclasses
import os

import numpy as np

from edp_jax.files import replacing
from edp_jax.types import InputError

_LOG_STD_RANGE = (-20.0, 2.0)


@dataclasses.dataclass(frozen=True)
class Behaviour:
    """A ReLU network whose last layer gives mean and log standard deviation of a Gaussian that tanh squashes.

    `layers` holds (weight [inputs, outputs], bias [outputs]) in float32; the last one has 2 A outputs.
    """

    layers: tuple[tuple[np.ndarray, np.ndarray], ...]

    @property
    def action_dim(self) -> int:
        return self.layers[-1][1].shape[0] // 2

    def act(self, observation: np.ndarray, rng: np.random.Generator | None) -> np.ndarray:
        """Actions [E, A] float32 in [-1, 1] for observations [E, O]: sampled with `rng`, the Gaussian's mean without one."""
        hidden = np.asarray(observation, np.float32)
        for weight, bias in self.layers[:-1]:
            hidden = np.maximum(hidden @ weight + bias, 0)
        weight, bias = self.layers[-1]
        mean, log_std = np.split(hidden @ weight + bias, 2, axis=-1)
        if rng is not None:
            noise = rng.standard_normal(mean.shape, dtype=np.float32)
            mean = mean + np.exp(np.clip(log_std, *_LOG_STD_RANGE)) * noise
        return np.tanh(mean)


def save_behaviour(path: str, behaviour: Behaviour, metadata: dict[str, str | int | float]) -> None:
    """Writes layer_<i>_weight, layer_<i>_bias (float32) and one 0-d array per entry of `metadata`; atomic."""
    arrays = {name: np.asarray(value) for name, value in metadata.items()}
    for index, (weight, bias) in enumerate(behaviour.layers):
        arrays[f"layer_{index}_weight"] = np.asarray(weight, np.float32)
        arrays[f"layer_{index}_bias"] = np.asarray(bias, np.float32)
    with replacing(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, **arrays)


def read_behaviour(path: str) -> Behaviour:
    """Reads what `save_behaviour` wrote.

    Raises:
        InputError: the file does not exist or holds no layers.
    """
    if not os.path.isfile(path):
        raise InputError(f"{path}: no such behaviour policy; make one with `python -m experiments.collect`")
    with np.load(path, allow_pickle=False) as file:
        count = sum(name.endswith("_weight") for name in file.files)
        if count == 0:
            raise InputError(f"{path}: not a behaviour policy (no layer_0_weight); make one with `python -m experiments.collect`")
        return Behaviour(tuple((file[f"layer_{i}_weight"], file[f"layer_{i}_bias"]) for i in range(count)))
