"""A trained policy as a folder of plain files: `policy.json` (settings) and `params.npz` (arrays of all seeds)."""

import dataclasses
import json
import os
from typing import Any

import jax
import numpy as np
from flax import traverse_util

from edp_jax import algorithms
from edp_jax.algorithms import AlgorithmConfig
from edp_jax.files import replacing, write_bytes
from edp_jax.types import InputError, TaskSpec


@dataclasses.dataclass(frozen=True)
class PolicyFile:
    """What a policy needs besides its parameters."""

    algorithm: str
    config: AlgorithmConfig
    spec: TaskSpec
    seeds: tuple[int, ...]
    observation_mean: np.ndarray  # [O]
    observation_std: np.ndarray  # [O]


def save_policy(folder: str, file: PolicyFile, params: Any) -> None:
    """Writes the policies of all seeds; `params` is `algorithms.policy_params` of their states, leaves [S, ...]."""
    os.makedirs(folder, exist_ok=True)
    arrays = traverse_util.flatten_dict(jax.device_get(params), sep="/")
    normalizer = {"observation_mean": file.observation_mean, "observation_std": file.observation_std}
    with replacing(os.path.join(folder, "params.npz")) as temporary, open(temporary, "wb") as out:
        np.savez(out, **normalizer, **{f"params/{name}": a for name, a in arrays.items()})
    settings = {
        "algorithm": file.algorithm,
        "config": dataclasses.asdict(file.config),
        "spec": dataclasses.asdict(file.spec),
        "seeds": list(file.seeds),
    }
    write_bytes(os.path.join(folder, "policy.json"), json.dumps(settings, indent=2).encode())


class Policy:
    """A callable policy: observation [O] or [B, O] in the units of the dataset -> action [A] or [B, A] in [-1, 1]."""

    def __init__(self, file: PolicyFile, params: Any):
        self._file = file
        self._key = jax.random.key(0)
        self._calls = 0
        act = algorithms.make(file.algorithm, file.config, file.spec).act

        @jax.jit
        def run(observation, key):
            return act(params, (observation - file.observation_mean) / file.observation_std, key)

        self._run = run

    def __call__(self, observation: np.ndarray, key: jax.Array | None = None) -> np.ndarray:
        """Draws actions; without a `key` the n-th call of every freshly loaded policy uses the same randomness.

        Raises:
          InputError: the observation has another size than the policy's.
        """
        observation = np.asarray(observation, np.float32)
        size = self._file.spec.observation_dim
        if observation.ndim not in (1, 2) or observation.shape[-1] != size:
            raise InputError(f"observation of shape {observation.shape} does not fit: this policy takes ({size},) or (B, {size})")
        if key is None:
            key = jax.random.fold_in(self._key, self._calls)
            self._calls += 1
        return np.asarray(self._run(observation, key))


def load_policy(folder: str, seed: int | None = None) -> Policy:
    """Loads the policy that `seed` trained, by default the first of the run's seeds.

    Raises:
      InputError: there is no policy in `folder`, or none of that seed.
    """
    path = os.path.join(folder, "policy.json")
    if not os.path.isfile(path):
        raise InputError(f"policy {folder!r}: no policy.json there; name the policy/ folder of a finished run")
    with open(path, encoding="utf-8") as source:
        settings = json.load(source)
    seeds = tuple(settings["seeds"])
    seed = seeds[0] if seed is None else seed
    if seed not in seeds:
        raise InputError(f"seed {seed} is not in {folder!r}: use one of {', '.join(map(str, seeds))}")
    with np.load(os.path.join(folder, "params.npz"), allow_pickle=False) as arrays:
        flat = {name.removeprefix("params/"): arrays[name][seeds.index(seed)] for name in arrays if name.startswith("params/")}
        mean, std = arrays["observation_mean"], arrays["observation_std"]
    config = {name: tuple(value) if isinstance(value, list) else value for name, value in settings["config"].items()}
    file = PolicyFile(settings["algorithm"], AlgorithmConfig(**config), TaskSpec(**settings["spec"]), seeds, mean, std)
    return Policy(file, traverse_util.unflatten_dict(flat, sep="/"))
