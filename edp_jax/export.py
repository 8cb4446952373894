"""A trained policy as a folder of plain files: `policy.json` (settings) and `params.npz` (arrays of all members)."""

import dataclasses
import functools
import json
import os
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from flax import traverse_util

from edp_jax import algorithms
from edp_jax.algorithms import AlgorithmConfig
from edp_jax.files import replacing, write_bytes
from edp_jax.policy import in_dataset_units
from edp_jax.types import InputError, TaskSpec


@dataclasses.dataclass(frozen=True)
class PolicyFile:
    """What a policy needs besides its parameters."""

    algorithm: str
    config: AlgorithmConfig
    spec: TaskSpec
    members: tuple[dict[str, float], ...]  # seed and, in a sweep, swept settings of each policy
    units: dict[str, np.ndarray]  # the arguments of `policy.in_dataset_units`, each [O] or [A]


def save_policy(folder: str, file: PolicyFile, params: Any) -> None:
    """Writes the policies of all members; `params` is `algorithms.policy_params` of their states, leaves [R, ...]."""
    os.makedirs(folder, exist_ok=True)
    arrays = traverse_util.flatten_dict(jax.device_get(params), sep="/")
    with replacing(os.path.join(folder, "params.npz")) as temporary, open(temporary, "wb") as out:
        np.savez(out, **_prefixed("units/", file.units), **_prefixed("params/", arrays))
    settings = {
        "algorithm": file.algorithm,
        "config": dataclasses.asdict(file.config),
        "spec": dataclasses.asdict(file.spec),
        "members": list(file.members),
    }
    write_bytes(os.path.join(folder, "policy.json"), json.dumps(settings, indent=2).encode())


class Policy:
    """A callable policy: observation [O] or [B, O] -> action [A] or [B, A], both in the units of the dataset."""

    def __init__(self, file: PolicyFile, params: Any):
        self._file = file
        self._key = jax.random.key(0)
        self._calls = 0
        act = in_dataset_units(
            algorithms.make(file.algorithm, file.config, file.spec).act, **file.units
        )
        self._run = jax.jit(functools.partial(act, params))

    @property
    def observation_dim(self) -> int:
        return self._file.spec.observation_dim

    @property
    def action_dim(self) -> int:
        return self._file.spec.action_dim

    def __call__(self, observation: np.ndarray, key: jax.Array | None = None) -> np.ndarray:
        """Draws actions; without a `key` the n-th call of every freshly loaded policy uses the same randomness.

        Raises:
          InputError: the observation has another size than the policy's.
        """
        observation = np.asarray(observation, np.float32)
        size = self.observation_dim
        if observation.ndim not in (1, 2) or observation.shape[-1] != size:
            raise InputError(
                f"observation of shape {observation.shape} does not fit: this policy takes ({size},) or (B, {size})"
            )
        if key is None:
            key = jax.random.fold_in(self._key, self._calls)
            self._calls += 1
        return np.asarray(self._run(observation, key))


def load_policy(folder: str, seed: int | None = None, **point: float) -> Policy:
    """Loads one policy of a finished run: the first, or that of a seed, or of a point of its sweep, as in `eta=0.5`.

    Raises:
      InputError: there is no policy in `folder`, or none of that description.
    """
    path = os.path.join(folder, "policy.json")
    if not os.path.isfile(path):
        raise InputError(
            f"policy {folder!r}: no policy.json there; name the policy/ folder of a finished run"
        )
    with open(path, encoding="utf-8") as source:
        settings = json.load(source)
    members = tuple(settings["members"])
    which = point if seed is None else {"seed": seed, **point}
    fitting = [index for index, member in enumerate(members) if which.items() <= member.items()]
    if not fitting:
        known = "; ".join(
            ", ".join(f"{name}={value}" for name, value in member.items()) for member in members
        )
        asked = ", ".join(f"{name}={value}" for name, value in which.items())
        raise InputError(f"policy {asked} is not in {folder!r}: use one of {known}")
    with np.load(os.path.join(folder, "params.npz"), allow_pickle=False) as arrays:
        flat = {
            name: array[fitting[0]] for name, array in _without_prefix("params/", arrays).items()
        }
        units = _without_prefix("units/", arrays)
    config = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in settings["config"].items()
    }
    file = PolicyFile(
        settings["algorithm"],
        AlgorithmConfig(**config),
        TaskSpec(**settings["spec"]),
        members,
        units,
    )
    return Policy(file, traverse_util.unflatten_dict(flat, sep="/"))


def _prefixed(prefix: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {prefix + name: array for name, array in arrays.items()}


def _without_prefix(prefix: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {
        name.removeprefix(prefix): array
        for name, array in arrays.items()
        if name.startswith(prefix)
    }
